//! The loop that takes messages in.
//!
//! Poll, seal, commit, hand over, in that order and in one thread, so that no
//! two steps can overtake each other. What fails is tried again and nothing
//! moves past it: a segment that can't be published pauses the partitions, a
//! commit that isn't acknowledged leaves its segment in `sealed/`.

mod pause;
mod settle;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::assignment::topic_identity::IdentityWatch;
use super::assignment::{Assignment, start_anew, start_reading};
use super::backpressure::Headroom;
use super::broker::{Broker, Event, FatalError, Message, Polled};
use super::commit_tracker::Commits;
use super::decode::record::Undecodable;
use super::retry_log::RetryLog;
use super::seal::Sealer;
use super::telemetry::{Held, View, Watch};
use super::window::Window;
use crate::failpoint;
use crate::spool::Intake;
use crate::spool::format::error::Fault;
use crate::spool::format::footer::SegmentFooter;
use crate::spool::quarantine::Doubt;
use crate::time::Clock;

/// How long one poll waits for a message.
const POLL: Duration = Duration::from_millis(100);

/// How long to wait before what failed is tried again: short beside the
/// broker's retention, long beside a round trip.
const RETRY: Duration = Duration::from_secs(1);

/// How long the broker may take to say whether the topic is still the same.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(1);

/// What ingest is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the spool may take.
    pub headroom: Headroom,
    /// Where it can be seen how reading gets on.
    pub view: View,
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
pub fn run(
    options: Options,
    broker: &impl Broker,
    intake: Intake,
    clock: Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<(), IngestError> {
    register();
    let mut ingest = Ingest {
        broker,
        window: Window::new()?,
        sealer: Sealer::new(intake.clone(), options.headroom),
        watch: Watch::new(options.view.clone(), clock.now()),
        options,
        intake,
        assignment: None,
        to_assign: None,
        is_lost: false,
        identity: IdentityWatch::new(clock.now()),
        commits: Commits::default(),
        released: VecDeque::new(),
        paused: false,
        retry_at: None,
        retry_log: RetryLog::default(),
        clock,
    };
    while !stop.is_cancelled() {
        ingest.take_burst()?;
        while let Some(event) = broker.event() {
            ingest.answer(event)?;
        }
        ingest.work_off(ingest.clock.now())?;
        ingest.show();
    }
    ingest.settle()
}

/// Shows what is counted by reason before it first occurs: a rate needs a start.
fn register() {
    for reason in Undecodable::ALL {
        metrics::counter!("spoolhouse_undecodable_total", "reason" => reason.code()).absolute(0);
    }
}

struct Ingest<'b, B> {
    options: Options,
    broker: &'b B,
    clock: Arc<dyn Clock>,
    intake: Intake,
    window: Window,
    sealer: Sealer,
    assignment: Option<Assignment>,
    /// Partitions that were given to us and are not being read yet.
    to_assign: Option<Vec<i32>>,
    /// Position unknown: resolve the start offsets again before anything else.
    is_lost: bool,
    /// Whether the topic is still the one that we read.
    identity: IdentityWatch,
    commits: Commits,
    /// Segments whose commit was acknowledged, on their way to `ready/`.
    released: VecDeque<SegmentFooter>,
    paused: bool,
    watch: Watch,
    retry_at: Option<Instant>,
    retry_log: RetryLog,
}

