//! Where a partition is read next, and moving that place on purpose.
//!
//! A reset takes effect in three steps, so that a crash between any two leaves
//! either the old place or the new one: what is skipped is written down and the
//! old place is recorded as our own position; then the group's commit is set,
//! signed by us, which makes our own position count whatever was committed
//! before; then the new position is recorded.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use uuid::Uuid;

use super::resume;
use crate::ingest::broker::{ASK_TIMEOUT, Broker, BrokerError, Event, FatalError};
use crate::ingest::commit::{Committed, Log, Signature};
use crate::spool::Intake;
use crate::spool::format::footer::{OffsetRange, Source};
use crate::spool::intake::Gap;
use crate::time::Clock;

/// How long a question to the group may take: a member that died is missed
/// only after its session ends.
const GROUP_TIMEOUT: Duration = Duration::from_secs(90);

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);

/// What is known of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The spool's own position.
    pub own: Option<i64>,
    /// What the group has committed.
    pub committed: Option<Committed>,
    /// What the log holds.
    pub log: Log,
}

impl Standing {
    /// Where the next start reads from, were nothing reset.
    pub fn start(&self, spool: Uuid) -> resume::Start {
        resume::start(self.own, self.committed.as_ref(), spool, self.log)
    }

    /// Messages in the log that are not read yet.
    pub fn lag(&self, spool: Uuid) -> i64 {
        self.log.end - self.start(spool).offset
    }
}

/// Asks Kafka for every partition of the topic; `own` gives the spool's
/// position of one.
///
/// # Errors
/// A broker that does not answer in time.
pub fn ask(
    broker: &impl Broker,
    own: impl Fn(&Source, i32) -> Option<i64>,
) -> Result<(Source, BTreeMap<i32, Standing>), BrokerError> {
    let source = broker.source(ASK_TIMEOUT)?;
    let partitions = broker.partitions()?;
    let committed = broker.committed(&source, &partitions)?;
    let mut standings = BTreeMap::new();
    for partition in partitions {
        let standing = Standing {
            own: own(&source, partition),
            committed: committed.get(&partition).cloned(),
            log: broker.log(partition)?,
        };
        standings.insert(partition, standing);
    }
    Ok((source, standings))
}

/// Where a partition is to be read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// From this offset.
    Offset(i64),
    /// From the first message that the log still holds.
    Start,
    /// From the next message that arrives.
    End,
}

/// Why a reset can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// No such partition.
    #[error("the topic has no partition {partition}; it has {partitions}")]
    NoPartition {
        /// What was asked for.
        partition: i32,
        /// What there is.
        partitions: usize,
    },
    /// No such offset.
    #[error(
        "partition {partition} has no offset {offset}: its log goes from {start} to {end}, the \
         offset that the next message gets"
    )]
    NoOffset {
        /// The partition.
        partition: i32,
        /// What was asked for.
        offset: i64,
        /// The log's start.
        start: i64,
        /// The log's end.
        end: i64,
    },
    /// Segments whose commit is open would be judged by the new one.
    #[error(
        "partition {0} has segments in sealed/ whose commit is not acknowledged yet: let \
         `spoolhouse run` work until sealed/ is empty, stop it, then reset"
    )]
    Sealed(i32),
}

/// One partition's reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reset {
    /// The partition.
    pub partition: i32,
    /// Where it would be read next without the reset.
    pub from: i64,
    /// Where it will be read next.
    pub to: i64,
    /// Offsets that retention had taken before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<OffsetRange>,
}

impl Reset {
    /// Offsets that will be read again.
    pub fn rewound(&self) -> i64 {
        (self.from - self.to).max(0)
    }

    /// Offsets that will never be read.
    pub fn skipped(&self) -> i64 {
        (self.to - self.from).max(0)
    }
}

/// Plans resets.
///
/// # Errors
/// [`Impossible`], for the first that is.
pub fn plan(
    standings: &BTreeMap<i32, Standing>,
    targets: &BTreeMap<i32, Target>,
    spool: Uuid,
    sealed: impl Fn(i32) -> bool,
) -> Result<Vec<Reset>, Impossible> {
    let plan = |(partition, target): (&i32, &Target)| {
        let partition = *partition;
        let standing = standings.get(&partition).ok_or(Impossible::NoPartition {
            partition,
            partitions: standings.len(),
        })?;
        let Log { start, end } = standing.log;
        let to = match target {
            Target::Offset(offset) => *offset,
            Target::Start => start,
            Target::End => end,
        };
        if !(start..=end).contains(&to) {
            return Err(Impossible::NoOffset {
                partition,
                offset: to,
                start,
                end,
            });
        }
        if sealed(partition) {
            return Err(Impossible::Sealed(partition));
        }
        let now = standing.start(spool);
        Ok(Reset {
            partition,
            from: now.offset,
            to,
            lost: now.lost,
        })
    };
    targets.iter().map(plan).collect()
}

/// What to commit for a reset, per partition.
pub type Commits = BTreeMap<i32, (i64, Signature)>;

