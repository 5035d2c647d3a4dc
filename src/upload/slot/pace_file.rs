//! `pace.json`: carries what was learned about the proxy over a restart, and to
//! whoever asks.
//!
//! The only place that reads or writes it. It belongs to the owner of the spool:
//! written by the send loop, or by a command that owns the spool meanwhile.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pacer::Pace;
use crate::spool::disk::LocalDisk;
use crate::spool::layout::Layout;
use crate::spool::state_file::StateFile;

/// A batch at least this full tells how many rows a full one takes, in percent.
const FULL_PERCENT: u64 = 90;

/// What a batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Achieved {
    /// Its rows.
    pub rows: u64,
    /// Its size, bytes.
    pub bytes: u64,
}

/// Content of `pace.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// What the pacer has learned.
    #[serde(flatten)]
    pub pace: Pace,
    /// The last batch that was nearly full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_batch: Option<Achieved>,
}

impl Saved {
    /// Notes a batch, if it says something about full ones.
    pub fn note(&mut self, batch: Achieved, body_bytes_max: u64) {
        if is_full(batch, body_bytes_max) {
            self.full_batch = Some(batch);
        }
    }
}

/// Whether a batch was full enough to tell how many rows a full one takes.
pub fn is_full(batch: Achieved, body_bytes_max: u64) -> bool {
    batch.rows > 0 && batch.bytes * 100 >= body_bytes_max * FULL_PERCENT
}

/// The file of a spool on the local disk, for whoever has not opened the spool.
pub fn local(layout: &Layout) -> StateFile {
    StateFile::new(Arc::new(LocalDisk), layout.pace())
}

/// What was saved last, if that can be read. Whoever can't read it learns anew.
pub fn load(file: &StateFile) -> Option<Saved> {
    let bytes = file.read().ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Replaces what was saved.
///
/// # Errors
/// An I/O error from the spool's disk.
pub fn save(file: &StateFile, saved: &Saved) -> io::Result<()> {
    file.replace(&serde_json::to_vec_pretty(saved)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::slot::pacer::{PaceOptions, Pacer};

    const MIB: u64 = 1 << 20;

    fn pace() -> Pace {
        let options = PaceOptions {
            url: "http://proxy/".into(),
            interval_ms: 60_000,
            body_bytes_max: MIB,
        };
        Pacer::new(options, None).pace().clone()
    }

    #[test]
    fn a_batch_far_from_full_says_nothing() {
        let pace = pace();
        let mut saved = Saved {
            pace,
            full_batch: None,
        };
        let mut note = |rows, bytes| {
            saved.note(Achieved { rows, bytes }, MIB);
            saved.full_batch.map(|batch| batch.rows)
        };
        assert_eq!(note(100, 5_000), None);
        assert_eq!(note(45_000, MIB - 9_000), Some(45_000));
        assert_eq!(note(200, 7_000), Some(45_000));
    }

    #[test]
    fn the_pace_of_an_older_version_is_read_and_the_batch_survives() {
        let pace = pace();
        let older = serde_json::to_vec(&pace).unwrap();
        let mut saved: Saved = serde_json::from_slice(&older).unwrap();
        assert_eq!((&saved.pace, saved.full_batch), (&pace, None));
        saved.full_batch = Some(Achieved { rows: 3, bytes: 4 });
        let again = serde_json::to_vec(&saved).unwrap();
        assert_eq!(serde_json::from_slice::<Saved>(&again).unwrap(), saved);
        assert_eq!(serde_json::from_slice::<Pace>(&again).unwrap(), pace);
    }
}
