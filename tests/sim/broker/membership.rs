//! A client in its group: heartbeats, rebalances, and the callbacks that follow from them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use spoolhouse::ingest::broker::{BrokerError, Event};

use super::State;
use super::commit::Pending;
use super::fetch::Fetch;
use super::group::Refusal;
use crate::messages::MessageId;
use crate::scheduler::{draw, now};

/// How far the client is in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It only asks.
    Outside,
    /// It waits to be given partitions.
    Joining,
    /// They were told, and not taken up yet.
    Told,
    Reading,
    /// Their revocation was told, and not answered yet.
    Revoked,
    /// It joins again as soon as no commit is under way.
    Leaving,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// What the group calls it.
    pub(super) name: String,
    pub(super) member: u64,
    pub(super) generation: u32,
    pub(super) phase: Phase,
    /// When the coordinator's next word arrives.
    pub(super) hears_at: Option<Duration>,
    pub(super) fetches: BTreeMap<i32, Fetch>,
    /// Of an assignment that is gone, still on their way.
    pub(super) left_over: Vec<MessageId>,
    pub(super) events: VecDeque<Event>,
}

impl Inner {
    pub(super) fn new(name: &str, phase: Phase) -> Self {
        Self {
            name: name.to_owned(),
            member: 0,
            generation: 0,
            phase,
            hears_at: None,
            fetches: BTreeMap::new(),
            left_over: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// What became due for this client, callbacks included.
    pub(super) fn turn(&mut self, state: &mut State) {
        self.hear_answers(state);
        match self.phase {
            Phase::Outside | Phase::Told | Phase::Revoked => {}
            Phase::Reading => self.hear_of_rebalance(state),
            Phase::Leaving => {
                if !state.pending.iter().any(|commit| self.made(commit)) {
                    if state.group.rejoin(&self.name, self.member) == Err(Refusal::UnknownMember) {
                        self.join(state);
                    }
                    self.phase = Phase::Joining;
                }
            }
            Phase::Joining => self.hear_of_partitions(state),
        }
    }

    /// Joins as somebody whom the group has not seen yet, or under a known name.
    pub(super) fn join(&mut self, state: &mut State) {
        self.member = state.group.join(&self.name, now());
        state.alive.insert(self.name.clone(), self.member);
        if state.cut_until > now() {
            state.group.set_silent(&self.name, self.member, Some(now()));
        }
    }

    /// Whether it waits for the answer to this commit.
    pub(super) fn made(&self, commit: &Pending) -> bool {
        commit.is_of(&self.name, self.member)
    }

    fn hear_answers(&mut self, state: &mut State) {
        let pending = std::mem::take(&mut state.pending);
        for commit in pending {
            if !self.made(&commit) || commit.answers_at.is_none_or(|at| at > now()) {
                state.pending.push(commit);
                continue;
            }
            let failed = commit
                .answer
                .errors
                .into_iter()
                .map(|text| Event::CommitFailed(BrokerError::Other(text)));
            self.events.extend(failed);
            if !commit.answer.is_failure {
                self.events
                    .push_back(Event::Committed(commit.answer.committed));
            }
        }
    }

    /// A heartbeat's answer says that partitions are to be given back, or that they are
    /// somebody else's already.
    fn hear_of_rebalance(&mut self, state: &mut State) {
        let is_fine = state
            .group
            .check(&self.name, self.member, self.generation)
            .is_ok()
            && state.group.awaits(&self.name).is_none();
        if is_fine || state.unreachable_until(now()).is_some() {
            self.hears_at = None;
            return;
        }
        let heartbeat = state.timings.heartbeat.as_millis() as u64;
        let hears_at = *self
            .hears_at
            .get_or_insert_with(|| now() + Duration::from_millis(draw(heartbeat)));
        if hears_at <= now() {
            self.hears_at = None;
            self.phase = Phase::Revoked;
            self.events.push_back(Event::Revoked);
        }
    }

    fn hear_of_partitions(&mut self, state: &mut State) {
        if state.unreachable_until(now()).is_some() {
            return;
        }
        if !state.group.has(&self.name) {
            self.join(state);
        }
        if state.group.awaits(&self.name).is_some() {
            // A further rebalance; there is nothing to give back.
            let _ = state.group.rejoin(&self.name, self.member);
        } else if let Some(partitions) = state.group.partitions(&self.name) {
            let partitions = partitions.to_vec();
            self.generation = state.group.generation;
            self.phase = Phase::Told;
            self.events.push_back(Event::Assigned(partitions));
        }
    }
}
