//! A consumer in a process of ours, as librdkafka is one: what the production loop holds as
//! its [`Broker`].
//!
//! Callbacks run within a poll: an event is there only after one. A revocation waits until
//! the last assignment was taken up; the client joins again only once it was answered and
//! no commit is under way. Positions are the client's own: `assign` sets them, what was
//! fetched before is dropped, and nothing is asked of the group to fetch.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use spoolhouse::ingest::broker::{ASK_TIMEOUT, Broker, BrokerError, Event, FatalError, Polled};
use spoolhouse::ingest::commit::{Committed, Log, Signature};
use spoolhouse::spool::format::footer::Source;

use super::fetch::{Fetch, Message, fetch_ahead, give_out};
use super::group::Refusal;
use super::membership::{Inner, Phase};
use super::{AskFault, CLUSTER, GROUP, Kafka, Sent, TOPIC};
use crate::messages::MessageId;
use crate::scheduler::{
    draw, fault, note, now, one_in, touch, touch_lightly, wait_for, wait_until,
};

/// What the topic's configuration says.
const RETENTION: Duration = Duration::from_secs(60);

/// One process's consumer.
#[derive(Debug)]
pub struct Client {
    kafka: Kafka,
    inner: RefCell<Inner>,
}

impl Kafka {
    /// A consumer that joins the group under this name (`group.instance.id`).
    pub fn subscribe(&self, name: &str) -> Client {
        touch("broker.subscribe", format_args!("{name}"));
        let client = self.client(name, Phase::Joining);
        self.change(|state| client.inner.borrow_mut().join(state));
        client
    }

    /// A client that only asks.
    pub fn inquire(&self) -> Client {
        self.client("", Phase::Outside)
    }

    fn client(&self, name: &str, phase: Phase) -> Client {
        Client {
            kafka: self.clone(),
            inner: RefCell::new(Inner::new(name, phase)),
        }
    }
}

fn other(text: &str) -> BrokerError {
    BrokerError::Other(text.to_owned())
}

impl Client {
    /// Asks the broker something, which takes a round trip; nothing is held meanwhile.
    fn ask(&self, what: &'static str, timeout: Duration) -> Result<(), BrokerError> {
        touch(what, format_args!(""));
        let deadline = now() + timeout;
        let met = self.kafka.change(|state| state.ask_faults.pop_front());
        match met {
            Some(AskFault::Error) => {
                fault("question refused");
                return Err(other("Broker: Coordinator not available"));
            }
            Some(AskFault::Silence) => {
                fault("question unanswered");
                wait_until(deadline);
                return Err(other("Local: Timed out"));
            }
            None => {}
        }
        let kafka = &self.kafka;
        let is_reachable = || kafka.state().unreachable_until(now()).is_none();
        if !is_reachable() {
            fault("broker unreachable");
            loop {
                let until = kafka.state().unreachable_until(now());
                let Some(until) = until else { break };
                if now() >= deadline {
                    return Err(other("Local: Timed out"));
                }
                wait_for(until.min(deadline).saturating_sub(now()), is_reachable);
            }
        }
        wait_until(now() + Duration::from_millis(1 + draw(4)));
        Ok(())
    }

    /// Whether a poll has something to give out.
    fn has_something(&self) -> bool {
        let (inner, state) = (&mut *self.inner.borrow_mut(), &mut *self.kafka.state());
        inner.turn(state);
        let is_there = |(partition, fetch): (&i32, &Fetch)| {
            let log = state.topics.log(*partition);
            // The end itself is where a position waits for more.
            let is_there =
                log.is_some_and(|log| fetch.position < log.start || fetch.position != log.end);
            fetch.is_fetching() && (is_there || !fetch.ahead.is_empty())
        };
        let can_read = inner.phase != Phase::Revoked && state.unreachable_until(now()).is_none();
        !inner.events.is_empty() || can_read && inner.fetches.iter().any(is_there)
    }

