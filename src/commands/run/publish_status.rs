//! Looks at spool and loops once a second and puts what it sees up on the board, for
//! the page, the health checks and the service manager. Reads only: a look that
//! fails or takes long holds nobody up.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant, SystemTime};

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::commands::status;
use crate::config::Config;
use crate::ingest::telemetry::{self, Progress};
use crate::observe::board::Board;
use crate::observe::history::Sample;
use crate::observe::status::{Attempt, Document, Latency, Live, Spool};
use crate::spool::layout::{Directory, Layout};
use crate::spool::read_only::directory_stats::{self, DirectoryStats};
use crate::spool::read_only::snapshot::Contents;
use crate::time::epoch_ms;
use crate::upload::telemetry::{Attempt as Request, Seen, View as UploadView};

/// How often the board is made anew.
const EVERY: Duration = Duration::from_secs(1);

/// A look at the files may take one part in so many of the time: with very many
/// files the figures come less often, never the load.
const LOOK_SHARE: u32 = 50;

/// The rate of reading is that of the last so many seconds.
const RATE_SECONDS: usize = 10;

/// What is watched.
pub(super) struct Watched {
    pub config: Config,
    pub started: SystemTime,
    pub reading: telemetry::View,
    pub sending: UploadView,
    pub board: Board,
}

/// Tells the service manager, if there is one.
pub(super) fn tell_manager(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager can't be told");
    }
}

/// Watches until `stop`.
pub(super) async fn run(watched: Watched, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let has_watchdog = sd_notify::watchdog_enabled().is_some();
    let mut files = Files::new(&watched.config);
    let mut taken = Rate::default();
    let mut sampled_ms = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if has_watchdog && watched.board.alive(Instant::now()).is_ok() {
            tell_manager(&[NotifyState::Watchdog]);
        }
        files = match files.look_if_due(&watched.config).await {
            Some(files) => files,
            // It panicked: a defect, but none that records depend on.
            None => Files::new(&watched.config),
        };
        let (reading, sending) = (watched.reading.progress(), watched.sending.seen());
        let read_per_s = taken.note(reading.taken, Instant::now());
        let now = SystemTime::now();
        let sample = Sample {
            at_ms: 0,
            spool_bytes: files.bytes,
            waiting_rows: files.waiting_rows,
            lag: reading.lag.map(|lag| lag.sum),
            read_per_s,
            latency_s: latency_since(&sending, sampled_ms),
        };
        let held = held(&reading, files.trouble.as_deref());
        let started_ms = epoch_ms(watched.started);
        let status = Document {
            spool: files.status.clone(),
            next_slot_ms: files.next_slot_ms,
            live: Some(live(&reading, &sending, read_per_s, started_ms, now)),
            attempts: Some(sending.attempts.iter().map(attempt).collect()),
            ..Document::default()
        };
        if watched.board.put_up(held, status, sample, now) {
            sampled_ms = epoch_ms(now);
        }
    }
}

/// Why records are not being taken in, if they aren't.
fn held(reading: &Progress, trouble: Option<&str>) -> Option<String> {
    if let Some(trouble) = trouble {
        return Some(format!("the spool can't be read: {trouble}"));
    }
    if reading.partitions == 0 {
        return Some("no partitions are assigned: Kafka does not answer, or others of the group have them all".to_owned());
    }
    reading.is_paused.then(|| {
        "consumption is paused: the spool or its disk is full, or the disk fails".to_owned()
    })
}

/// What changes every second.
fn live(
    reading: &Progress,
    sending: &Seen,
    read_per_s: f64,
    started_ms: u64,
    now: SystemTime,
) -> Live {
    Live {
        at_ms: epoch_ms(now),
        started_ms,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        partitions: reading.partitions as u64,
        paused: reading.is_paused,
        lag: reading.lag.map(|lag| lag.sum),
        lag_max: reading.lag.map(|lag| lag.worst),
        unsealed_s: reading.unsealed.as_secs_f64(),
        retention_s: reading.retention.map(|time| time.as_secs_f64()),
        read_per_s,
        since_success: sending.since_success,
    }
}

