//! Whether a directory is a good place for a spool: does what is published there
//! get there, how fast, and is there room? Leaves nothing behind; what is there
//! already is only looked at.

#![allow(
    clippy::disallowed_methods,
    reason = "measures how long a real disk takes"
)]

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::snapshot;
use crate::spool::disk::{self, Access, Disk};
use crate::spool::layout::{Directory, Layout};

/// How often publishing is tried.
const TRIES: usize = 9;

/// What is published: about what one roll of a quiet topic is.
const TRIED_BYTES: usize = 64 * 1024;

/// File systems that are memory, by what `statfs` calls them.
const IN_MEMORY: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];

/// What was seen of a place.
#[derive(Clone, Debug)]
pub struct DiskCheck {
    /// The directory itself, or its nearest ancestor that is there.
    pub tried_in: PathBuf,
    /// The spool that is there, or why nobody can tell; `None` if there is none.
    pub spool: Option<Result<Uuid, String>>,
    /// How long each publishing took, sorted; it is synced like a segment.
    pub publishes: Result<Vec<Duration>, WriteFailure>,
    /// Bytes that are left to us there.
    pub free_bytes: Option<u64>,
    /// Bytes that the spool's files take.
    pub used_bytes: u64,
    /// The process that owns the spool.
    pub owner: Option<u32>,
    /// The name of a file system that is memory.
    pub in_memory: Option<&'static str>,
}

/// Why publishing failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteFailure {
    /// What kind of error it was.
    pub kind: io::ErrorKind,
    /// The system's words.
    pub text: String,
}

impl From<io::Error> for WriteFailure {
    fn from(error: io::Error) -> Self {
        Self {
            kind: error.kind(),
            text: error.to_string(),
        }
    }
}

/// Looks at `dir`, and publishes a few files there under a name of this process.
pub fn check(disk: &dyn Disk, dir: &Path) -> DiskCheck {
    let layout = Layout::new(dir);
    let tried_in = dir.ancestors().map(named).find(|path| path.is_dir());
    let tried_in = tried_in.unwrap_or(Path::new(".")).to_owned();
    let spool = match snapshot::state(disk, &layout) {
        Ok(state) => Some(Ok(state.spool)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error.to_string())),
    };
    let ours = Directory::ALL
        .iter()
        .filter_map(|directory| layout.files(disk, *directory).ok())
        .flatten();
    DiskCheck {
        spool,
        publishes: publish(disk, &tried_in).map_err(WriteFailure::from),
        free_bytes: disk.free_bytes(&tried_in).ok(),
        used_bytes: ours.map(|(_, bytes)| bytes).sum(),
        owner: snapshot::owner(&layout).ok().flatten(),
        in_memory: in_memory(&tried_in),
        tried_in,
    }
}

/// The last ancestor of a relative path has no name.
fn named(path: &Path) -> &Path {
    match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    }
}

fn publish(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<Duration>> {
    let path = dir.join(format!(".spoolhouse-check-{}.tmp", std::process::id()));
    let draft = path.with_extension("part");
    // Bytes that a file system can't leave out.
    let bytes: Vec<u8> = (0..TRIED_BYTES).map(|place| (place % 251) as u8).collect();
    let mut took = Vec::new();
    let tried = (0..TRIES).try_for_each(|_| {
        let begun = Instant::now();
        disk::publish(disk, &draft, &path, &bytes, Access::Private)?;
        took.push(begun.elapsed());
        Ok(())
    });
    match disk.remove(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    took.sort();
    tried.map(|()| took)
}

fn in_memory(path: &Path) -> Option<&'static str> {
    let of_type = rustix::fs::statfs(path).ok()?.f_type as u64 & 0xffff_ffff;
    let known = IN_MEMORY.iter().find(|(number, _)| *number == of_type);
    known.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::LocalDisk;

    #[test]
    fn a_place_that_is_not_there_yet_is_tried_where_it_would_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let seen = check(&LocalDisk, &dir.path().join("a/b/spool"));
        assert_eq!(seen.tried_in, dir.path());
        assert_eq!(seen.publishes.unwrap().len(), TRIES);
        assert!(seen.spool.is_none() && seen.free_bytes.unwrap() > 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
