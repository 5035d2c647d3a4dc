//! Takes partitions up: asks Kafka what it has, lets [`resume`] decide, writes
//! the decision down and only then starts to read.
//!
//! Called again whenever the ground has moved: after a rebalance, after a
//! position fell out of its log, after the topic was created anew. Kafka may take
//! its time for every answer, so each one counts as a sign of life.

pub mod positions;
pub mod resume;
pub mod topic_identity;

use std::collections::BTreeMap;
use std::io;

use super::broker::{ASK_TIMEOUT, Broker, BrokerError};
use super::commit::Log;
use super::commit_tracker::Commits;
use crate::heartbeat::Heartbeat;
use crate::spool::Intake;
use crate::spool::format::footer::Source;
use crate::spool::intake::Gap;
use crate::spool::quarantine::Doubt;
use crate::time::Clock;
use resume::{Start, Verdict};

/// Our partitions of one topic.
#[derive(Debug)]
pub struct Assignment {
    /// Which topic of which cluster.
    pub source: Source,
    /// Per partition the offset of the next message to take in.
    pub positions: BTreeMap<i32, i64>,
}

impl Assignment {
    /// The partitions.
    pub fn partitions(&self) -> Vec<i32> {
        self.positions.keys().copied().collect()
    }
}

/// AssignmentError that passes: ask again.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    /// Kafka did not answer, or said no.
    #[error(transparent)]
    Kafka(#[from] BrokerError),
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// Starts to read `partitions`, and settles what an earlier assignment left in
/// `sealed/`. Until it returns nothing is read.
///
/// # Errors
/// [`AssignmentError`]; calling again does the same.
pub fn start_reading(
    broker: &impl Broker,
    intake: &Intake,
    partitions: &[i32],
    heartbeat: &Heartbeat,
    clock: &dyn Clock,
) -> Result<(Assignment, Commits), AssignmentError> {
    let source = broker.source(ASK_TIMEOUT)?;
    let committed = broker.committed(&source, partitions)?;
    let sealed = intake.sealed()?;
    let mut positions = BTreeMap::new();
    for &partition in partitions {
        let log = broker.log(partition)?;
        heartbeat.beat(clock.now());
        let own = intake.position(&source, partition);
        let start = resume::start(own, committed.get(&partition), intake.spool_id(), log);
        note(intake, &source, partition, start, log, clock)?;
        positions.insert(partition, start.offset);
    }
    let mut commits = Commits::new(&committed);
    for segment in sealed {
        match resume::judge(&segment, &source, partitions, &committed) {
            Verdict::Ready => intake.ready(&segment)?,
            Verdict::Adopt => commits.sealed(segment),
            Verdict::Wait => {}
            Verdict::Doubt => intake.doubt(&segment, &Doubt::CommittedElsewhere)?,
        }
    }
    intake.record_positions(&source, &positions)?;
    broker.assign(&positions)?;
    tracing::info!(topic = %source, ?positions, "reading");
    Ok((Assignment { source, positions }, commits))
}

/// Starts anew from positions of which at least one is outside its log. What
/// was taken in before must be sealed: no segment may claim the gap.
///
/// # Errors
/// [`AssignmentError`]; calling again does the same.
pub fn start_anew(
    broker: &impl Broker,
    intake: &Intake,
    assignment: &mut Assignment,
    heartbeat: &Heartbeat,
    clock: &dyn Clock,
) -> Result<(), AssignmentError> {
    let mut positions = BTreeMap::new();
    for (&partition, &position) in &assignment.positions {
        let log = broker.log(partition)?;
        heartbeat.beat(clock.now());
        let start = resume::start(Some(position), None, intake.spool_id(), log);
        note(intake, &assignment.source, partition, start, log, clock)?;
        positions.insert(partition, start.offset);
    }
    intake.record_positions(&assignment.source, &positions)?;
    broker.assign(&positions)?;
    assignment.positions = positions;
    Ok(())
}

/// Writes down what is missing between our position and the log.
fn note(
    intake: &Intake,
    source: &Source,
    partition: i32,
    start: Start,
    log: Log,
    clock: &dyn Clock,
) -> io::Result<()> {
    let lost_here =
        metrics::counter!("spoolhouse_offsets_lost_total", "partition" => partition.to_string());
    // Shown before the first: a rate needs a start.
    lost_here.increment(0);
    if let Some(lost) = start.lost {
        let gap = Gap {
            time: humantime::format_rfc3339_seconds(clock.wall()).to_string(),
            source: source.clone(),
            partition,
            from: lost.0,
            to: lost.1,
        };
        intake.record_gap(&gap)?;
        let offsets = lost.1.abs_diff(lost.0);
        lost_here.increment(offsets);
        tracing::error!(
            partition,
            from = lost.0,
            to = lost.1,
            offsets,
            "the broker's retention took messages before they were read; noted in gaps.jsonl",
        );
        // A second look, after trouble later on, must not find the same gap again.
        intake.record_positions(source, &[(partition, lost.1)].into())?;
    }
    if let Some(position) = start.beyond_end {
        tracing::error!(
            partition,
            position,
            end = log.end,
            "the log ends before our position: it was cut back upstream; reading goes on at its end",
        );
    }
    Ok(())
}