/// Carries resets out. `commit` must return only once Kafka has acknowledged.
///
/// # Errors
/// The disk's and those of `commit`; every partition is then read from its old
/// place or from the new one, and the same reset may be done again.
pub fn reset<E: From<io::Error>>(
    intake: &Intake,
    source: &Source,
    resets: &[Reset],
    now: SystemTime,
    commit: impl FnOnce(&Commits) -> Result<(), E>,
) -> Result<(), E> {
    let time = humantime::format_rfc3339_seconds(now).to_string();
    for reset in resets {
        let gap = |from, to| Gap {
            time: time.clone(),
            source: source.clone(),
            partition: reset.partition,
            from,
            to,
        };
        // Rather a line too many, after a crash, than a loss without one.
        if let Some(lost) = reset.lost {
            intake.record_gap(&gap(lost.0, lost.1))?;
        }
        if reset.skipped() > 0 {
            intake.record_skip(&gap(reset.from, reset.to))?;
        }
    }
    let old = resets.iter().map(|reset| (reset.partition, reset.from));
    intake.record_positions(source, &old.collect())?;
    let signature = Signature {
        spool: intake.spool_id(),
        segment: intake.last_segment(),
        topic_id: source.topic_id.clone(),
    };
    let commits = resets
        .iter()
        .map(|reset| (reset.partition, (reset.to, signature.clone())));
    commit(&commits.collect())?;
    let new = resets.iter().map(|reset| (reset.partition, reset.to));
    intake.record_positions(source, &new.collect())?;
    Ok(())
}

/// Why a commit was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// An error of the Kafka client.
    #[error(transparent)]
    Fatal(#[from] FatalError),
    /// An error of the Kafka client.
    #[error(transparent)]
    Kafka(#[from] BrokerError),
    /// An I/O error from the spool's disk.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// The broker said no.
    #[error("the group's coordinator refused the commit: {0}")]
    Refused(String),
    /// Another member of the group reads it.
    #[error("partition {0} is read by another member of the group: reset it there, or stop it")]
    NotOurs(i32),
    /// The group did not let us in.
    #[error("the group did not hand out its partitions within {GROUP_TIMEOUT:?}")]
    Timeout,
}

/// Commits as the member of the group that this spool is: the coordinator takes
/// commits of nobody else while it still knows a member.
///
/// # Errors
/// [`CommitError`].
pub fn commit_as_member(
    broker: &impl Broker,
    commits: &Commits,
    clock: &dyn Clock,
) -> Result<(), CommitError> {
    let deadline = clock.now() + GROUP_TIMEOUT;
    while clock.now() < deadline {
        // Whatever message comes is not taken in: nothing is committed for it.
        broker.poll(POLL)?;
        while let Some(event) = broker.event() {
            match event {
                Event::Assigned(partitions) => {
                    if let Some(other) = commits.keys().find(|p| !partitions.contains(p)) {
                        return Err(CommitError::NotOurs(*other));
                    }
                    let starts = commits.iter().map(|(p, (offset, _))| (*p, *offset));
                    broker.assign(&starts.collect())?;
                    broker.pause(&commits.keys().copied().collect::<Vec<_>>())?;
                    broker.commit(commits)?;
                }
                Event::Revoked => broker.unassign()?,
                Event::Committed(offsets) => {
                    let all = commits
                        .iter()
                        .all(|(p, (offset, _))| offsets.get(p) == Some(offset));
                    if all {
                        return Ok(());
                    }
                }
                Event::CommitFailed(code) => return Err(CommitError::Refused(code.to_string())),
            }
        }
    }
    Err(CommitError::Timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us() -> Uuid {
        Uuid::from_u128(1)
    }

    fn standing(own: Option<i64>, committed: Option<i64>) -> Standing {
        let committed = committed.map(|offset| Committed {
            offset,
            signature: None,
        });
        let log = Log {
            start: 100,
            end: 1_000,
        };
        Standing {
            own,
            committed,
            log,
        }
    }

    fn plan_one(standing: Standing, target: Target) -> Result<Reset, Impossible> {
        let standings = [(0, standing)].into();
        let targets = [(0, target)].into();
        plan(&standings, &targets, us(), |_| false).map(|resets| resets[0])
    }

    #[test]
    fn a_rewind_and_a_skip_are_counted_from_where_reading_would_go_on() {
        let behind_a_foreign_commit = standing(Some(500), Some(700));
        let reset = plan_one(behind_a_foreign_commit, Target::Offset(600)).unwrap();
        assert_eq!((reset.rewound(), reset.skipped()), (100, 0));
        let reset = plan_one(standing(Some(500), None), Target::End).unwrap();
        assert_eq!((reset.rewound(), reset.skipped()), (0, 500));
    }

    #[test]
    fn what_retention_took_is_no_skip_of_the_operators() {
        let reset = plan_one(standing(Some(40), None), Target::Start).unwrap();
        assert_eq!((reset.from, reset.to, reset.skipped()), (100, 100, 0));
        assert_eq!(reset.lost, Some(OffsetRange(40, 100)));
    }

    #[test]
    fn an_offset_outside_the_log_an_unknown_partition_and_an_open_commit_are_refused() {
        for offset in [99, 1_001, -1] {
            let refused = plan_one(standing(Some(500), None), Target::Offset(offset));
            assert!(matches!(refused, Err(Impossible::NoOffset { .. })));
        }
        let standings = [(0, standing(None, None))].into();
        let target = |partition| [(partition, Target::End)].into();
        let refused = plan(&standings, &target(3), us(), |_| false);
        assert!(matches!(refused, Err(Impossible::NoPartition { .. })));
        let refused = plan(&standings, &target(0), us(), |_| true);
        assert_eq!(refused, Err(Impossible::Sealed(0)));
    }
}
