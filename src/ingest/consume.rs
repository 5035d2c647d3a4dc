//! The loop that takes messages in.
//!
//! Poll, seal, commit, hand over, in that order and in one thread, so that no
//! two steps can overtake each other. What fails is tried again and nothing
//! moves past it: a segment that can't be published pauses the partitions, a
//! commit that isn't acknowledged leaves its segment in `sealed/`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use super::commits::Commits;
use super::handover::{self, Log, Start, Verdict};
use super::kafka::{self, Consumer, Event, FatalError, Polled};
use super::window::{Limits, Window};
use crate::failpoint;
use crate::spool::Intake;
use crate::spool::fault::Fault;
use crate::spool::footer::{SegmentFooter, Source};
use crate::spool::intake::Gap;
use crate::spool::segment::Finished;

/// How long one poll waits for a message.
const POLL: Duration = Duration::from_millis(100);

/// Messages taken in between two looks at everything else.
const BURST: usize = 1_000;

/// How long to wait before what failed is tried again: short beside the
/// broker's retention, long beside a round trip.
const RETRY: Duration = Duration::from_secs(1);

/// How long a revocation or a shutdown waits for the last commit.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// How many full segments the budget keeps room for when consumption pauses: the
/// window that is open then, and what packing writes before it unlinks anything.
const RESERVED_SEGMENTS: u64 = 2;

/// A full spool is filled again below this share of its budget, in percent.
const RESUME_PERCENT: u64 = 95;

/// What ingest is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// How to reach Kafka.
    pub kafka: kafka::Options,
    /// When a window is sealed.
    pub limits: Limits,
    /// Budget of the spool, bytes: consumption pauses before it is exceeded.
    pub spool_bytes_max: u64,
}

/// Why ingest ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Kafka's client can't go on.
    #[error(transparent)]
    Kafka(#[from] FatalError),
    /// Rows could not be encoded: a defect. Nothing was committed for them.
    #[error("a segment could not be encoded: {0}")]
    Encode(#[from] Fault),
}

/// Takes messages in until `stop` is cancelled, then seals, commits and leaves.
///
/// # Errors
/// [`IngestError`]; whatever was not committed is read again by the next run.
pub fn run(options: Options, intake: Intake, stop: &CancellationToken) -> Result<(), IngestError> {
    let consumer = Consumer::subscribe(options.kafka.clone())?;
    let mut ingest = Ingest {
        consumer: &consumer,
        window: Window::new()?,
        options,
        intake,
        assignment: None,
        to_take_up: None,
        out_of_range: false,
        unsaved: None,
        commits: Commits::default(),
        released: VecDeque::new(),
        paused: false,
        retry_at: None,
        last_trouble: None,
    };
    while !stop.is_cancelled() {
        ingest.take_burst()?;
        while let Some(event) = consumer.event() {
            ingest.answer(event)?;
        }
        ingest.work_off(Instant::now())?;
    }
    ingest.settle()
}

/// Our partitions of one topic: what is read next of each.
#[derive(Debug)]
struct Assignment {
    source: Source,
    positions: BTreeMap<i32, i64>,
}

impl Assignment {
    fn partitions(&self) -> Vec<i32> {
        self.positions.keys().copied().collect()
    }
}

struct Ingest<'c> {
    options: Options,
    consumer: &'c Consumer,
    intake: Intake,
    window: Window,
    assignment: Option<Assignment>,
    /// Partitions that were given to us and are not being read yet.
    to_take_up: Option<Vec<i32>>,
    /// A position is outside its log: start anew before anything else.
    out_of_range: bool,
    /// A closed window that the disk has not taken yet.
    unsaved: Option<Finished>,
    commits: Commits,
    /// Segments whose commit was acknowledged, on their way to `ready/`.
    released: VecDeque<SegmentFooter>,
    paused: bool,
    retry_at: Option<Instant>,
    last_trouble: Option<(String, Instant)>,
}

