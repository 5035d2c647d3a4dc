//! Another consumer of the group, which is none of ours: it joins and leaves, takes
//! messages in and commits them in one step, and is fenced like anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spoolhouse::ingest::commit::Signature;
use uuid::Uuid;

use super::group::Stored;
use super::{Kafka, State};
use crate::messages::MessageId;
use crate::scheduler::{self, draw};

/// Its name in the group.
const NAME: &str = "foreign";

/// How it joins again after it has heard of a rebalance.
const HEARTBEAT_MS: u64 = 3_000;

/// What it writes beside its commits.
#[derive(Clone, Debug, Default)]
pub enum Signs {
    /// Nothing.
    #[default]
    Nothing,
    /// Something of its own.
    Text(String),
    /// As another spool.
    Spool(Uuid),
}

/// The other consumer.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    member: Option<u64>,
    generation: u32,
    positions: BTreeMap<i32, i64>,
    signs: Signs,
    /// How often it reads by itself, and how many messages.
    habit: Option<(Duration, i64)>,
    reads_at: Option<Duration>,
    rejoins_at: Option<Duration>,
    commits: u64,
    /// What it took in and committed, or passed because retention had taken it.
    pub(super) taken: BTreeSet<MessageId>,
}

impl Foreign {
    pub(super) fn next_turn(&self) -> Option<Duration> {
        self.member?;
        self.reads_at.into_iter().chain(self.rejoins_at).min()
    }

    /// The topic is another one: what was read of the old one says nothing.
    pub(super) fn forget_positions(&mut self) {
        self.positions.clear();
    }
}

impl State {
    /// Sets the time at which the other consumer hears of a rebalance.
    pub(super) fn prepare_foreign(&mut self, now: Duration) {
        let is_put_out = self.foreign.member.is_some() && !self.group.has(NAME);
        if !is_put_out && self.group.awaits(NAME).is_none() {
            self.foreign.rejoins_at = None;
        } else if self.foreign.rejoins_at.is_none() {
            let heard = Duration::from_millis(1 + draw(HEARTBEAT_MS));
            self.foreign.rejoins_at = Some(now + heard);
        }
    }

    /// What the other consumer does by itself.
    pub(super) fn turn_foreign(&mut self, now: Duration) {
        let Some(member) = self.foreign.member else {
            return;
        };
        if self.foreign.rejoins_at.is_some_and(|at| at <= now) {
            self.foreign.rejoins_at = None;
            if self.group.rejoin(NAME, member).is_err() {
                self.foreign.member = Some(self.group.join(NAME, now));
            }
        }
        if let (Some((every, count)), Some(at)) = (self.foreign.habit, self.foreign.reads_at)
            && at <= now
        {
            self.foreign.reads_at = Some(now + every);
            self.read_as_foreign(count);
        }
    }

    /// It takes in the next messages of its partitions and commits them.
    fn read_as_foreign(&mut self, count: i64) {
        let Some(member) = self.foreign.member else {
            return;
        };
        if let Some(partitions) = self.group.partitions(NAME)
            && self.foreign.generation != self.group.generation
        {
            let committed = &self.group.committed;
            let start = |p: &i32| (*p, committed.get(p).map_or(0, |commit| commit.offset));
            self.foreign.positions = partitions.iter().map(start).collect();
            self.foreign.generation = self.group.generation;
        }
        let generation = self.foreign.generation;
        if self.group.check(NAME, member, generation).is_err() || self.group.awaits(NAME).is_some()
        {
            return;
        }
        for (partition, from) in self.foreign.positions.clone() {
            let Some(log) = self.topics.log(partition) else {
                continue;
            };
            let to = log.end.min(from.max(log.start) + count);
            let Some(topic) = self.topics.current().filter(|_| to > from) else {
                continue;
            };
            self.foreign.commits += 1;
            let metadata = match &self.foreign.signs {
                Signs::Nothing => String::new(),
                Signs::Text(text) => text.clone(),
                Signs::Spool(spool) => Signature {
                    spool: *spool,
                    segment: self.foreign.commits,
                    topic_id: MessageId::topic_id(topic.incarnation),
                }
                .to_string(),
            };
            self.foreign
                .taken
                .extend((from..to).map(|offset| topic.id(partition, offset)));
            self.foreign.positions.insert(partition, to);
            self.commit(
                partition,
                Stored {
                    offset: to,
                    metadata,
                },
            );
        }
    }
}

impl Kafka {
    /// The other consumer joins the group.
    pub fn foreign_joins(&self, signs: Signs) {
        self.change(|state| {
            if state.foreign.member.is_none() {
                state.foreign.member = Some(state.group.join(NAME, scheduler::now()));
                state.foreign.signs = signs;
            }
        });
    }

    /// It leaves the group.
    pub fn foreign_leaves(&self) {
        self.change(|state| {
            state.foreign.member = None;
            state.foreign.habit = None;
            state.foreign.reads_at = None;
            state.foreign.rejoins_at = None;
            state.group.remove(NAME, scheduler::now());
        });
    }

    /// It reads up to `count` messages of each of its partitions now.
    pub fn foreign_reads(&self, count: i64) {
        self.change(|state| state.read_as_foreign(count));
    }

    /// It reads by itself from now on.
    pub fn foreign_reads_every(&self, every: Duration, count: i64) {
        self.change(|state| {
            state.foreign.habit = Some((every, count));
            state.foreign.reads_at = Some(scheduler::now() + every);
        });
    }

    /// What it took in and committed, or passed because retention had taken it.
    pub fn taken_elsewhere(&self) -> BTreeSet<MessageId> {
        self.state().foreign.taken.clone()
    }
}