impl<B: Broker> Ingest<'_, B> {
    /// Takes in what is there.
    fn take_burst(&mut self) -> Result<(), IngestError> {
        let polled = self.broker.poll(POLL)?;
        // One look at the clock serves the whole burst.
        let now = self.clock.now();
        self.watch.taken(polled.iter().filter_map(Polled::message));
        let mut any_taken = false;
        for polled in polled {
            match polled {
                Polled::Message(message) => any_taken |= self.take(&message, now)?,
                Polled::OutOfRange => self.is_lost = true,
                Polled::OutOfOrder(partition) => {
                    let partition = format!("partition {partition}");
                    self.log_retry("a message out of order", &partition);
                    self.is_lost = true;
                }
                Polled::Error(error) => self.log_retry("Kafka", &error),
            }
        }
        if any_taken {
            self.identity.message_taken(now);
        }
        Ok(())
    }

    /// Takes a message into the window; whether the offset was new.
    fn take(&mut self, message: &B::Message, now: Instant) -> Result<bool, IngestError> {
        if self.is_lost {
            // It is read again from our position. Taken now, it would make a hole of a
            // message before it that was dropped.
            return Ok(false);
        }
        let Some(position) = self
            .assignment
            .as_mut()
            .and_then(|assignment| assignment.positions.get_mut(&message.partition()))
        else {
            return Ok(false); // left over from an assignment that is gone
        };
        let offset = message.offset();
        if offset < *position {
            metrics::counter!("spoolhouse_redelivered_total").increment(1);
            return Ok(false);
        }
        self.window.take(
            message.partition(),
            *position,
            offset,
            message.payload(),
            now,
        )?;
        *position = offset + 1;
        Ok(true)
    }

    fn answer(&mut self, event: Event) -> Result<(), IngestError> {
        match event {
            Event::Assigned(partitions) => self.to_assign = Some(partitions),
            Event::Revoked => {
                self.to_assign = None;
                self.settle()?;
                self.assignment = None;
                if let Err(error) = self.broker.unassign() {
                    self.log_retry("giving partitions back", &error);
                }
            }
            Event::Committed(offsets) => {
                failpoint::hit("commit.acknowledged");
                let released = self.commits.acknowledged(&offsets);
                self.released.extend(released);
            }
            Event::CommitFailed(error) => {
                metrics::counter!("spoolhouse_commit_failures_total").increment(1);
                self.log_retry("commit", &error);
                self.retry_at = Some(self.clock.now() + RETRY);
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
        if self.window.is_due(&self.options.headroom.window, now) && !self.sealer.is_busy() {
            self.close_window()?;
        }
        if !waiting {
            self.save(now);
            self.hand_over(now);
            if retry {
                self.commit(now);
            }
            self.start_reading(now);
            self.check_identity(now)?;
            self.start_anew(now)?;
        }
        self.pause_or_resume();
        Ok(())
    }

    fn close_window(&mut self) -> Result<(), IngestError> {
        let Some(assignment) = &self.assignment else {
            return Ok(());
        };
        let window = std::mem::replace(&mut self.window, Window::new()?);
        Ok(self.sealer.submit(window, &assignment.source)?)
    }

    /// Publishes the closed window, then commits it. Should its topic be gone by
    /// now, it waits in `sealed/` for the next assignment instead.
    fn save(&mut self, now: Instant) {
        if let Some(footer) = self.publish(now)
            && let Some(assignment) = &self.assignment
            && assignment.source == footer.source
        {
            self.commits.sealed(footer);
            self.commit(now);
        }
    }

    /// Publishes the closed window, if there is one and the disk takes it.
    fn publish(&mut self, now: Instant) -> Option<SegmentFooter> {
        if !self.sealer.is_busy() {
            return None;
        }
        let free = self.free_bytes();
        match self.sealer.turn(free) {
            Ok(sealed) => sealed,
            Err(error) => {
                self.disk_trouble("publishing a segment", &error, now);
                None
            }
        }
    }

    fn commit(&mut self, now: Instant) {
        let wanted = self.commits.wanted();
        if wanted.is_empty() {
            let released = self.commits.acknowledged(&BTreeMap::new());
            self.released.extend(released);
        } else if let Err(error) = self.broker.commit(&wanted) {
            self.log_retry("commit", &error);
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
    fn start_reading(&mut self, now: Instant) {
        let Some(partitions) = self.to_assign.take() else {
            return;
        };
        let heartbeat = &self.options.view.heartbeat;
        match start_reading(
            self.broker,
            &self.intake,
            &partitions,
            heartbeat,
            &*self.clock,
        ) {
            Ok((assignment, commits)) => {
                self.assignment = Some(assignment);
                self.commits = commits;
                self.paused = false;
                self.is_lost = false;
                self.watch.assigned(self.clock.wall());
                self.identity = IdentityWatch::new(self.clock.now());
                self.commit(now);
            }
            Err(trouble) => {
                self.log_retry("taking up partitions", &trouble);
                self.to_assign = Some(partitions);
                self.retry_at = Some(now + RETRY);
            }
        }
    }

    /// Notices a topic that was deleted and created again, before anything of
    /// the new one is sealed as the old one's. What was taken in of the old one
    /// goes up; should some of it be of the new one, no rule can tell which.
    fn check_identity(&mut self, now: Instant) -> Result<(), IngestError> {
        let Some(assignment) = &self.assignment else {
            return Ok(());
        };
        if !self.identity.is_due(now) || self.sealer.is_busy() {
            return Ok(());
        }
        let answer = self.broker.source(IDENTITY_TIMEOUT);
        let Some(source) = self.identity.check(&assignment.source, answer, now) else {
            return Ok(());
        };
        let is_mixed = self.identity.may_be_mixed();
        tracing::warn!(old = %assignment.source, new = %source, is_mixed, "the topic was created anew");
        let partitions = assignment.partitions();
        if !self.window.is_empty() {
            self.close_window()?;
            if let Some(footer) = self.publish(now)
                && is_mixed
                && let Err(error) = self.intake.doubt(&footer, &Doubt::TopicRecreated)
            {
                self.disk_trouble("setting a segment aside", &error, now);
            }
        }
        self.hand_over(now);
        self.commits = Commits::default();
        self.assignment = None;
        self.to_assign = Some(partitions);
        Ok(())
    }

    /// After a position fell out of its log: seal what came before the gap, so
    /// that no segment claims offsets that were never read, then start anew.
    fn start_anew(&mut self, now: Instant) -> Result<(), IngestError> {
        if !self.is_lost || self.sealer.is_busy() {
            return Ok(());
        }
        if !self.window.is_empty() {
            return self.close_window();
        }
        let Some(assignment) = &mut self.assignment else {
            self.is_lost = false;
            return Ok(());
        };
        let heartbeat = &self.options.view.heartbeat;
        match start_anew(
            self.broker,
            &self.intake,
            assignment,
            heartbeat,
            &*self.clock,
        ) {
            Ok(()) => {
                self.is_lost = false;
                self.paused = false;
                self.watch.assigned(self.clock.wall());
            }
            Err(trouble) => {
                self.log_retry("finding the log's start", &trouble);
                self.retry_at = Some(now + RETRY);
            }
        }
        Ok(())
    }

    /// Shows how reading gets on.
    fn show(&mut self) {
        let held = Held {
            is_paused: self.paused,
            is_all_sealed: self.window.is_empty() && !self.sealer.is_busy(),
        };
        self.watch
            .turn(self.broker, self.assignment.as_ref(), held, &*self.clock);
    }

    fn disk_trouble(&mut self, what: &str, error: &io::Error, now: Instant) {
        self.retry_at = Some(now + RETRY);
        metrics::counter!("spoolhouse_disk_errors_total").increment(1);
        self.log_retry(what, error);
    }

    fn log_retry(&mut self, what: &str, trouble: &dyn Display) {
        self.retry_log.say(what, trouble, self.clock.now());
    }
}