impl Ingest<'_> {
    /// Takes in what is there, up to [`BURST`] messages.
    fn take_burst(&mut self) -> Result<(), IngestError> {
        let mut patience = POLL;
        for _ in 0..BURST {
            match self.consumer.poll(patience)? {
                Polled::Message(message) => self.take(&message)?,
                Polled::OutOfRange => self.out_of_range = true,
                Polled::Trouble(code) => self.note_trouble("Kafka", &code),
                Polled::Nothing => break,
            }
            patience = Duration::ZERO;
        }
        Ok(())
    }

    fn take(&mut self, message: &kafka::Message<'_>) -> Result<(), IngestError> {
        let Some(position) = self
            .assignment
            .as_mut()
            .and_then(|assignment| assignment.positions.get_mut(&message.partition()))
        else {
            return Ok(()); // left over from an assignment that is gone
        };
        let offset = message.offset();
        if offset < *position {
            metrics::counter!("spoolhouse_redelivered_total").increment(1);
            return Ok(());
        }
        self.window.take(
            message.partition(),
            *position,
            offset,
            message.payload(),
            Instant::now(),
        )?;
        *position = offset + 1;
        Ok(())
    }

    fn answer(&mut self, event: Event) -> Result<(), IngestError> {
        match event {
            Event::Assigned(partitions) => self.to_take_up = Some(partitions),
            Event::Revoked => {
                self.to_take_up = None;
                self.settle()?;
                self.assignment = None;
                if let Err(error) = self.consumer.unassign() {
                    self.note_trouble("giving partitions back", &error);
                }
            }
            Event::Committed(offsets) => {
                failpoint::hit("commit.acknowledged");
                let released = self.commits.acknowledged(&offsets);
                self.released.extend(released);
            }
            Event::CommitFailed(code) => {
                metrics::counter!("spoolhouse_commit_failures_total").increment(1);
                self.note_trouble("commit", &code);
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
        Ok(())
    }

    /// Everything but polling: seal what is due, commit what is sealed, hand
    /// over what is committed, and try again what failed.
    fn work_off(&mut self, now: Instant) -> Result<(), IngestError> {
        let retry = self.retry_at.is_some_and(|at| at <= now);
        let waiting = self.retry_at.is_some_and(|at| at > now);
        if retry {
            self.retry_at = None;
        }
        if self.window.is_due(&self.options.limits, now) && self.unsaved.is_none() {
            self.close_window()?;
        }
        if !waiting {
            self.save(now);
            self.hand_over(now);
            if retry {
                self.commit(now);
            }
            self.take_up(now);
            self.start_anew(now)?;
        }
        self.pause_or_resume();
        Ok(())
    }

    fn close_window(&mut self) -> Result<(), IngestError> {
        let Some(assignment) = &self.assignment else {
            return Ok(());
        };
        let (segment, counts) = std::mem::replace(&mut self.window, Window::new()?).close()?;
        self.unsaved = Some(self.intake.finish(segment, &assignment.source)?);
        metrics::counter!("spoolhouse_records_total").increment(counts.records);
        metrics::counter!("spoolhouse_texts_replaced_total").increment(counts.texts_replaced);
        Ok(())
    }

    /// Publishes the closed window, then commits it.
    fn save(&mut self, now: Instant) {
        let Some(finished) = &self.unsaved else {
            return;
        };
        let footer = &finished.footer;
        match self.intake.seal(finished) {
            Ok(()) => {
                tracing::debug!(
                    segment = footer.segment,
                    rows = footer.rows,
                    undecodable = footer.undecodable,
                    bytes = finished.bytes.len(),
                    "segment sealed",
                );
                metrics::counter!("spoolhouse_segments_sealed_total").increment(1);
                self.commits.sealed(footer.clone());
                self.unsaved = None;
                self.commit(now);
            }
            Err(error) => self.disk_trouble("publishing a segment", &error, now),
        }
    }

    fn commit(&mut self, now: Instant) {
        let wanted = self.commits.wanted();
        if wanted.is_empty() {
            let released = self.commits.acknowledged(&BTreeMap::new());
            self.released.extend(released);
        } else if let Err(error) = self.consumer.commit(&wanted) {
            self.note_trouble("commit", &error);
            self.retry_at = Some(now + RETRY);
        } else {
            failpoint::hit("commit.sent");
        }
    }

    fn hand_over(&mut self, now: Instant) {
        while let Some(segment) = self.released.front() {
            match self.intake.ready(segment) {
                Ok(()) => self.released.pop_front(),
                Err(error) => return self.disk_trouble("making a segment ready", &error, now),
            };
        }
    }

    /// Starts reading the partitions that were given to us.
    fn take_up(&mut self, now: Instant) {
        let Some(partitions) = self.to_take_up.take() else {
            return;
        };
        if let Err(trouble) = self.try_take_up(&partitions) {
            self.note_trouble("taking up partitions", &trouble);
            self.to_take_up = Some(partitions);
            self.retry_at = Some(now + RETRY);
        }
    }

    fn try_take_up(&mut self, partitions: &[i32]) -> Result<(), Trouble> {
        let source = self.consumer.source()?;
        let committed = self.consumer.committed(partitions)?;
        let sealed = self.intake.sealed()?;
        let spool = self.intake.spool_id();
        let mut starts = BTreeMap::new();
        for &partition in partitions {
            let log = self.consumer.log(partition)?;
            let own = self.intake.position(&source, partition);
            let start = handover::start(own, committed.get(&partition).copied(), spool, log);
            starts.insert(partition, self.note_start(&source, partition, start, log)?);
        }
        self.commits = Commits::new(&committed);
        for segment in sealed {
            match handover::judge(&segment, &source, partitions, &committed) {
                Verdict::Ready => self.intake.ready(&segment)?,
                Verdict::Adopt => self.commits.sealed(segment),
                Verdict::Wait => {}
                Verdict::Doubt => self.intake.doubt(&segment, &Fault::CommittedElsewhere)?,
            }
        }
        self.intake.record_positions(&source, &starts)?;
        self.consumer.assign(&starts)?;
        self.paused = false;
        tracing::info!(topic = %source, positions = ?starts, "reading");
        self.assignment = Some(Assignment {
            source,
            positions: starts,
        });
        self.commit(Instant::now());
        Ok(())
    }

    /// Writes down what is missing between our position and the log.
    fn note_start(
        &self,
        source: &Source,
        partition: i32,
        start: Start,
        log: Log,
    ) -> io::Result<i64> {
        if let Some(lost) = start.lost {
            let gap = Gap {
                time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
                source: source.clone(),
                partition,
                from: lost.0,
                to: lost.1,
            };
            self.intake.record_gap(&gap)?;
            let offsets = lost.1.abs_diff(lost.0);
            metrics::counter!("spoolhouse_offsets_lost_total").increment(offsets);
            tracing::error!(
                partition,
                from = lost.0,
                to = lost.1,
                offsets,
                "the broker's retention took messages before they were read; noted in gaps.jsonl",
            );
        }
        if let Some(position) = start.beyond_end {
            tracing::error!(
                partition,
                position,
                end = log.end,
                "the log ends before our position: it was cut back upstream; reading goes on at its end",
            );
        }
        Ok(start.offset)
    }

    /// After a position fell out of its log: seal what came before the gap, so
    /// that no segment claims offsets that were never read, then start anew.
    fn start_anew(&mut self, now: Instant) -> Result<(), IngestError> {
        if !self.out_of_range || self.unsaved.is_some() {
            return Ok(());
        }
        let Some(assignment) = &self.assignment else {
            self.out_of_range = false;
            return Ok(());
        };
        if !self.window.is_empty() {
            return self.close_window();
        }
        match self.find_starts(assignment) {
            Ok(starts) => {
                self.out_of_range = false;
                self.paused = false;
                if let Some(assignment) = &mut self.assignment {
                    assignment.positions = starts;
                }
            }
            Err(trouble) => {
                self.note_trouble("finding the log's start", &trouble);
                self.retry_at = Some(now + RETRY);
            }
        }
        Ok(())
    }

    fn find_starts(&self, assignment: &Assignment) -> Result<BTreeMap<i32, i64>, Trouble> {
        let mut starts = BTreeMap::new();
        for (&partition, &position) in &assignment.positions {
            let log = self.consumer.log(partition)?;
            let start = handover::start(Some(position), None, self.intake.spool_id(), log);
            let offset = self.note_start(&assignment.source, partition, start, log)?;
            starts.insert(partition, offset);
        }
        self.intake.record_positions(&assignment.source, &starts)?;
        self.consumer.assign(&starts)?;
        Ok(starts)
    }

    /// Seals what was taken in and waits a little for the commit. What is not
    /// acknowledged by then stays in `sealed/` for the next assignment to judge.
    fn settle(&mut self) -> Result<(), IngestError> {
        let deadline = Instant::now() + LAST_COMMIT;
        if self.unsaved.is_none() && !self.window.is_empty() {
            self.close_window()?;
        }
        self.save(Instant::now());
        if let Some(finished) = self.unsaved.take() {
            tracing::warn!(
                "the last segment can't be written; Kafka will hand its messages out again"
            );
            if let Err(error) = self.intake.abandon(&finished) {
                self.note_trouble("giving up a segment", &error);
            }
        }
        while self.commits.any_waiting() && Instant::now() < deadline {
            // Messages that arrive now are read again after the next assignment.
            self.consumer.poll(POLL)?;
            while let Some(event) = self.consumer.event() {
                match event {
                    Event::Committed(offsets) => {
                        let released = self.commits.acknowledged(&offsets);
                        self.released.extend(released);
                    }
                    Event::CommitFailed(code) => {
                        self.note_trouble("last commit", &code);
                        self.commits = Commits::default();
                    }
                    Event::Assigned(partitions) => self.to_take_up = Some(partitions),
                    Event::Revoked => {}
                }
            }
        }
        self.hand_over(Instant::now());
        self.released.clear();
        self.commits = Commits::default();
        self.window = Window::new()?;
        Ok(())
    }

    /// Pauses while the disk can't take more, resumes when it can.
    fn pause_or_resume(&mut self) {
        let bytes = self.intake.bytes();
        metrics::gauge!("spoolhouse_spool_bytes").set(bytes as f64);
        let reserved = RESERVED_SEGMENTS * self.options.limits.roll_bytes;
        let budget = self.options.spool_bytes_max.saturating_sub(reserved);
        let full = if self.paused {
            bytes >= budget / 100 * RESUME_PERCENT
        } else {
            bytes >= budget
        };
        let pause = full || self.unsaved.is_some();
        let Some(assignment) = &self.assignment else {
            return;
        };
        if pause == self.paused {
            return;
        }
        let partitions = assignment.partitions();
        let done = if pause {
            self.consumer.pause(&partitions)
        } else {
            self.consumer.resume(&partitions)
        };
        match done {
            Err(error) => self.note_trouble("pausing", &error),
            Ok(()) => {
                self.paused = pause;
                if pause {
                    metrics::counter!("spoolhouse_pauses_total").increment(1);
                    tracing::warn!(
                        spool_bytes = bytes,
                        budget,
                        "consumption paused; from now on the broker's retention is the limit",
                    );
                } else {
                    tracing::info!(spool_bytes = bytes, "consumption resumed");
                }
            }
        }
    }

    fn disk_trouble(&mut self, what: &str, error: &io::Error, now: Instant) {
        self.retry_at = Some(now + RETRY);
        metrics::counter!("spoolhouse_disk_errors_total").increment(1);
        self.note_trouble(what, error);
    }

    /// Logs trouble that is being retried: at once when it is new, then every
    /// half minute.
    fn note_trouble(&mut self, what: &str, trouble: &dyn std::fmt::Display) {
        const REPEAT: Duration = Duration::from_secs(30);
        let text = format!("{what}: {trouble}");
        let now = Instant::now();
        let is_old = self
            .last_trouble
            .as_ref()
            .is_some_and(|(last, at)| *last == text && now < *at + REPEAT);
        if !is_old {
            tracing::warn!("{text}; trying again");
            self.last_trouble = Some((text, now));
        }
    }
}

/// Trouble that passes.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Kafka(#[from] kafka::KafkaError),
    #[error(transparent)]
    Disk(#[from] io::Error),
}
