//! `spoolhouse status`: what waits, when the next slot is, how long the backlog
//! takes, and what needs a person. Looks at the files and changes nothing; takes
//! no lock and needs no daemon. Where one runs it is asked for what the files
//! don't tell: rates, Kafka, the last errors.

mod print;
mod running;
mod watch;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::Serialize;

use running::Running;

use super::terminal::progress_bar;
use super::{ConfigFile, Misuse, wiring};
use crate::config::Config;
use crate::spool::census;
use crate::spool::disk::{Disk, LocalDisk};
use crate::spool::glance::{self, Concern, Sight};
use crate::spool::layout::{Layout, Room};
use crate::spool::rehearsal::{self, Rehearsed};
use crate::upload::drain_estimate::{Backlog, Basis, Forecast, forecast};
use crate::upload::slot::pace_file::{self, Achieved, Saved};
use crate::upload::slot::pacer::Pacer;

/// Files that need a person are named up to so many.
const CONCERNS_MAX: usize = 100;

const EXAMPLES: &str = "\
Examples:
  The spool of the configuration in the working directory, also while it runs:
    spoolhouse status

  The same, looked at every second until q or Ctrl-C:
    spoolhouse status --watch

  Seconds until the backlog is gone, for a script:
    spoolhouse status --json | jq .drain.seconds

Time to drain: rows that wait, by the rows that the last full batch took (before
there was one: that the oldest take when they are packed on trial, which takes a
second or two), at one batch per slot, if nothing new arrives. Ages are those of
the files: since a segment was sealed, or a batch frozen. Rates, the way to Kafka
and the last errors are what a running process says on `observe.listen`; the time
until reading pauses goes by how the spool grew within the last hour.";

/// Show what waits, when the next slot is, and how long the backlog takes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,

    /// Show it anew every second, until q or Ctrl-C
    #[arg(long)]
    pub watch: bool,

    /// Print one JSON object instead; with --watch, one a second
    #[arg(long)]
    pub json: bool,
}

/// What is known about the proxy's slots.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Slot {
    /// How long until the next one.
    #[serde(rename = "wait_s", serialize_with = "as_seconds")]
    pub wait: Duration,
    /// The distance of two.
    #[serde(rename = "interval_s", serialize_with = "as_seconds")]
    pub interval: Duration,
    /// The largest body to post, bytes.
    pub body_bytes_max: u64,
    /// The last full batch.
    pub full_batch: Option<Achieved>,
}

/// What the files say.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    dir: PathBuf,
    /// The pid of the process that owns the spool.
    owner: Option<u32>,
    pub bytes: u64,
    bytes_max: u64,
    /// Free space of the spool's disk; `None` if the disk does not tell.
    free_bytes: Option<u64>,
    /// Free space below which reading pauses.
    free_bytes_min: u64,
    /// Seconds since the oldest file that waits for ClickHouse was written.
    oldest_unsent_s: Option<f64>,
    rooms: BTreeMap<&'static str, Shown>,
    pub slot: Slot,
    /// What keeps every batch from being stored until an operator has acted.
    refusal: Option<String>,
    drain: Forecast,
    concerns: Vec<Concern>,
}

/// A room, as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    files: u64,
    bytes: u64,
    rows: u64,
    unreadable: u64,
    /// Seconds since the oldest file was written.
    oldest_s: Option<u64>,
}

fn as_seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// Prints the status.
///
/// # Errors
/// When there is no spool, or it can't be read.
pub fn run(args: Args) -> Result<()> {
    let loaded = args.config.load()?;
    let config = &loaded.config;
    let layout = Layout::new(&config.spool.dir);
    if !layout.state().exists() {
        let problem = format!(
            "{} is no spool: there is no spool.json (no `spoolhouse run` has begun here)",
            layout.root().display()
        );
        return Err(Misuse(problem).into());
    }
    if args.watch {
        return watch::run(config, &layout, args.json);
    }
    let report = look(config, &layout)
        .with_context(|| format!("can't read the spool {}", layout.root().display()))?;
    if args.json {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer(&mut stdout, &report)?;
        writeln!(stdout)?;
    } else {
        print::report(&mut anstream::stdout().lock(), &report)?;
    }
    Ok(())
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    status: Status,
    /// What the process says that owns the spool.
    running: Running,
}

