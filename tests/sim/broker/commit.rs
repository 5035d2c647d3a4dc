//! Commits on their way to the coordinator, and their answers on the way back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spoolhouse::ingest::commit::Signature;

use super::group::Stored;
use super::{Sent, State};
use crate::scheduler::{draw, fault, now, one_in};

/// What becomes of a commit of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitFault {
    /// The client sends nothing and says so.
    NotSent,
    /// The coordinator says no.
    Refused,
    /// One partition is refused, the others are committed.
    PartlyRefused,
    /// It never arrives; after this time the client gives it up.
    Lost(Duration),
    /// It is applied; the answer never arrives, and after this time the client gives it up.
    AnswerLost(Duration),
    /// It is applied; the answer takes this long.
    AnsweredLate(Duration),
    /// It takes this long to arrive. Whether it is heeded then is the group's to say.
    AppliedLate(Duration),
    /// The coordinator was loading: the client repeats it by itself after this time, also
    /// if a later one was accepted meanwhile, so that the offset goes back (librdkafka
    /// 2.12.1). Only one commit in flight at a time is safe from it.
    Repeated(Duration),
}

impl CommitFault {
    /// Its name in the count of what was reached.
    fn name(self) -> &'static str {
        match self {
            Self::NotSent => "commit not sent",
            Self::Refused => "commit refused",
            Self::PartlyRefused => "commit partly refused",
            Self::Lost(_) => "commit lost",
            Self::AnswerLost(_) => "commit's answer lost",
            Self::AnsweredLate(_) => "commit answered late",
            Self::AppliedLate(_) => "commit applied late",
            Self::Repeated(_) => "commit repeated",
        }
    }
}

/// A commit that is under way, or whose answer is.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Whose it is: name in the group, member id, generation.
    name: String,
    member: u64,
    generation: u32,
    offsets: BTreeMap<i32, Stored>,
    /// Refused whatever the group says.
    refused: BTreeSet<i32>,
    /// Others may overtake it.
    is_repeated: bool,
    /// When the coordinator gets it; `None`: never, or it has.
    pub(super) applies_at: Option<Duration>,
    /// When the client hears of it; `None`: there is no client any more.
    pub(super) answers_at: Option<Duration>,
    pub(super) answer: Answer,
}

/// What the client will hear.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) committed: BTreeMap<i32, i64>,
    pub(super) errors: Vec<String>,
    pub(super) is_failure: bool,
}

impl Answer {
    fn failure(text: &str) -> Self {
        Self {
            errors: vec![text.to_owned()],
            is_failure: true,
            ..Self::default()
        }
    }
}

impl Pending {
    /// Whether it is this client's, which still waits for it.
    pub(super) fn is_of(&self, name: &str, member: u64) -> bool {
        self.name == name && self.member == member && self.answers_at.is_some()
    }

    /// It arrives at this time at the earliest.
    fn postpone(&mut self, until: Duration) {
        let Some(applies_at) = &mut self.applies_at else {
            return;
        };
        let later = until.saturating_sub(*applies_at);
        *applies_at += later;
        self.answer_later(later);
    }

    fn answer_later(&mut self, later: Duration) {
        self.answers_at = self.answers_at.map(|at| at + later);
    }

    /// It never arrives; the client gives it up at this time.
    fn lose(&mut self, given_up: Duration) {
        self.applies_at = None;
        self.answers_at = Some(given_up);
        self.answer = Answer::failure(TIMED_OUT);
    }
}

const TIMED_OUT: &str = "Local: Timed out";

