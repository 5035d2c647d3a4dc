//! The topic: its logs, whoever appends to them, and its end and new beginning under
//! another id. Logs are ranges of offsets; what stands at an offset follows from the
//! message's id.

use std::collections::BTreeMap;
use std::time::Duration;

use spoolhouse::ingest::commit::Log;

use super::{Kafka, State};
use crate::messages::{Kind, MessageId};
use crate::scheduler;

/// Appends messages over time.
#[derive(Clone, Debug)]
pub struct Producer {
    pub partition: i32,
    /// How often.
    pub every: Duration,
    /// How many offsets each time.
    pub burst: i64,
    /// How many offsets in all.
    pub total: i64,
}

#[derive(Clone, Debug)]
struct Producing {
    producer: Producer,
    next: Duration,
}

/// One incarnation of the topic.
#[derive(Clone, Debug)]
pub struct Topic {
    pub incarnation: u32,
    pub is_deleted: bool,
    pub logs: BTreeMap<i32, Log>,
}

impl Topic {
    fn new(incarnation: u32, partitions: i32) -> Self {
        let log = Log { start: 0, end: 0 };
        Self {
            incarnation,
            is_deleted: false,
            logs: (0..partitions).map(|partition| (partition, log)).collect(),
        }
    }

    /// Every message that was ever appended.
    pub fn messages(&self) -> impl Iterator<Item = MessageId> {
        self.logs.iter().flat_map(|(partition, log)| {
            (0..log.end)
                .map(|offset| self.id(*partition, offset))
                .filter(|id| id.kind() != Kind::Hole)
        })
    }

    pub(super) fn id(&self, partition: i32, offset: i64) -> MessageId {
        MessageId {
            incarnation: self.incarnation,
            partition,
            offset,
        }
    }
}

/// All incarnations, the last one at the end.
#[derive(Debug)]
pub(super) struct Topics {
    all: Vec<Topic>,
    producers: Vec<Producing>,
}

impl Topics {
    pub(super) fn new(partitions: i32, incarnation: u32) -> Self {
        Self {
            all: vec![Topic::new(incarnation, partitions)],
            producers: Vec::new(),
        }
    }

    /// The topic as it exists now.
    pub(super) fn current(&self) -> Option<&Topic> {
        self.all.last().filter(|topic| !topic.is_deleted)
    }

    fn current_mut(&mut self) -> Option<&mut Topic> {
        self.all.last_mut().filter(|topic| !topic.is_deleted)
    }

    pub(super) fn log(&self, partition: i32) -> Option<Log> {
        self.current()?.logs.get(&partition).copied()
    }

    pub(super) fn partitions(&self) -> Vec<i32> {
        self.current()
            .map_or_else(Vec::new, |topic| topic.logs.keys().copied().collect())
    }

    /// The current incarnation, if it has this partition.
    pub(super) fn incarnation_with(&self, partition: i32) -> Option<u32> {
        let topic = self.current()?;
        topic
            .logs
            .contains_key(&partition)
            .then_some(topic.incarnation)
    }

    fn append(&mut self, partition: i32, count: i64) {
        if let Some(log) = self
            .current_mut()
            .and_then(|topic| topic.logs.get_mut(&partition))
        {
            log.end += count;
        }
    }

    pub(super) fn next_append(&self) -> Option<Duration> {
        self.producers.iter().map(|producing| producing.next).min()
    }

    pub(super) fn produce(&mut self, now: Duration) {
        let mut producers = std::mem::take(&mut self.producers);
        for producing in &mut producers {
            if producing.next > now {
                continue;
            }
            producing.next += producing.producer.every;
            let burst = producing.producer.burst.min(producing.producer.total);
            producing.producer.total -= burst;
            self.append(producing.producer.partition, burst);
        }
        producers.retain(|producing| producing.producer.total > 0);
        self.producers = producers;
    }
}

impl State {
    /// One of ours is assigned these partitions.
    pub(super) fn begin<'p>(&mut self, partitions: impl Iterator<Item = &'p i32>) {
        let Some(topic) = self.topics.current() else {
            return;
        };
        for partition in partitions {
            if let Some(log) = topic.logs.get(partition) {
                let key = (topic.incarnation, *partition);
                self.begun_at.entry(key).or_insert(log.start);
            }
        }
    }
}

impl Kafka {
    /// Appends so many offsets to a partition now.
    pub fn append(&self, partition: i32, count: i64) {
        self.change(|state| state.topics.append(partition, count));
    }

    /// Messages are appended over time from now on.
    pub fn produce(&self, producer: Producer) {
        let next = scheduler::now() + producer.every;
        self.change(|state| state.topics.producers.push(Producing { producer, next }));
    }

    /// Whether messages are still to come by themselves.
    pub fn is_producing(&self) -> bool {
        !self.state().topics.producers.is_empty()
    }

    /// Retention takes all but the last `keep` offsets of a partition.
    pub fn retain(&self, partition: i32, keep: i64) {
        self.change(|state| {
            let topic = state.topics.current_mut();
            if let Some(log) = topic.and_then(|topic| topic.logs.get_mut(&partition)) {
                log.start = log.start.max(log.end - keep);
            }
        });
    }

    /// The topic is deleted. The group's commits go with it, sooner or later: `keep_commits`
    /// leaves them there for the next topic of this name.
    pub fn delete_topic(&self, keep_commits: bool) {
        self.change(|state| {
            if let Some(topic) = state.topics.current_mut() {
                topic.is_deleted = true;
            }
            if !keep_commits {
                state.group.committed.clear();
            }
            state.foreign.forget_positions();
        });
    }

    /// The topic is created anew, under another id. Who produced goes on in it. Clients
    /// that see no difference in its partitions may notice nothing: `rebalances` says
    /// whether they do.
    pub fn create_topic(&self, partitions: i32, rebalances: bool) {
        self.change(|state| {
            let Some(before) = state.topics.all.last().filter(|topic| topic.is_deleted) else {
                return;
            };
            let is_other = before.logs.len() as i32 != partitions;
            let topic = Topic::new(before.incarnation + 1, partitions);
            state.topics.all.push(topic);
            if is_other || rebalances {
                state.group.partitions_changed(scheduler::now());
            }
        });
    }

    /// The topic gets one more partition.
    pub fn add_partition(&self) {
        self.change(|state| {
            if let Some(topic) = state.topics.current_mut() {
                let next = topic.logs.len() as i32;
                topic.logs.insert(next, Log { start: 0, end: 0 });
                state.group.partitions_changed(scheduler::now());
            }
        });
    }

    /// Every incarnation that the topic had, the last one at the end.
    pub fn topics(&self) -> Vec<Topic> {
        self.state().topics.all.clone()
    }

    /// First and next offset of a partition as it is now.
    pub fn log(&self, partition: i32) -> Option<Log> {
        self.state().topics.log(partition)
    }

    /// The partitions as they are now.
    pub fn partitions(&self) -> Vec<i32> {
        self.state().topics.partitions()
    }
}
