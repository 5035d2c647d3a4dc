//! Who has what: decides, when partitions are assigned, where reading starts
//! and what becomes of segments whose commit was never acknowledged.
//!
//! Functions from values to values. The spool's own position outranks a
//! committed offset of ours or an older one, since the segment was durable
//! before the commit was tried; only somebody else's newer commit outranks it.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::ingest::commit::{Committed, Log};
use crate::spool::format::footer::{OffsetRange, SegmentFooter, Source};

/// Where to read a partition from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The offset to read first.
    pub offset: i64,
    /// Offsets that retention took before they were read.
    pub lost: Option<OffsetRange>,
    /// The log ends before the position: it was cut back upstream.
    pub beyond_end: Option<i64>,
}

/// Decides where to read a partition from.
pub fn start(own: Option<i64>, committed: Option<&Committed>, spool: Uuid, log: Log) -> Start {
    let wanted = match (own, committed) {
        (Some(own), Some(committed)) => {
            let ours = committed
                .signature
                .as_ref()
                .is_some_and(|by| by.spool == spool);
            if ours || committed.offset <= own {
                own
            } else {
                committed.offset
            }
        }
        (Some(own), None) => own,
        (None, Some(committed)) => committed.offset,
        (None, None) => log.start,
    };
    if wanted < log.start {
        Start {
            offset: log.start,
            lost: Some(OffsetRange(wanted, log.start)),
            beyond_end: None,
        }
    } else if wanted > log.end {
        Start {
            offset: log.end,
            lost: None,
            beyond_end: Some(wanted),
        }
    } else {
        Start {
            offset: wanted,
            lost: None,
            beyond_end: None,
        }
    }
}

/// What becomes of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its commit went through, or its topic is gone: it is ready.
    Ready,
    /// Nobody committed past its start: commit it, then it is ready.
    Adopt,
    /// Somebody else committed past its start: its rows may be theirs, too.
    Doubt,
    /// One of its partitions is somebody else's now.
    Wait,
}

/// Judges a sealed segment by what is committed for the assigned partitions.
/// A partition that is assigned and missing in `committed` has no commit.
pub fn judge(
    segment: &SegmentFooter,
    source: &Source,
    assigned: &[i32],
    committed: &BTreeMap<i32, Committed>,
) -> Verdict {
    if segment.source != *source {
        // The topic was deleted: nobody can read its messages a second time.
        return Verdict::Ready;
    }
    let verdicts = segment.offsets.iter().map(|(partition, range)| {
        if !assigned.contains(partition) {
            return Verdict::Wait;
        }
        match committed.get(partition) {
            None => Verdict::Adopt,
            Some(commit) if commit.offset <= range.0 => Verdict::Adopt,
            Some(commit) => match &commit.signature {
                Some(by) if by.spool == segment.spool && by.segment >= segment.segment => {
                    Verdict::Ready
                }
                _ => Verdict::Doubt,
            },
        }
    });
    // The gravest verdict of its partitions is the segment's.
    verdicts
        .max_by_key(|verdict| gravity(*verdict))
        .unwrap_or(Verdict::Ready)
}