    /// When to look again at the latest, and how far things are now.
    fn next_look(&self) -> (Option<Duration>, u64) {
        let (inner, state) = (self.inner.borrow(), self.kafka.state());
        let answers = state.pending.iter().filter(|commit| inner.made(commit));
        let reachable = state.unreachable_until(now());
        let due = answers.filter_map(|commit| commit.answers_at);
        let due = due.chain(inner.hears_at).chain(reachable);
        (due.chain(state.next_due()).min(), state.changes)
    }

    /// Waits for something to give out.
    fn wait(&self, timeout: Duration) {
        let deadline = now() + timeout;
        while !self.has_something() && now() < deadline {
            let (due, changes) = self.next_look();
            let until = due.map_or(deadline, |due| due.min(deadline));
            // What is due at this very moment has been seen to.
            let limit = until.saturating_sub(now()).max(Duration::from_millis(1));
            let kafka = &self.kafka;
            wait_for(limit, || kafka.state().changes != changes);
        }
    }

    /// Whether somebody else has joined under its name, and it knows.
    fn is_fenced(&self) -> bool {
        let (inner, state) = (self.inner.borrow(), self.kafka.state());
        let heeded = state
            .group
            .check(&inner.name, inner.member, inner.generation);
        heeded == Err(Refusal::Fenced) && state.unreachable_until(now()).is_none()
    }

    /// Takes out what is there.
    fn take(&self) -> Vec<Polled<Message>> {
        let (inner, state) = (&mut *self.inner.borrow_mut(), &mut *self.kafka.state());
        inner.turn(state);
        let mut polled = Vec::new();
        let left_over = inner.left_over.drain(..).map(Message::new);
        polled.extend(left_over.map(Polled::Message));
        if state.unreachable_until(now()).is_some() {
            if one_in(8) {
                polled.push(Polled::Error(other(
                    "Local: All broker connections are down",
                )));
            }
            return polled;
        }
        // What a revocation overtook mostly stays behind.
        if inner.phase == Phase::Revoked && !one_in(4) {
            return polled;
        }
        let mut partitions: Vec<i32> = inner.fetches.keys().copied().collect();
        if !partitions.is_empty() {
            let first = draw(partitions.len() as u64) as usize;
            partitions.rotate_left(first);
        }
        for partition in partitions {
            if let Some(fetch) = inner
                .fetches
                .get_mut(&partition)
                .filter(|fetch| fetch.is_fetching())
            {
                fetch_ahead(fetch, partition, state, &mut polled);
                give_out(fetch, state, &mut polled);
            }
        }
        polled
    }
}

impl Broker for Client {
    type Message = Message;

    fn poll(&self, timeout: Duration) -> Result<Vec<Polled<Message>>, FatalError> {
        touch_lightly();
        self.wait(timeout);
        if self.has_something() {
            touch("broker.poll", format_args!(""));
        }
        match self.is_fenced() {
            true => Err(FatalError::Fenced {
                group: GROUP.to_owned(),
                instance_id: self.inner.borrow().name.clone(),
            }),
            false => Ok(self.take()),
        }
    }

    fn event(&self) -> Option<Event> {
        let event = self.inner.borrow_mut().events.pop_front()?;
        note("broker.event", format_args!("{event:?}"));
        Some(event)
    }

    fn source(&self, timeout: Duration) -> Result<Source, BrokerError> {
        self.ask("broker.source", timeout)?;
        let state = self.kafka.state();
        let topic = state.topics.current().ok_or(BrokerError::TopicAbsent)?;
        Ok(Source {
            cluster: CLUSTER.to_owned(),
            topic: TOPIC.to_owned(),
            topic_id: MessageId::topic_id(topic.incarnation),
        })
    }

    fn partitions(&self) -> Result<Vec<i32>, BrokerError> {
        self.ask("broker.partitions", ASK_TIMEOUT)?;
        match self.kafka.partitions() {
            partitions if partitions.is_empty() => Err(BrokerError::TopicAbsent),
            partitions => Ok(partitions),
        }
    }