impl State {
    /// A commit as it is on its way now; `None` if it is not even sent.
    pub(super) fn send(
        &mut self,
        name: &str,
        member: u64,
        generation: u32,
        offsets: &Sent,
    ) -> Option<Pending> {
        let ms = Duration::from_millis;
        let arrives = now() + ms(1 + draw(3));
        let stored = |(partition, (offset, signature)): (&i32, &(i64, Signature))| {
            let metadata = signature.to_string();
            (
                *partition,
                Stored {
                    offset: *offset,
                    metadata,
                },
            )
        };
        let mut commit = Pending {
            name: name.to_owned(),
            member,
            generation,
            offsets: offsets.iter().map(stored).collect(),
            refused: BTreeSet::new(),
            is_repeated: false,
            applies_at: Some(arrives),
            answers_at: Some(arrives + ms(1 + draw(3))),
            answer: Answer::default(),
        };
        let met = self.commit_faults.pop_front();
        if let Some(met) = met {
            fault(met.name());
        }
        match met {
            None => {}
            Some(CommitFault::NotSent) => return None,
            Some(CommitFault::Refused) => commit.refused.extend(offsets.keys()),
            Some(CommitFault::PartlyRefused) => commit.refused.extend(offsets.keys().take(1)),
            Some(CommitFault::Lost(after)) => commit.lose(now() + after),
            Some(CommitFault::AnswerLost(after)) => {
                commit.answer_later(after);
                commit.answer = Answer::failure(TIMED_OUT);
            }
            Some(CommitFault::AnsweredLate(after)) => commit.answer_later(after),
            Some(CommitFault::AppliedLate(after)) => commit.postpone(arrives + after),
            Some(CommitFault::Repeated(after)) => {
                commit.postpone(arrives + after);
                commit.is_repeated = true;
            }
        }
        if let Some(until) = self.unreachable_until(now()) {
            // The client keeps it until there is a coordinator, if that takes not too long.
            fault("commit while unreachable");
            let given_up = now() + self.timings.request;
            match until < given_up {
                true => commit.postpone(until + ms(1 + draw(100))),
                false => commit.lose(given_up),
            }
        }
        // One connection keeps the order, but for what is repeated.
        let mine = self
            .pending
            .iter()
            .filter(|before| before.is_of(name, member));
        let before = mine.filter(|before| !before.is_repeated && !commit.is_repeated);
        if let Some(last) = before.filter_map(|before| before.applies_at).max() {
            commit.postpone(last);
        }
        Some(commit)
    }

    /// A client is gone: nobody hears its answers any more, and of what had not arrived
    /// some never does.
    pub(super) fn forget_sender(&mut self, name: &str, member: u64) {
        for commit in self
            .pending
            .iter_mut()
            .filter(|commit| commit.is_of(name, member))
        {
            commit.answers_at = None;
            commit.applies_at = commit.applies_at.filter(|_| one_in(2));
        }
        self.drop_done();
    }

    fn drop_done(&mut self) {
        let is_under_way = |commit: &Pending| commit.applies_at.or(commit.answers_at).is_some();
        self.pending.retain(is_under_way);
    }

    pub(super) fn apply_commits(&mut self, now: Duration) {
        let mut pending = std::mem::take(&mut self.pending);
        for commit in &mut pending {
            if commit.applies_at.is_some_and(|at| at <= now) {
                commit.applies_at = None;
                self.apply(commit);
            }
        }
        self.pending = pending;
        self.drop_done();
    }

    fn apply(&mut self, commit: &mut Pending) {
        let heeded = self
            .group
            .check(&commit.name, commit.member, commit.generation);
        if let Err(refusal) = heeded {
            if !commit.answer.is_failure {
                commit.answer = Answer::failure(refusal.text());
            }
            return;
        }
        for (partition, stored) in &commit.offsets {
            if commit.refused.contains(partition) {
                commit
                    .answer
                    .errors
                    .push("Broker: Not coordinator".to_owned());
            } else if self.commit(*partition, stored.clone()) {
                commit.answer.committed.insert(*partition, stored.offset);
            } else {
                commit
                    .answer
                    .errors
                    .push("Broker: Unknown topic or partition".to_owned());
            }
        }
        // All partitions refused is the whole commit refused.
        commit.answer.is_failure |= commit.answer.committed.is_empty();
    }

    /// Commits a partition's offset; whether there is such a partition.
    pub(super) fn commit(&mut self, partition: i32, stored: Stored) -> bool {
        let Some(incarnation) = self.topics.incarnation_with(partition) else {
            return false;
        };
        let furthest = self.furthest.entry((incarnation, partition)).or_default();
        *furthest = stored.offset.max(*furthest);
        self.group.committed.insert(partition, stored);
        true
    }
}