fn attempt(seen: &Request) -> Attempt {
    let Request {
        at_ms,
        outcome,
        batch,
        attempt,
        rows,
        bytes,
        fill,
        took_s,
        message,
        latency,
    } = seen;
    Attempt {
        at_ms: *at_ms,
        outcome: (*outcome).to_owned(),
        batch: batch.clone(),
        attempt: *attempt,
        rows: *rows,
        bytes: *bytes,
        fill: *fill,
        took_s: *took_s,
        message: message.clone(),
        latency: latency.map(|latency| Latency {
            least_s: latency.least_s,
            median_s: latency.median_s,
            most_s: latency.most_s,
        }),
    }
}

/// Latency of the last batch that was stored after this moment.
fn latency_since(sending: &Seen, ms: u64) -> Option<(f64, f64)> {
    let newer = sending.attempts.iter().rev();
    let latency = newer
        .take_while(|attempt| attempt.at_ms > ms)
        .find_map(|attempt| attempt.latency)?;
    Some((latency.median_s, latency.most_s))
}

/// The files, as they were at the last look.
struct Files {
    stats: DirectoryStats,
    layout: Layout,
    status: Option<Spool>,
    next_slot_ms: Option<u64>,
    bytes: u64,
    waiting_rows: u64,
    trouble: Option<String>,
    due: Instant,
}

impl Files {
    fn new(config: &Config) -> Self {
        let layout = Layout::new(&config.spool.dir);
        Self {
            stats: DirectoryStats::new(layout.clone()),
            layout,
            status: None,
            next_slot_ms: None,
            bytes: 0,
            waiting_rows: 0,
            trouble: None,
            due: Instant::now(),
        }
    }

    /// Looks, where it may block; `None` if that panicked.
    async fn look_if_due(mut self, config: &Config) -> Option<Self> {
        if Instant::now() < self.due {
            return Some(self);
        }
        let config = config.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            self.trouble = self.look(&config).err().map(|error| error.to_string());
            let now = Instant::now();
            self.due = now + (now - begun) * LOOK_SHARE;
            self
        });
        looked.await.ok()
    }

    fn look(&mut self, config: &Config) -> io::Result<()> {
        let contents = self.stats.look()?;
        directory_stats::publish(&contents, SystemTime::now());
        self.waiting_rows = waiting_rows(&contents);
        let owner = Some(std::process::id());
        // A trial batch would cost a second or two of one core each time.
        let status = status::of_files(config, &self.layout, &contents, owner, |_| None)?;
        self.bytes = status.bytes;
        let wait = Duration::try_from_secs_f64(status.slot.wait_s).unwrap_or_default();
        self.next_slot_ms = Some(epoch_ms(SystemTime::now() + wait));
        self.status = Some(status);
        Ok(())
    }
}

fn waiting_rows(contents: &BTreeMap<Directory, Contents>) -> u64 {
    let rooms = directory_stats::UNSENT.iter();
    rooms
        .filter_map(|directory| contents.get(directory))
        .map(|held| held.rows)
        .sum()
}

/// How fast a count grows.
#[derive(Debug, Default)]
struct Rate {
    counts: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Notes a count; per second over the last [`RATE_SECONDS`].
    fn note(&mut self, count: u64, now: Instant) -> f64 {
        if self.counts.len() > RATE_SECONDS {
            self.counts.pop_front();
        }
        self.counts.push_back((now, count));
        let Some((then, before)) = self.counts.front() else {
            return 0.0;
        };
        let seconds = now.duration_since(*then).as_secs_f64();
        match seconds > 0.0 {
            true => count.saturating_sub(*before) as f64 / seconds,
            false => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_held_without_partitions_while_paused_and_when_the_disk_says_no() {
        let reading = Progress {
            partitions: 1,
            ..Progress::default()
        };
        assert_eq!(held(&reading, None), None);
        assert!(held(&reading, Some("gone")).unwrap().ends_with(": gone"));
        assert!(held(&Progress::default(), None).is_some());
        let paused = Progress {
            is_paused: true,
            ..reading
        };
        assert!(held(&paused, None).unwrap().contains("paused"));
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut rate = Rate::default();
        let mut last = 0.0;
        for second in 0..30 {
            // Ten a second at first, then none.
            let count = 10 * second.min(10);
            last = rate.note(count, start + Duration::from_secs(second));
            match second {
                10 => assert_eq!(last, 10.0),
                15 => assert_eq!(last, 5.0),
                _ => {}
            }
        }
        assert_eq!(last, 0.0);
    }
}