fn look(config: &Config, layout: &Layout) -> io::Result<Report> {
    let bar = progress_bar::bar(0, "{bar:30} {pos} of {len} files, {eta} left");
    let sights = glance::rooms(layout, &mut |seen, total| {
        bar.set_length(total);
        bar.set_position(seen);
    })?;
    bar.finish_and_clear();
    let rehearse = |bytes_max| rehearse(config, layout, bytes_max);
    Report::of(config, layout, &sights, rehearse)
}

impl Report {
    fn of(
        config: &Config,
        layout: &Layout,
        sights: &BTreeMap<Room, Sight>,
        rehearse: impl FnOnce(u64) -> Option<(Achieved, Basis)>,
    ) -> io::Result<Self> {
        let owner = glance::owner(layout)?;
        let status = Status::of(config, layout, sights, owner, rehearse)?;
        let running = Running::ask(config.observe.listen, owner, status.room_bytes());
        Ok(Self { status, running })
    }
}

impl Status {
    /// The status of a spool whose rooms hold this. `rehearse` is asked what a
    /// full batch of so many bytes would come to if none has gone yet.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn of(
        config: &Config,
        layout: &Layout,
        sights: &BTreeMap<Room, Sight>,
        owner: Option<u32>,
        rehearse: impl FnOnce(u64) -> Option<(Achieved, Basis)>,
    ) -> io::Result<Self> {
        let saved = pace_file::load(&pace_file::local(layout));
        let refusal = saved.as_ref().and_then(|saved| saved.pace.refusal());
        let refusal = refusal.map(str::to_owned);
        let slot = expected(config, saved);
        let of = |room| sights.get(&room).cloned().unwrap_or_default();
        let backlog = Backlog {
            batches: of(Room::Batches).files + of(Room::Sending).files,
            rows: of(Room::Ready).rows + of(Room::Sealed).rows,
        };
        let full_batch = match slot.full_batch {
            Some(batch) => Some((batch, Basis::Achieved)),
            None => rehearse(slot.body_bytes_max),
        };
        let drain = forecast(
            backlog,
            full_batch,
            slot.body_bytes_max,
            slot.wait,
            slot.interval,
        );
        let now = SystemTime::now();
        Ok(Self {
            dir: layout.root().to_owned(),
            owner,
            bytes: sights.values().map(|sight| sight.bytes).sum(),
            bytes_max: config.spool.max_bytes,
            free_bytes: LocalDisk.free_bytes(layout.root()).ok(),
            free_bytes_min: wiring::headroom(config).free_bytes_floor(),
            oldest_unsent_s: census::oldest_unsent(sights, now).map(|age| age.as_secs_f64()),
            rooms: sights
                .iter()
                .map(|(room, sight)| (room.name(), Shown::of(sight, now)))
                .collect(),
            slot,
            refusal,
            drain,
            concerns: glance::concerns(layout, CONCERNS_MAX)?,
        })
    }

    /// How much the spool may still grow before reading pauses.
    fn room_bytes(&self) -> u64 {
        let budget = self.bytes_max.saturating_sub(self.bytes);
        self.free_bytes.map_or(budget, |free| {
            budget.min(free.saturating_sub(self.free_bytes_min))
        })
    }
}

/// What a full batch would come to, by packing one in memory. Trouble with that
/// is no reason to show nothing.
fn rehearse(config: &Config, layout: &Layout, bytes_max: u64) -> Option<(Achieved, Basis)> {
    let options = wiring::upload_options(config).packing(bytes_max);
    let packed = rehearsal::full_batch(&LocalDisk, layout, &options).ok()??;
    let Rehearsed { rows, bytes } = packed;
    Some((Achieved { rows, bytes }, Basis::Rehearsed))
}

impl Shown {
    fn of(sight: &Sight, now: SystemTime) -> Self {
        let age = |oldest| now.duration_since(oldest).unwrap_or_default().as_secs();
        Self {
            files: sight.files,
            bytes: sight.bytes,
            rows: sight.rows,
            unreadable: sight.unreadable,
            oldest_s: sight.oldest.map(age),
        }
    }
}

/// When the next slot is, by what the upload has learned so far; by the
/// configuration alone if it has learned nothing.
pub(crate) fn slot(config: &Config, layout: &Layout) -> Slot {
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
