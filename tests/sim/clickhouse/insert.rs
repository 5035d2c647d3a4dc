//! Inserts that were begun: each ends at its time, whoever waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use spoolhouse::upload::outcome::Answer;
use spoolhouse::upload::outcome::error_codes::UNKNOWN_SETTING;

use super::{InsertFault, State};
use crate::scheduler::one_in;

/// Our query id names the batch: an earlier attempt is still at work.
const STILL_RUNNING: u16 = 216;

/// The setting that keeps a view from being fed twice.
pub(super) const FOR_VIEWS: &str = "deduplicate_blocks_in_dependent_materialized_views";

/// How much of an insert is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    Nothing,
    FirstDay,
    Log,
    All,
}

/// An insert that was begun.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) token: String,
    pub(super) query_id: String,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) extent: Extent,
    pub(super) done_at: Duration,
    pub(super) answer: Answer,
}

impl State {
    /// What the server has against a request before it begins.
    pub(super) fn look_at(
        &self,
        token: &str,
        query_id: &str,
        pairs: &BTreeMap<String, String>,
    ) -> Option<InsertFault> {
        if pairs.keys().any(|name| self.lacks.contains(name)) {
            return Some(InsertFault::Refused(UNKNOWN_SETTING));
        }
        let is_same = |running: &&Running| running.query_id == query_id && running.token == token;
        let is_running = self.running.values().any(|running| is_same(&running));
        is_running.then_some(InsertFault::Refused(STILL_RUNNING))
    }

    pub(super) fn catch_up(&mut self, now: Duration) {
        loop {
            let due = self
                .running
                .iter()
                .filter(|(_, running)| running.done_at <= now);
            let first = due.min_by_key(|(id, running)| (running.done_at, **id));
            let Some(id) = first.map(|(id, _)| *id) else {
                return;
            };
            if let Some(running) = self.running.remove(&id) {
                self.store(&running);
                self.answers.insert(id, Some(running.answer));
            }
        }
    }

    pub(super) fn store(&mut self, running: &Running) {
        let Some(content) = self.contents.get(&running.token).cloned() else {
            return;
        };
        let days = match running.extent {
            Extent::Nothing => 0,
            Extent::FirstDay => 1,
            Extent::Log | Extent::All => content.days.len(),
        };
        // Between 24.7 and 26.1 the view is fed again unless the insert says otherwise.
        let setting = running.settings.get(FOR_VIEWS);
        let is_view_safe = setting.is_some_and(|value| value == "1");
        for (day, records) in content.days.iter().take(days) {
            if self.log.take(&running.token, *day, true) {
                records
                    .iter()
                    .for_each(|id| self.counts.entry(*id).or_default().log += 1);
            }
            let is_fed =
                running.extent == Extent::All || running.extent == Extent::FirstDay && one_in(2);
            if is_fed && self.totals.take(&running.token, *day, is_view_safe) {
                records
                    .iter()
                    .for_each(|id| self.counts.entry(*id).or_default().totals += 1);
            }
        }
    }
}