    fn committed(
        &self,
        source: &Source,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, Committed>, BrokerError> {
        self.ask("broker.committed", ASK_TIMEOUT)?;
        let state = self.kafka.state();
        let committed = partitions.iter().filter_map(|partition| {
            let stored = state.group.committed.get(partition)?;
            let committed = Committed {
                offset: stored.offset,
                signature: Signature::parse(&stored.metadata),
            };
            (!committed.is_of_other_topic(source)).then_some((*partition, committed))
        });
        Ok(committed.collect())
    }

    fn log(&self, partition: i32) -> Result<Log, BrokerError> {
        self.ask("broker.log", ASK_TIMEOUT)?;
        let log = self.kafka.log(partition);
        log.ok_or_else(|| other("Broker: Unknown topic or partition"))
    }

    fn end_as_fetched(&self, partition: i32) -> Option<i64> {
        self.inner.borrow().fetches.get(&partition)?.end
    }

    fn retention(&self) -> Result<Option<Duration>, BrokerError> {
        self.ask("broker.retention", Duration::from_secs(2))?;
        Ok(Some(RETENTION))
    }

    fn assign(&self, starts: &BTreeMap<i32, i64>) -> Result<(), BrokerError> {
        touch("broker.assign", format_args!("{starts:?}"));
        self.kafka.state().begin(starts.keys());
        let inner = &mut *self.inner.borrow_mut();
        inner.leave_over(starts);
        inner.fetches = starts
            .iter()
            .map(|(p, offset)| (*p, Fetch::at(*offset)))
            .collect();
        if inner.phase == Phase::Told {
            inner.phase = Phase::Reading;
        }
        Ok(())
    }

    fn unassign(&self) -> Result<(), BrokerError> {
        touch("broker.unassign", format_args!(""));
        let inner = &mut *self.inner.borrow_mut();
        inner.leave_over(&BTreeMap::new());
        inner.fetches.clear();
        if inner.phase == Phase::Revoked {
            inner.phase = Phase::Leaving;
        }
        Ok(())
    }

    fn commit(&self, offsets: &Sent) -> Result<(), BrokerError> {
        let ends = || {
            offsets
                .iter()
                .map(|(p, (end, signature))| (p, end, signature.segment))
        };
        touch(
            "broker.commit",
            format_args!("{:?}", ends().collect::<Vec<_>>()),
        );
        // What looks at a disk must find nothing held.
        let hook = self.kafka.state().on_commit.clone();
        if let Some(hook) = hook {
            hook(offsets);
        }
        let inner = self.inner.borrow();
        let mut state = self.kafka.state();
        let commit = state.send(&inner.name, inner.member, inner.generation, offsets);
        let commit = commit.ok_or_else(|| other("Local: Waiting for coordinator"))?;
        state.pending.push(commit);
        Ok(())
    }

    fn pause(&self, partitions: &[i32]) -> Result<(), BrokerError> {
        touch("broker.pause", format_args!("{partitions:?}"));
        self.set_paused(partitions, true);
        Ok(())
    }

    fn resume(&self, partitions: &[i32]) -> Result<(), BrokerError> {
        touch("broker.resume", format_args!("{partitions:?}"));
        self.set_paused(partitions, false);
        Ok(())
    }
}

impl Client {
    /// What was fetched ahead is dropped, and fetched again from the position.
    fn set_paused(&self, partitions: &[i32], is_paused: bool) {
        let inner = &mut *self.inner.borrow_mut();
        for partition in partitions {
            if let Some(fetch) = inner.fetches.get_mut(partition) {
                fetch.ahead.clear();
                fetch.is_paused = is_paused;
            }
        }
    }
}

impl Drop for Client {
    /// The process ends, in order or not: a static member leaves no group.
    fn drop(&mut self) {
        let inner = self.inner.borrow();
        if inner.phase == Phase::Outside {
            return;
        }
        let mut state = self.kafka.state();
        if state.alive.get(&inner.name) == Some(&inner.member) {
            state.alive.remove(&inner.name);
        }
        let since = now().max(state.down_until);
        state
            .group
            .set_silent(&inner.name, inner.member, Some(since));
        state.forget_sender(&inner.name, inner.member);
    }
}