fn gravity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ready => 0,
        Verdict::Adopt => 1,
        Verdict::Wait => 2,
        Verdict::Doubt => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::commit::Signature;

    const LOG: Log = Log {
        start: 100,
        end: 1_000,
    };

    fn us() -> Uuid {
        Uuid::from_u128(1)
    }

    fn commit(offset: i64, by: u128, segment: u64) -> Option<Committed> {
        let signature = Signature {
            spool: Uuid::from_u128(by),
            segment,
            topic_id: "a".into(),
        };
        Some(Committed {
            offset,
            signature: Some(signature),
        })
    }

    fn offset(own: Option<i64>, committed: Option<Committed>) -> i64 {
        start(own, committed.as_ref(), us(), LOG).offset
    }

    #[test]
    fn a_first_start_reads_from_the_start_of_the_log() {
        assert_eq!(offset(None, None), 100);
    }

    #[test]
    fn our_own_position_outranks_a_missing_an_own_and_an_older_commit() {
        assert_eq!(offset(Some(500), None), 500);
        assert_eq!(offset(Some(500), commit(400, 1, 3)), 500);
        assert_eq!(offset(Some(500), commit(700, 1, 3)), 500);
        assert_eq!(offset(Some(500), commit(400, 2, 3)), 500);
    }

    #[test]
    fn a_newer_commit_of_somebody_else_outranks_our_position() {
        assert_eq!(offset(Some(500), commit(700, 2, 3)), 700);
        let unsigned = Some(Committed {
            offset: 700,
            signature: None,
        });
        assert_eq!(offset(Some(500), unsigned.clone()), 700);
        assert_eq!(offset(None, unsigned), 700);
    }

    #[test]
    fn what_retention_took_is_counted_exactly() {
        let start = start(Some(40), None, us(), LOG);
        assert_eq!(start.offset, 100);
        assert_eq!(start.lost, Some(OffsetRange(40, 100)));
    }

    #[test]
    fn a_position_behind_the_end_of_the_log_is_told() {
        let start = start(Some(1_500), None, us(), LOG);
        assert_eq!((start.offset, start.beyond_end), (1_000, Some(1_500)));
    }

    #[test]
    fn a_commit_for_a_topic_that_is_gone_says_nothing_about_the_new_one() {
        let commit = commit(700, 1, 3).unwrap();
        assert!(!commit.is_of_other_topic(&source("a")));
        assert!(commit.is_of_other_topic(&source("b")));
    }

    fn source(topic_id: &str) -> Source {
        Source {
            cluster: "c".into(),
            topic: "http_log".into(),
            topic_id: topic_id.into(),
        }
    }

    fn verdict(committed: &[(i32, Option<Committed>)]) -> Verdict {
        let segment = SegmentFooter {
            spool: us(),
            segment: 42,
            first_row: 0,
            rows: 10,
            source: source("a"),
            offsets: [(0, OffsetRange(100, 200)), (1, OffsetRange(5, 9))].into(),
            undecodable: 0,
            replayed_from: None,
        };
        let committed = committed
            .iter()
            .filter_map(|(partition, commit)| Some((*partition, commit.clone()?)))
            .collect();
        judge(&segment, &source("a"), &[0, 1], &committed)
    }

    #[test]
    fn a_segment_whose_commit_went_through_is_ready() {
        assert_eq!(
            verdict(&[(0, commit(200, 1, 42)), (1, commit(9, 1, 42))]),
            Verdict::Ready
        );
        assert_eq!(
            verdict(&[(0, commit(300, 1, 44)), (1, commit(9, 1, 42))]),
            Verdict::Ready
        );
    }

    #[test]
    fn a_segment_past_whose_start_nobody_committed_is_adopted() {
        assert_eq!(verdict(&[]), Verdict::Adopt);
        assert_eq!(
            verdict(&[(0, commit(100, 1, 41)), (1, commit(5, 2, 7))]),
            Verdict::Adopt
        );
        assert_eq!(
            verdict(&[(0, commit(200, 1, 42)), (1, None)]),
            Verdict::Adopt
        );
    }

    #[test]
    fn a_segment_past_whose_start_somebody_else_committed_is_in_doubt() {
        assert_eq!(
            verdict(&[(0, commit(150, 2, 7)), (1, None)]),
            Verdict::Doubt
        );
        let unsigned = Some(Committed {
            offset: 200,
            signature: None,
        });
        assert_eq!(verdict(&[(0, unsigned)]), Verdict::Doubt);
    }

    #[test]
    fn a_segment_of_a_topic_that_is_gone_is_ready() {
        let segment = SegmentFooter {
            spool: us(),
            segment: 1,
            first_row: 0,
            rows: 1,
            source: source("old"),
            offsets: [(0, OffsetRange(0, 1))].into(),
            undecodable: 0,
            replayed_from: None,
        };
        let verdict = judge(&segment, &source("new"), &[0], &BTreeMap::new());
        assert_eq!(verdict, Verdict::Ready);
    }

    #[test]
    fn a_segment_with_a_partition_that_is_not_assigned_waits() {
        let segment = SegmentFooter {
            spool: us(),
            segment: 1,
            first_row: 0,
            rows: 1,
            source: source("a"),
            offsets: [(0, OffsetRange(0, 1)), (3, OffsetRange(0, 1))].into(),
            undecodable: 0,
            replayed_from: None,
        };
        let verdict = judge(&segment, &source("a"), &[0], &BTreeMap::new());
        assert_eq!(verdict, Verdict::Wait);
    }
}
