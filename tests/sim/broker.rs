//! A model of Kafka, as far as a consumer of one topic sees it: the topic's logs, the
//! group with its committed offsets, and whoever else reads in the group. It outlives every
//! process of Spoolhouse; a process reads through a [`Client`].
//!
//! Everything happens in virtual time: what is under way (commits, rebalances, producers,
//! the other consumer) is caught up with whenever somebody looks. Faults are switched on by
//! plain methods, which touch nothing.
//!
//! What it does not model: replicas and leader epochs, transactions beyond the holes that
//! they leave, and retries inside librdkafka other than [`CommitFault::Repeated`].

mod client;
mod commit;
mod fetch;
mod foreign;
mod group;
mod membership;
mod topic;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spoolhouse::ingest::commit::Signature;

use crate::scheduler::{self, draw};

pub use client::Client;
pub use commit::CommitFault;
use commit::Pending;
use foreign::Foreign;
pub use foreign::Signs;
use group::Group;
pub use group::Timings;
use topic::Topics;
pub use topic::{Producer, Topic};

/// What everybody calls the cluster, the topic and the group.
pub const CLUSTER: &str = "cluster";
pub const TOPIC: &str = "http_log";
pub const GROUP: &str = "spoolhouse";

/// The coordinator waits up to so long before it gives partitions out.
const SETTLE_MS: u64 = 300;

/// What a client asks the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AskFault {
    /// An error comes at once.
    Error,
    /// Nothing comes before the client's time-out.
    Silence,
}

/// A commit of a spool, at the moment it is sent.
pub type Sent = BTreeMap<i32, (i64, Signature)>;

/// Told of every commit that a spool sends, before it leaves.
pub type OnCommit = Arc<dyn Fn(&Sent) + Send + Sync>;

struct State {
    timings: Timings,
    topics: Topics,
    group: Group,
    foreign: Foreign,
    pending: Vec<Pending>,
    commit_faults: VecDeque<CommitFault>,
    ask_faults: VecDeque<AskFault>,
    out_of_order: u32,
    /// Nobody reaches a broker until then.
    down_until: Duration,
    /// No client of ours does.
    cut_until: Duration,
    /// Members of ours whose process lives, by name.
    alive: BTreeMap<String, u64>,
    /// When the partitions are given out at the earliest.
    settles_at: Option<Duration>,
    /// Furthest offset that was ever committed, by incarnation of the topic and partition.
    furthest: BTreeMap<(u32, i32), i64>,
    /// Where a partition's log began when one of ours was first assigned it.
    begun_at: BTreeMap<(u32, i32), i64>,
    on_commit: Option<OnCommit>,
    /// Grows with everything that a waiting client could be interested in.
    changes: u64,
    /// Everything that was due until then has been done.
    caught_up: Duration,
}

/// The cluster. Clones are the same one.
#[derive(Clone)]
pub struct Kafka(Arc<Mutex<State>>);

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kafka")
    }
}

impl Kafka {
    /// A cluster whose topic has so many partitions. `incarnation` is how often it was
    /// created before: each has a texture of its own.
    pub fn new(partitions: i32, incarnation: u32) -> Self {
        Self(Arc::new(Mutex::new(State {
            timings: Timings::default(),
            topics: Topics::new(partitions, incarnation),
            group: Group::new(),
            foreign: Foreign::default(),
            pending: Vec::new(),
            commit_faults: VecDeque::new(),
            ask_faults: VecDeque::new(),
            out_of_order: 0,
            down_until: Duration::ZERO,
            cut_until: Duration::ZERO,
            alive: BTreeMap::new(),
            settles_at: None,
            furthest: BTreeMap::new(),
            begun_at: BTreeMap::new(),
            on_commit: None,
            changes: 0,
            caught_up: Duration::ZERO,
        })))
    }

