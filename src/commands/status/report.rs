//! What the files of a spool say, put together as `spoolhouse status` and
//! `/status.json` tell it. Changes nothing and takes no lock.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime};

use crate::commands::wiring;
use crate::config::Config;
use crate::observe::status::{self, Concern, DirectoryStatus, Drain, FullBatch, Spool};
use crate::spool::disk::{Disk, LocalDisk};
use crate::spool::layout::{Directory, Layout};
use crate::spool::outlet::trial_pack::{self, TrialBatch};
use crate::spool::read_only::directory_stats;
use crate::spool::read_only::snapshot::{self, Contents};
use crate::upload::drain_estimate::{Backlog, Basis, Forecast, forecast};
use crate::upload::slot::pace_file::{self, Achieved, Saved};
use crate::upload::slot::pacer::Pacer;

/// Files that need a person are named up to so many.
const CONCERNS_MAX: usize = 100;

/// What is known about the proxy's slots.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Slot {
    /// How long until the next one.
    pub wait: Duration,
    /// The distance of two.
    pub interval: Duration,
    /// The largest body to post, bytes.
    pub body_bytes_max: u64,
    /// The last full batch.
    pub full_batch: Option<Achieved>,
}

/// When the next slot is, by what the upload has learned so far; by the
/// configuration alone if it has learned nothing.
pub(in crate::commands) fn slot(config: &Config, layout: &Layout) -> Slot {
    expected(config, pace_file::load(&pace_file::local(layout)))
}

fn expected(config: &Config, saved: Option<Saved>) -> Slot {
    let full_batch = saved.as_ref().and_then(|saved| saved.full_batch);
    let pace = saved.map(|saved| saved.pace);
    let mut pacer = Pacer::new(wiring::upload_options(config).pace, pace);
    Slot {
        wait: pacer.wait(SystemTime::now()),
        interval: pacer.interval(),
        body_bytes_max: pacer.body_bytes_max(),
        full_batch,
    }
}

/// The status of a spool whose directories hold this. `trial` is asked what a full
/// batch of so many bytes would come to if none has gone yet.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(in crate::commands) fn of_files(
    config: &Config,
    layout: &Layout,
    contents: &BTreeMap<Directory, Contents>,
    owner: Option<u32>,
    trial: impl FnOnce(u64) -> Option<(Achieved, Basis)>,
) -> io::Result<Spool> {
    let saved = pace_file::load(&pace_file::local(layout));
    let refusal = saved.as_ref().and_then(|saved| saved.pace.refusal());
    let refusal = refusal.map(str::to_owned);
    let slot = expected(config, saved);
    let of = |directory| contents.get(&directory).cloned().unwrap_or_default();
    let backlog = Backlog {
        batches: of(Directory::Batches).files + of(Directory::Sending).files,
        rows: of(Directory::Ready).rows + of(Directory::Sealed).rows,
    };
    let full_batch = match slot.full_batch {
        Some(batch) => Some((batch, Basis::Achieved)),
        None => trial(slot.body_bytes_max),
    };
    let drain = forecast(
        backlog,
        full_batch,
        slot.body_bytes_max,
        slot.wait,
        slot.interval,
    );
    let now = SystemTime::now();
    let concerns = snapshot::concerns(layout, CONCERNS_MAX)?.into_iter();
    Ok(Spool {
        dir: layout.root().to_owned(),
        owner,
        bytes: contents.values().map(|held| held.bytes).sum(),
        bytes_max: config.spool.max_bytes,
        free_bytes: LocalDisk.free_bytes(layout.root()).ok(),
        free_bytes_min: wiring::headroom(config).free_bytes_floor(),
        oldest_unsent_s: directory_stats::oldest_unsent(contents, now).map(|age| age.as_secs_f64()),
        rooms: contents
            .iter()
            .map(|(directory, held)| (directory.name().to_owned(), directory_status(held, now)))
            .collect(),
        slot: shown(&slot),
        refusal,
        drain: drained(drain),
        concerns: concerns
            .map(|concern| Concern {
                file: concern.file,
                why: concern.why,
            })
            .collect(),
    })
}

/// What a full batch would come to, by packing one in memory. Trouble with that
/// is no reason to show nothing.
pub(super) fn trial(config: &Config, layout: &Layout, bytes_max: u64) -> Option<(Achieved, Basis)> {
    let options = wiring::upload_options(config).packing(bytes_max);
    let packed = trial_pack::full_batch(&LocalDisk, layout, &options).ok()??;
    let TrialBatch { rows, bytes } = packed;
    Some((Achieved { rows, bytes }, Basis::Rehearsed))
}

fn directory_status(held: &Contents, now: SystemTime) -> DirectoryStatus {
    let age = |oldest| now.duration_since(oldest).unwrap_or_default().as_secs();
    DirectoryStatus {
        files: held.files,
        bytes: held.bytes,
        rows: held.rows,
        unreadable: held.unreadable,
        oldest_s: held.oldest.map(age),
    }
}

fn shown(slot: &Slot) -> status::Slot {
    let Slot {
        wait,
        interval,
        body_bytes_max,
        full_batch,
    } = slot;
    status::Slot {
        wait_s: wait.as_secs_f64(),
        interval_s: interval.as_secs_f64(),
        body_bytes_max: *body_bytes_max,
        full_batch: full_batch.map(|Achieved { rows, bytes }| FullBatch { rows, bytes }),
    }
}

fn drained(forecast: Forecast) -> Drain {
    let Forecast {
        rows_per_batch,
        basis,
        batches,
        seconds,
    } = forecast;
    Drain {
        rows_per_batch,
        basis: match basis {
            Basis::Achieved => status::Basis::Achieved,
            Basis::Rehearsed => status::Basis::Rehearsed,
            Basis::Supposed => status::Basis::Supposed,
        },
        batches,
        seconds,
    }
}
