//! How reading gets on, as metrics and for whoever looks: how far it is behind,
//! whether it is paused, and how old the oldest message is that is not yet on
//! our disk. Decides nothing, and a question that Kafka does not answer is left
//! out.
//!
//! Age is reckoned by the messages' own timestamps, because the broker's
//! retention goes by them. What was not read yet is at least as young as what was
//! read last of its partition, so its age is never understated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::assignment::Assignment;
use super::broker::{Broker, Message};
use crate::heartbeat::Heartbeat;
use crate::time::{Clock, epoch_ms};

/// How often the figures are made anew, …
const EVERY: Duration = Duration::from_secs(1);
/// … how often the broker is asked where its log ends while nothing is fetched, …
const ASK_EVERY: Duration = Duration::from_secs(10);
/// … and how often how long it keeps messages.
const RETENTION_EVERY: Duration = Duration::from_secs(600);

/// Messages between the end of a log and our position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Over all partitions.
    pub sum: u64,
    /// Of the partition that has most.
    pub worst: u64,
}

/// How reading gets on right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many partitions are being read.
    pub partitions: usize,
    /// Whether consumption is held because spool or disk are full or fail.
    pub is_paused: bool,
    /// Messages that were taken in since the start.
    pub taken: u64,
    /// How far reading is behind; `None` while it is not known.
    pub lag: Option<Lag>,
    /// How old the oldest message is that is not on our disk.
    pub unsealed: Duration,
    /// How long the broker keeps messages, if it told and does not keep them for ever.
    pub retention: Option<Duration>,
}

/// Ingest, as it is seen from outside; clones see the same.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Beats at every turn of the loop.
    pub heartbeat: Heartbeat,
    now: Arc<Mutex<Progress>>,
}

impl View {
    /// How reading gets on.
    pub fn progress(&self) -> Progress {
        self.now
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, progress: Progress) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// Loop state after one iteration.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Consumption is paused.
    pub is_paused: bool,
    /// Everything that was taken in is on disk.
    pub is_all_sealed: bool,
}

/// What ingest notes for it.
#[derive(Debug)]
pub struct Watch {
    view: View,
    taken: u64,
    ages: Ages,
    ends: BTreeMap<i32, i64>,
    retention: Option<Duration>,
    pause: Option<Pause>,
    due: Instant,
    ask_due: Instant,
    retention_due: Instant,
}

/// A pause that lasts.
#[derive(Clone, Copy, Debug)]
struct Pause {
    since: Instant,
    seconds_counted: u64,
}

impl Watch {
    /// Begins to watch.
    pub fn new(view: View, now: Instant) -> Self {
        metrics::gauge!("spoolhouse_paused").set(0);
        Self {
            view,
            taken: 0,
            ages: Ages::default(),
            ends: BTreeMap::new(),
            retention: None,
            pause: None,
            due: now,
            ask_due: now,
            retention_due: now,
        }
    }

    /// Notes messages that were polled together. One look at the last of each run
    /// of a partition, and at the first: within a partition time seldom runs back.
    pub fn taken<'m, M: Message + 'm>(&mut self, messages: impl Iterator<Item = &'m M>) {
        let mut last: Option<&M> = None;
        for message in messages {
            match last {
                Some(before) if before.partition() == message.partition() => {}
                before => {
                    self.ages.note(before.map(at));
                    self.ages.note(Some(at(message)));
                }
            }
            last = Some(message);
            self.taken += 1;
        }
        self.ages.note(last.map(at));
    }

    /// Other partitions are read, or the same from elsewhere.
    pub fn assigned(&mut self, now: SystemTime) {
        self.ages = Ages {
            oldest_ms: self.ages.oldest_ms,
            assigned_ms: signed_ms(now),
            last_ms: BTreeMap::new(),
        };
        self.ends.clear();
    }

    /// Consumption was paused or resumed.
    fn paused(&mut self, is_paused: bool, now: Instant) {
        metrics::gauge!("spoolhouse_paused").set(u8::from(is_paused));
        self.count_pause(now);
        self.pause = is_paused.then_some(Pause {
            since: now,
            seconds_counted: 0,
        });
    }

    fn count_pause(&mut self, now: Instant) {
        if let Some(pause) = &mut self.pause {
            let seconds = now.duration_since(pause.since).as_secs();
            metrics::counter!("spoolhouse_paused_seconds_total")
                .increment(seconds - pause.seconds_counted);
            pause.seconds_counted = seconds;
        }
    }

    /// The loop has come round: makes the figures anew when it is time.
    pub fn turn(
        &mut self,
        broker: &impl Broker,
        assignment: Option<&Assignment>,
        held: Held,
        clock: &dyn Clock,
    ) {
        let now = clock.now();
        self.view.heartbeat.beat(now);
        let is_paused = held.is_paused;
        if held.is_all_sealed {
            self.ages.oldest_ms = None;
        }
        let is_turn = self.pause.is_some() != is_paused;
        if is_turn {
            self.paused(is_paused, now);
        }
        if now < self.due && !is_turn {
            return;
        }
        self.due = now + EVERY;
        self.count_pause(now);
        let mut progress = Progress {
            is_paused,
            taken: self.taken,
            ..Progress::default()
        };
        if let Some(assignment) = assignment {
            self.look_for_ends(broker, assignment, is_paused, clock);
            self.ask_for_retention(broker, now);
            let behind = behind(&self.ends, &assignment.positions);
            progress.partitions = assignment.positions.len();
            progress.lag = (!behind.is_empty()).then(|| lag(&behind));
            progress.unsealed = self.ages.unsealed(&behind, signed_ms(clock.wall()));
            progress.retention = self.retention;
        }
        if let Some(lag) = progress.lag {
            metrics::gauge!("spoolhouse_lag_messages").set(lag.sum as f64);
            metrics::gauge!("spoolhouse_lag_messages_max").set(lag.worst as f64);
        }
        metrics::gauge!("spoolhouse_partitions").set(progress.partitions as f64);
        metrics::gauge!("spoolhouse_unsealed_age_seconds").set(progress.unsealed);
        metrics::gauge!("spoolhouse_retention_seconds")
            .set(progress.retention.unwrap_or(Duration::ZERO));
        self.view.set(progress);
    }