    /// What it is now, everything that was due included.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up(scheduler::now());
        state
    }

    /// Changes it from outside.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        state.changes += 1;
        change(&mut state)
    }

    pub fn set_timings(&self, timings: Timings) {
        self.change(|state| state.timings = timings);
    }

    /// `hook` hears of every commit of ours before it leaves.
    pub fn on_commit(&self, hook: Option<OnCommit>) {
        self.change(|state| state.on_commit = hook);
    }

    /// The next `count` commits of ours meet this.
    pub fn fail_commits(&self, count: usize, fault: CommitFault) {
        self.change(|state| state.commit_faults.extend(vec![fault; count]));
    }

    /// The next `count` questions of ours meet this.
    pub fn fail_asks(&self, count: usize, fault: AskFault) {
        self.change(|state| state.ask_faults.extend(vec![fault; count]));
    }

    /// The next `count` messages come out of order: each is taken out of the stream and
    /// told as [`spoolhouse::ingest::broker::Polled::OutOfOrder`], with more of its partition behind it.
    pub fn deliver_out_of_order(&self, count: u32) {
        self.change(|state| state.out_of_order += count);
    }

    /// All brokers are unavailable for this time. The group lasts: its timers run in them.
    pub fn go_down(&self, time: Duration) {
        self.change(|state| {
            state.down_until = state.down_until.max(scheduler::now() + time);
            state.group.postpone(state.down_until);
        });
    }

    /// Our process reaches no broker for this time, and others do: past the session's
    /// time-out it is put out of the group.
    pub fn cut_off(&self, time: Duration) {
        self.change(|state| {
            let now = scheduler::now();
            state.cut_until = state.cut_until.max(now + time);
            state.hear_alive(Some(now.max(state.down_until)));
        });
    }

    /// No fault lies in wait any more, and everybody is reachable.
    pub fn heal(&self) {
        self.change(|state| {
            state.commit_faults.clear();
            state.ask_faults.clear();
            state.out_of_order = 0;
            state.down_until = Duration::ZERO;
            state.cut_until = Duration::ZERO;
            state.hear_alive(None);
        });
    }

    /// The coordinator puts a member out of the group at once (it was itself replaced, say):
    /// the assignment is lost before the client knows.
    pub fn put_out(&self, name: &str) {
        self.change(|state| state.group.remove(name, scheduler::now()));
    }

    /// The committed offset of a partition.
    pub fn committed(&self, partition: i32) -> Option<i64> {
        Some(self.state().group.committed.get(&partition)?.offset)
    }

    /// The furthest offset that anybody ever committed for a partition of this incarnation.
    pub fn furthest_commit(&self, incarnation: u32, partition: i32) -> i64 {
        let furthest = &self.state().furthest;
        furthest
            .get(&(incarnation, partition))
            .copied()
            .unwrap_or(0)
    }

    /// The offset from which a partition's messages are ours to account for: where its log
    /// began when one of ours was first assigned it, or begins now.
    pub fn begun_at(&self, incarnation: u32, partition: i32) -> i64 {
        let state = self.state();
        let current = state.topics.current();
        let log = current
            .filter(|topic| topic.incarnation == incarnation)
            .and_then(|topic| topic.logs.get(&partition));
        let begun = state.begun_at.get(&(incarnation, partition));
        begun
            .copied()
            .or(log.map(|log| log.start))
            .unwrap_or(i64::MAX)
    }
}

impl State {
    /// Does what was due until now, in its order.
    fn catch_up(&mut self, now: Duration) {
        self.prepare(self.caught_up);
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            self.changes += 1;
            self.topics.produce(due);
            self.apply_commits(due);
            if self.cut_until == due {
                self.hear_alive(None);
            }
            let timings = self.timings;
            self.group.expire(due, &timings);
            self.turn_foreign(due);
            self.complete_rebalance(due);
            self.caught_up = due;
            self.prepare(due);
        }
        self.caught_up = now;
    }

    /// Sets the times of what follows from what is.
    fn prepare(&mut self, now: Duration) {
        self.prepare_foreign(now);
        if !self.group.is_ready() {
            self.settles_at = None;
        } else if self.settles_at.is_none() {
            self.settles_at = Some(now + Duration::from_millis(1 + draw(SETTLE_MS)));
        }
    }

    /// When something happens next, as far as that is known.
    fn next_due(&self) -> Option<Duration> {
        let applied = self.pending.iter().filter_map(|pending| pending.applies_at);
        let others = [
            self.topics.next_append(),
            self.group.next_expiry(&self.timings),
            self.foreign.next_turn(),
            self.settles_at,
            Some(self.cut_until).filter(|until| *until > self.caught_up),
        ];
        applied.chain(others.into_iter().flatten()).min()
    }

    /// The coordinator hears nothing from processes that live, or hears them again.
    fn hear_alive(&mut self, silent_since: Option<Duration>) {
        for (name, member) in &self.alive {
            self.group.set_silent(name, *member, silent_since);
        }
    }

    /// When a client of ours reaches the brokers, if it doesn't now.
    fn unreachable_until(&self, now: Duration) -> Option<Duration> {
        Some(self.down_until.max(self.cut_until)).filter(|until| *until > now)
    }

    /// The partitions are given out a little after everybody has joined.
    fn complete_rebalance(&mut self, now: Duration) {
        if self.settles_at.is_some_and(|at| at <= now) {
            self.settles_at = None;
            self.group.complete(&self.topics.partitions());
        }
    }
}

#[cfg(test)]
#[path = "broker/tests.rs"]
mod tests;
