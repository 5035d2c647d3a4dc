//! Which sealed segments wait for their commit, and what to commit for them.
//!
//! A commit is cumulative per partition, so one acknowledgement can release
//! many segments. Nothing is ever committed backwards. No I/O.

use std::collections::{BTreeMap, VecDeque};

use super::commit::{Committed, Signature};
use crate::spool::format::footer::SegmentFooter;

/// The commits of one assignment.
#[derive(Debug, Default)]
pub struct Commits {
    acknowledged: BTreeMap<i32, i64>,
    waiting: VecDeque<SegmentFooter>,
}

impl Commits {
    /// Starts with what the group has committed already.
    pub fn new(committed: &BTreeMap<i32, Committed>) -> Self {
        let acknowledged = committed.iter().map(|(p, commit)| (*p, commit.offset));
        Self {
            acknowledged: acknowledged.collect(),
            waiting: VecDeque::new(),
        }
    }

    /// A segment was sealed: its offsets may be committed now. Oldest first.
    pub fn sealed(&mut self, segment: SegmentFooter) {
        self.waiting.push_back(segment);
    }

    /// Whether a segment waits for its commit.
    pub fn any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What to commit: per partition the furthest sealed offset that is not
    /// acknowledged, signed by the segment that reaches it.
    pub fn wanted(&self) -> BTreeMap<i32, (i64, Signature)> {
        let mut wanted = BTreeMap::new();
        for segment in &self.waiting {
            let signature = Signature {
                spool: segment.spool,
                segment: segment.segment,
                topic_id: segment.source.topic_id.clone(),
            };
            for (partition, range) in &segment.offsets {
                if !self.is_acknowledged(*partition, range.1) {
                    wanted.insert(*partition, (range.1, signature.clone()));
                }
            }
        }
        wanted
    }

    /// Notes an acknowledgement and gives out the segments that it releases,
    /// oldest first.
    pub fn acknowledged(&mut self, offsets: &BTreeMap<i32, i64>) -> Vec<SegmentFooter> {
        for (partition, offset) in offsets {
            let known = self.acknowledged.entry(*partition).or_insert(*offset);
            *known = (*known).max(*offset);
        }
        let mut released = Vec::new();
        while let Some(segment) = self.waiting.front() {
            let all = segment
                .offsets
                .iter()
                .all(|(partition, range)| self.is_acknowledged(*partition, range.1));
            if !all {
                break;
            }
            released.extend(self.waiting.pop_front());
        }
        released
    }

    fn is_acknowledged(&self, partition: i32, end: i64) -> bool {
        self.acknowledged
            .get(&partition)
            .is_some_and(|offset| *offset >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::format::footer::{OffsetRange, Source};
    use uuid::Uuid;

    fn segment(number: u64, offsets: &[(i32, i64, i64)]) -> SegmentFooter {
        SegmentFooter {
            spool: Uuid::nil(),
            segment: number,
            first_row: 0,
            rows: 1,
            source: Source {
                cluster: String::new(),
                topic: String::new(),
                topic_id: String::new(),
            },
            offsets: offsets
                .iter()
                .map(|(p, start, end)| (*p, OffsetRange(*start, *end)))
                .collect(),
            undecodable: 0,
            replayed_from: None,
        }
    }

    fn numbers(segments: Vec<SegmentFooter>) -> Vec<u64> {
        segments.iter().map(|segment| segment.segment).collect()
    }

    #[test]
    fn a_segment_waits_until_all_its_partitions_are_acknowledged() {
        let mut commits = Commits::default();
        commits.sealed(segment(1, &[(0, 0, 10), (1, 0, 5)]));
        assert!(commits.acknowledged(&[(0, 10)].into()).is_empty());
        assert_eq!(numbers(commits.acknowledged(&[(1, 5)].into())), [1]);
        assert!(!commits.any_waiting());
    }

    #[test]
    fn a_later_commit_releases_the_earlier_segments() {
        let mut commits = Commits::default();
        commits.sealed(segment(1, &[(0, 0, 10)]));
        commits.sealed(segment(2, &[(0, 10, 20)]));
        assert_eq!(numbers(commits.acknowledged(&[(0, 20)].into())), [1, 2]);
    }

    #[test]
    fn the_commit_is_signed_by_the_segment_that_reaches_it() {
        let mut commits = Commits::default();
        commits.sealed(segment(1, &[(0, 0, 10), (1, 0, 5)]));
        commits.sealed(segment(2, &[(0, 10, 20)]));
        let wanted = commits.wanted();
        assert_eq!((wanted[&0].0, wanted[&0].1.segment), (20, 2));
        assert_eq!((wanted[&1].0, wanted[&1].1.segment), (5, 1));
    }

    #[test]
    fn an_adopted_segment_never_moves_a_commit_backwards() {
        let committed = Committed {
            offset: 300,
            signature: None,
        };
        let mut commits = Commits::new(&[(0, committed)].into());
        commits.sealed(segment(1, &[(0, 0, 10), (1, 0, 5)]));
        let wanted: Vec<i32> = commits.wanted().into_keys().collect();
        assert_eq!(wanted, [1]);
    }
}