    /// Where the logs end. What is paused is not fetched, so the broker is asked.
    fn look_for_ends(
        &mut self,
        broker: &impl Broker,
        assignment: &Assignment,
        is_paused: bool,
        clock: &dyn Clock,
    ) {
        let now = clock.now();
        let ask = is_paused && now >= self.ask_due;
        if ask {
            self.ask_due = now + ASK_EVERY;
        }
        for partition in assignment.partitions() {
            if ask {
                // One that does not answer is not asked for the others as well.
                let Ok(log) = broker.log(partition) else {
                    break;
                };
                self.ends.insert(partition, log.end);
                self.view.heartbeat.beat(clock.now());
            } else if let Some(end) = broker.end_as_fetched(partition) {
                let known = self.ends.entry(partition).or_insert(end);
                *known = (*known).max(end);
            }
        }
    }

    fn ask_for_retention(&mut self, broker: &impl Broker, now: Instant) {
        if now < self.retention_due {
            return;
        }
        self.retention_due = now + RETENTION_EVERY;
        match broker.retention() {
            Ok(retention) => self.retention = retention,
            Err(error) => tracing::debug!(%error, "the topic's retention is not known"),
        }
    }
}

fn at(message: &impl Message) -> (i32, Option<i64>) {
    (message.partition(), message.time_ms())
}

/// Messages that are not read yet, by partition; those whose end is known.
fn behind(ends: &BTreeMap<i32, i64>, positions: &BTreeMap<i32, i64>) -> BTreeMap<i32, u64> {
    let behind = positions.iter().filter_map(|(partition, position)| {
        let end = ends.get(partition)?;
        Some((*partition, u64::try_from(end - position).unwrap_or(0)))
    });
    behind.collect()
}

fn lag(behind: &BTreeMap<i32, u64>) -> Lag {
    Lag {
        sum: behind.values().sum(),
        worst: behind.values().copied().max().unwrap_or(0),
    }
}

/// Timestamps that tell how old the oldest message is that is not on our disk.
#[derive(Debug, Default)]
struct Ages {
    /// The oldest that was taken in and is not sealed.
    oldest_ms: Option<i64>,
    /// When reading began: no older message was waiting unread before it.
    assigned_ms: i64,
    /// The last that was read, by partition.
    last_ms: BTreeMap<i32, i64>,
}

impl Ages {
    fn note(&mut self, message: Option<(i32, Option<i64>)>) {
        if let Some((partition, Some(time_ms))) = message {
            self.oldest_ms = Some(self.oldest_ms.map_or(time_ms, |oldest| oldest.min(time_ms)));
            self.last_ms.insert(partition, time_ms);
        }
    }

    fn unsealed(&self, behind: &BTreeMap<i32, u64>, now_ms: i64) -> Duration {
        let unread = behind
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(partition, _)| *self.last_ms.get(partition).unwrap_or(&self.assigned_ms));
        let oldest = unread.chain(self.oldest_ms).min().unwrap_or(now_ms);
        Duration::from_millis(u64::try_from(now_ms - oldest).unwrap_or(0))
    }
}

/// Kafka's timestamps are signed.
fn signed_ms(time: SystemTime) -> i64 {
    i64::try_from(epoch_ms(time)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_lies_between_position_and_end() {
        let ends = [(0, 100), (1, 40), (2, 7)].into();
        // One partition was cut back, one has not been fetched from yet.
        let positions = [(0, 70), (1, 41), (3, 5)].into();
        let behind = behind(&ends, &positions);
        assert_eq!(behind, [(0, 30), (1, 0)].into());
        assert_eq!(lag(&behind), Lag { sum: 30, worst: 30 });
    }

    #[test]
    fn what_is_on_disk_and_read_up_has_no_age() {
        let mut ages = Ages::default();
        ages.note(Some((0, Some(1_000))));
        assert_eq!(
            ages.unsealed(&[(0, 0)].into(), 9_000),
            Duration::from_secs(8)
        );
        ages.oldest_ms = None;
        assert_eq!(ages.unsealed(&[(0, 0)].into(), 9_000), Duration::ZERO);
    }

    #[test]
    fn what_is_not_read_is_as_old_as_what_was_read_last_of_its_partition() {
        let mut ages = Ages {
            assigned_ms: 3_000,
            ..Ages::default()
        };
        ages.note(Some((0, Some(5_000))));
        ages.note(Some((1, Some(8_000))));
        ages.oldest_ms = None;
        let age = |behind: &[(i32, u64)]| ages.unsealed(&behind.iter().copied().collect(), 10_000);
        assert_eq!(age(&[(0, 1), (1, 1)]), Duration::from_secs(5));
        assert_eq!(age(&[(0, 0), (1, 1)]), Duration::from_secs(2));
        // Nothing was read of this one yet.
        assert_eq!(age(&[(2, 1)]), Duration::from_secs(7));
    }
}
