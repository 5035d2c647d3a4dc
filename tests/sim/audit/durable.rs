//! What may be said or done only once something is durable: commits, positions, releases,
//! removals.
//!
//! Durable is what a power cut at this moment leaves for certain.

use std::path::Path;

use super::Audit;
use super::files::{self, Held};
use crate::broker::Sent;
use crate::clickhouse::Count;
use crate::disk::{LifeDisk, SPOOL};
use crate::messages::{Kind, MessageId};
use crate::violations::Rule;

impl Audit {
    /// A commit is about to be sent.
    pub(super) fn check_commit(&self, disk: &LifeDisk, sent: &Sent) {
        let mut held = None;
        for (partition, (offset, signature)) in sent {
            if let Some(incarnation) = MessageId::incarnation_of(&signature.topic_id) {
                self.check_below(
                    Rule::CommitAhead,
                    disk,
                    &mut held,
                    (incarnation, *partition),
                    *offset,
                );
            }
        }
    }

    /// `spool.json` is about to be replaced by the file at `from`.
    pub(super) fn check_positions(&self, disk: &LifeDisk, from: &Path) {
        let live = disk.files(Path::new(SPOOL));
        let mut held = None;
        for (key, position) in live
            .get(from)
            .map(|bytes| files::positions(bytes))
            .unwrap_or_default()
        {
            self.check_below(Rule::PositionAhead, disk, &mut held, key, position);
        }
    }

    /// Whether everything below an offset is durable here, or accounted for otherwise. Only
    /// of the topic that exists: of another, what was not read is gone.
    fn check_below(
        &self,
        rule: Rule,
        disk: &LifeDisk,
        held: &mut Option<Held>,
        key: (u32, i32),
        offset: i64,
    ) {
        let topics = self.parts.kafka.topics();
        let topic = topics
            .last()
            .filter(|topic| topic.incarnation == key.0 && !topic.is_deleted);
        let Some(log) = topic.and_then(|topic| topic.logs.get(&key.1)) else {
            return;
        };
        let from = self.state().checked.get(&key).copied().unwrap_or(0);
        let to = offset.min(log.end);
        if from >= to {
            return;
        }
        let held =
            held.get_or_insert_with(|| Held::by(&disk.certain_files(Path::new(SPOOL)), |_| false));
        let begun_at = self.parts.kafka.begun_at(key.0, key.1);
        let elsewhere = self.parts.kafka.taken_elsewhere();
        let missing = (from.max(begun_at)..to)
            .map(|offset| MessageId {
                incarnation: key.0,
                partition: key.1,
                offset,
            })
            .filter(|id| id.kind() != Kind::Hole)
            .find(|id| {
                let is_stored =
                    || self.parts.clickhouse.count(id.resource_id()) != Count::default();
                !held.has(*id) && !elsewhere.contains(id) && !is_stored()
            });
        if let Some(id) = missing {
            let what = format!(
                "{offset} of partition {}, and {id} is not durable here",
                key.1
            );
            self.parts.violations.report(rule, what);
        }
        self.state().checked.insert(key, to);
    }

    /// A segment is about to become ready.
    pub(super) fn check_release(&self, disk: &LifeDisk, from: &Path) {
        let live = disk.files(Path::new(SPOOL));
        let Some(content) = live.get(from).and_then(files::content) else {
            return;
        };
        let footer = &content.footer;
        let Some(incarnation) = content
            .incarnation
            .filter(|_| footer["replayed_from"].is_null())
        else {
            return;
        };
        let topics = self.parts.kafka.topics();
        if topics
            .last()
            .is_none_or(|topic| topic.incarnation != incarnation || topic.is_deleted)
        {
            return; // nobody can read its messages a second time
        }
        for (partition, range) in footer["offsets"].as_object().into_iter().flatten() {
            let end = range[1].as_i64().unwrap_or(i64::MAX);
            let partition = partition.parse().unwrap_or(-1);
            let committed = self.parts.kafka.furthest_commit(incarnation, partition);
            if committed < end {
                let what = format!(
                    "{}: it ends at {end} of partition {partition}, and {committed} is committed",
                    files::name(from)
                );
                self.parts.violations.report(Rule::ReleasedEarly, what);
            }
        }
    }

    /// A file is about to be removed.
    pub(super) fn check_removed(&self, disk: &LifeDisk, path: &Path) {
        let live = disk.files(Path::new(SPOOL));
        let Some(content) = live.get(path).and_then(files::content) else {
            return; // it holds nothing, or is broken
        };
        self.check_gone(disk, path, &content, None);
    }

    /// A file is about to take another one's name.
    pub(super) fn check_replaced(&self, disk: &LifeDisk, from: &Path, to: &Path) {
        let live = disk.files(Path::new(SPOOL));
        let (Some(new), Some(old)) = (live.get(from), live.get(to)) else {
            return;
        };
        if new == old {
            return;
        }
        if let Some(content) = files::content(old) {
            self.check_gone(disk, to, &content, files::content(new).as_deref());
        }
    }

    /// Whether all that a file holds is durable in another one, or stored.
    fn check_gone(
        &self,
        disk: &LifeDisk,
        path: &Path,
        content: &files::Content,
        replacement: Option<&files::Content>,
    ) {
        let certain = disk.certain_files(Path::new(SPOOL));
        let held = Held::by(&certain, |other| other == path);
        let is_in_new = |id: MessageId| {
            replacement.is_some_and(|new| {
                new.records.contains(&id.resource_id())
                    || new.undecodable.iter().any(|kept| kept.id == id)
            })
        };
        let is_stored = |record: u64| {
            let count = self.parts.clickhouse.count(record);
            count.log > 0 && count.totals > 0
        };
        let records = content.records.iter();
        let lost = records
            .filter(|record| !is_stored(**record))
            .map(|record| MessageId::of_resource_id(*record));
        let state = certain.get(&Path::new(SPOOL).join("spool.json"));
        let positions = state
            .map(|bytes| files::positions(bytes))
            .unwrap_or_default();
        let elsewhere = self.parts.kafka.taken_elsewhere();
        // One whose segment was never sealed comes again, to us or to somebody else.
        let is_passed = |id: &MessageId| {
            let position = positions.get(&(id.incarnation, id.partition));
            position.is_some_and(|position| id.offset < *position) && !elsewhere.contains(id)
        };
        let undecodable = content
            .undecodable
            .iter()
            .map(|kept| kept.id)
            .filter(is_passed);
        let lost = lost
            .chain(undecodable)
            .find(|id| !held.has(*id) && !is_in_new(*id));
        if let Some(id) = lost {
            let what = format!(
                "{}: {id} is not stored and not durable elsewhere",
                path.display()
            );
            self.parts.violations.report(Rule::RemovedEarly, what);
        }
    }
}
