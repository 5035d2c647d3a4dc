//! What a life is to be: a value made from a seed. It decides everything that happens, can
//! be written down, and can be made smaller until what fails is plain.

mod draw;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::broker::{AskFault, CommitFault};
use crate::clickhouse::InsertFault;
use crate::proxy::RequestFault;
use crate::scheduler::Class;

/// A life has at least so many records.
pub const RECORDS_MIN: i64 = 200;

/// A whole life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Of turns and of what is drawn.
    pub seed: u64,
    pub world: World,
    pub turns: Turns,
    pub events: Vec<Event>,
}

/// What the life begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    pub partitions: i32,
    /// Which texture the topic has: what can't be decoded, and holes.
    pub incarnation: u32,
    /// Offsets that are appended in all, over all partitions.
    pub offsets: i64,
    /// How many of them are there at the beginning, in percent.
    pub backlog_percent: i64,
    /// While messages arrive and things happen, milliseconds.
    pub busy_ms: u64,
    /// When a window is sealed.
    pub roll_ms: u64,
    pub roll_bytes: u64,
    /// The budget of the spool.
    pub spool_bytes_max: u64,
    /// What undecodable messages may take.
    pub undecodable_bytes_max: u64,
    /// The proxy's limits …
    pub body_bytes_max: u64,
    pub interval_ms: u64,
    /// … and what is configured for them.
    pub body_bytes_expected: u64,
    pub interval_ms_expected: u64,
    /// Whether batches may use the newer encodings.
    pub is_compact: bool,
    pub data_attempts_max: u32,
    /// How long a silent member stays in the group.
    pub session_ms: u64,
    /// How many inserts the server remembers per partition of its table.
    pub tokens_max: usize,
    /// Whether a restart comes with the calm.
    pub restarts_at_calm: bool,
}

/// How turns are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    /// See [`crate::scheduler::Settings`].
    pub switch_one_in: u64,
    pub delay_one_in: u64,
    pub delay_ms_max: u64,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub at: At,
    pub what: What,
}

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum At {
    /// At this time, milliseconds.
    Ms(u64),
    /// At the touch of this number.
    Touch(Class, u64),
}

/// How an error of the disk is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskError {
    NoSpace,
    Io,
}

/// Which files a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    Ready,
    Batch,
    Rejected,
    Doubtful,
}

/// Where a foreign file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Directory {
    Sealed,
    Ready,
    Batches,
    Rejected,
}

/// Where reading is set to by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetTo {
    Start,
    End,
    /// So many percent of the log.
    Percent(i64),
}

/// What a person runs while nobody else owns the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    Upload {
        wish: Wish,
        which: u64,
        now: bool,
    },
    ReplayUndecodable,
    /// A segment is put back that was packed, and whose batches are still there.
    PutBack {
        which: u64,
    },
    ResetPosition {
        partition: i32,
        to: ResetTo,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The process is killed, or loses its power; it starts again after this time.
    Kill {
        down_ms: u64,
    },
    PowerCut {
        down_ms: u64,
    },
    /// It is told to stop, and started again after this time; a person may run something
    /// meanwhile.
    Stop {
        down_ms: u64,
        run: Option<Command>,
    },
    /// The next changes of the disk fail.
    DiskErrors {
        count: usize,
        error: DiskError,
    },
    /// The next reads do.
    ReadErrors {
        count: u32,
    },
    /// Nothing can be written for this time.
    DiskFull {
        ms: u64,
    },
    Commits {
        count: usize,
        fault: CommitFault,
    },
    Asks {
        count: usize,
        fault: AskFault,
    },
    OutOfOrder {
        count: u32,
    },
    BrokerDown {
        ms: u64,
    },
    /// Our process alone reaches no broker.
    CutOff {
        ms: u64,
    },
    /// The coordinator puts us out of the group.
    PutOut,
    /// Another consumer joins for this time and reads.
    Foreign {
        ms: u64,
        every_ms: u64,
        count: i64,
        signs: u64,
    },
    /// Retention leaves so many messages of a partition.
    Retention {
        partition: i32,
        keep: i64,
    },
    /// The topic is deleted, and made anew a little later.
    Recreate {
        gap_ms: u64,
        keep_commits: bool,
        rebalances: bool,
    },
    AddPartition,
    /// What requests meet on their way.
    Requests {
        count: usize,
        fault: RequestFault,
    },
    /// What becomes of inserts.
    Inserts {
        count: usize,
        fault: InsertFault,
    },
    /// Every insert meets this for this time.
    Breakdown {
        ms: u64,
        fault: InsertFault,
    },
    /// No table takes this record.
    Poison {
        partition: i32,
        offset: i64,
    },
    /// The server does not know a setting of ours for this time.
    LackSetting {
        ms: u64,
        which: usize,
    },
    /// What the proxy lets through from now on.
    BodyLimit {
        bytes: u64,
    },
    Interval {
        ms: u64,
    },
    /// Somebody else behind our address sends requests for this time.
    Tenant {
        ms: u64,
        every_ms: u64,
    },
    ProxyDown {
        ms: u64,
    },
    ProxyRestart,
    ServerDown {
        ms: u64,
    },
    ServerRestart,
    /// Somebody puts a file there that is none of ours, whatever its name says.
    ForeignFile {
        directory: Directory,
        is_named_like_ours: bool,
    },
    ClockJump {
        ms: i64,
    },
    /// A person asks the running process for a file.
    Ask {
        wish: Wish,
        which: u64,
        now: bool,
    },
    /// What is configured is another encoding or another setting, from the next start on.
    Reconfigure {
        is_compact: bool,
        setting: u64,
    },
}

impl Plan {
    /// One line that says it all.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a plan can be written down")
    }

    /// A life by its seed or by its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(seed) => Ok(Self::of_seed(seed)),
            Err(_) => serde_json::from_str(text).map_err(|error| format!("{text}: {error}")),
        }
    }
}

impl World {
    /// Offsets of a partition: the first ones get one more.
    pub fn offsets_of(&self, partition: i32) -> i64 {
        let partitions = i64::from(self.partitions);
        self.offsets / partitions + i64::from(i64::from(partition) < self.offsets % partitions)
    }
}

impl Turns {
    /// How long a touch may take.
    pub fn delay_max(self) -> Duration {
        Duration::from_millis(self.delay_ms_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_back_from_its_seed_and_from_its_line() {
        for seed in 0..200 {
            let plan = Plan::of_seed(seed);
            assert_eq!(Plan::parse(&seed.to_string()), Ok(plan.clone()));
            assert_eq!(Plan::parse(&plan.to_line()), Ok(plan.clone()));
            assert!(!plan.events.is_empty());
        }
        assert!(Plan::parse("{}").is_err());
    }
}
