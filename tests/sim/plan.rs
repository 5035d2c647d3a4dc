//! What a life is to be: a value made from a seed. It decides everything that happens, can
//! be written down, and can be made smaller until what fails is plain.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::messages::{Kind, MessageId};
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

/// See [`crate::broker::CommitFault`]; times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitFault {
    NotSent,
    Refused,
    PartlyRefused,
    Lost(u64),
    AnswerLost(u64),
    AnsweredLate(u64),
    AppliedLate(u64),
    Repeated(u64),
}

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PostFault {
    /// No connection.
    NotSent,
    /// It goes under on its way.
    LostBefore,
    /// It is inserted, and the answer goes under.
    LostAfter,
    /// The proxy gives up, and the insert ends so many milliseconds later.
    InsertedLate(u64),
    /// Somebody else has used the slot.
    Throttled,
    /// The server refuses, for somebody to mend.
    RefusedOperator,
    /// It can't read the file.
    RefusedFormat,
    /// It refuses the data.
    RefusedData,
    /// A view fails after the table has its rows.
    ViewFails,
}

/// Which files a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    Ready,
    Batch,
    Rejected,
    Doubtful,
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
    Upload { wish: Wish, which: u64, now: bool },
    ReplayUndecodable,
    ResetPosition { partition: i32, to: ResetTo },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The process is killed, or loses its power; it starts again after this time.
    Kill { down_ms: u64 },
    PowerCut { down_ms: u64 },
    /// It is told to stop, and started again after this time; a person may run something
    /// meanwhile.
    Stop { down_ms: u64, run: Option<Command> },
    /// The next changes of the disk fail.
    DiskErrors { count: usize, error: DiskError },
    /// The next reads do.
    ReadErrors { count: u32 },
    /// Nothing can be written for this time.
    DiskFull { ms: u64 },
    Commits { count: usize, fault: CommitFault },
    /// Questions to the broker: an error at once, or no answer.
    Asks { count: usize, is_silent: bool },
    OutOfOrder { count: u32 },
    BrokerDown { ms: u64 },
    /// Our process alone reaches no broker.
    CutOff { ms: u64 },
    /// The coordinator puts us out of the group.
    PutOut,
    /// Another consumer joins for this time and reads.
    Foreign { ms: u64, every_ms: u64, count: i64, is_spool: bool },
    /// Retention leaves so many messages of a partition.
    Retention { partition: i32, keep: i64 },
    /// The topic is deleted, and made anew a little later.
    Recreate { gap_ms: u64, keep_commits: bool, rebalances: bool },
    AddPartition,
    Posts { count: u32, fault: PostFault },
    BodyLimit { bytes: u64 },
    Interval { ms: u64 },
    ServerRestart { ms: u64 },
    ClockJump { ms: i64 },
    /// A person asks the running process for a file.
    Ask { wish: Wish, which: u64, now: bool },
    /// What is configured is another encoding or another setting, from the next start on.
    Reconfigure { is_compact: bool, setting: u64 },
}

/// What is drawn when a plan is made.
struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound.max(1)
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    fn of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len() as u64) as usize]
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

impl Plan {
    /// The life that a seed stands for.
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let world = World::draw(&mut dice);
        let turns = Turns {
            switch_one_in: dice.of(&[0, 2, 3, 10, 50]),
            delay_one_in: dice.of(&[0, 0, 40, 200, 1_000]),
            delay_ms_max: dice.of(&[5, 100, 1_000, 7_000]),
        };
        let count = dice.between(1, 6);
        let mut events = Vec::new();
        for _ in 0..count {
            Event::draw(&mut dice, &world, &mut events);
        }
        Self {
            seed,
            world,
            turns,
            events,
        }
    }

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
    fn draw(dice: &mut Dice) -> Self {
        let partitions = dice.between(1, 3) as i32;
        let incarnation = dice.below(4) as u32;
        let body_bytes_max = dice.between(1_800, 7_000);
        let interval_ms = dice.between(1_000, 4_000);
        Self {
            partitions,
            incarnation,
            offsets: offsets_with(partitions, incarnation, RECORDS_MIN + dice.below(120) as i64),
            backlog_percent: dice.of(&[0, 0, 30, 100]),
            busy_ms: dice.between(10_000, 30_000),
            roll_ms: dice.between(300, 3_000),
            roll_bytes: dice.of(&[1 << 20, 1 << 20, 6_000, 3_000]),
            spool_bytes_max: dice.of(&[1 << 30, 1 << 30, 40_000]),
            undecodable_bytes_max: dice.of(&[1 << 20, 1 << 20, 3_000]),
            body_bytes_max,
            interval_ms,
            body_bytes_expected: body_bytes_max * dice.of(&[100, 100, 100, 110, 60]) / 100,
            interval_ms_expected: interval_ms * dice.of(&[100, 100, 90, 130]) / 100,
            is_compact: !dice.one_in(4),
            data_attempts_max: dice.between(1, 3) as u32,
            tokens_max: dice.of(&[100, 100, 20]),
            restarts_at_calm: !dice.one_in(4),
        }
    }

    /// Offsets of a partition: the first ones get one more.
    pub fn offsets_of(&self, partition: i32) -> i64 {
        let partitions = i64::from(self.partitions);
        self.offsets / partitions + i64::from(i64::from(partition) < self.offsets % partitions)
    }
}

/// How many offsets hold so many records.
fn offsets_with(partitions: i32, incarnation: u32, records: i64) -> i64 {
    let mut found = 0;
    for count in 0.. {
        if found >= records {
            return count;
        }
        let id = MessageId {
            incarnation,
            partition: (count % i64::from(partitions)) as i32,
            offset: count / i64::from(partitions),
        };
        found += i64::from(id.kind() == Kind::Record);
    }
    unreachable!("every texture has records");
}

/// How many touches of a class a life has, roughly: what a number is drawn from.
fn touches(class: Class) -> u64 {
    match class {
        Class::Disk => 400,
        Class::Broker => 600,
        Class::Proxy => 100,
    }
}

impl Event {
    /// One event, or a few that belong together.
    fn draw(dice: &mut Dice, world: &World, events: &mut Vec<Event>) {
        let time = dice.below(world.busy_ms);
        let what = What::draw(dice, world);
        let at = match &what {
            What::Kill { .. } | What::PowerCut { .. } => {
                let class = dice.of(&[Class::Disk, Class::Disk, Class::Broker, Class::Proxy]);
                At::Touch(class, dice.below(touches(class)))
            }
            What::DiskErrors { .. } => At::Touch(Class::Disk, dice.below(touches(Class::Disk))),
            _ if dice.one_in(4) => {
                let class = dice.of(&[Class::Disk, Class::Broker, Class::Proxy]);
                At::Touch(class, dice.below(touches(class)))
            }
            _ => At::Ms(time),
        };
        // A second blow while the first is being mended.
        if let At::Touch(class, number) = at
            && dice.one_in(3)
        {
            let what = match dice.below(3) {
                0 => What::Kill { down_ms: 100 },
                1 => What::PowerCut { down_ms: 100 },
                _ => What::DiskErrors {
                    count: dice.between(1, 3) as usize,
                    error: DiskError::Io,
                },
            };
            let at = At::Touch(class, number + dice.between(1, 30));
            events.push(Event { at, what });
        }
        events.push(Event { at, what });
    }
}

impl What {
    fn draw(dice: &mut Dice, world: &World) -> Self {
        let down_ms = dice.of(&[10, 500, 3_000, 60_000]);
        let partition = dice.below(world.partitions as u64) as i32;
        match dice.below(60) {
            0..6 => Self::Kill { down_ms },
            6..12 => Self::PowerCut { down_ms },
            12..16 => Self::Stop {
                down_ms,
                run: dice.one_in(2).then(|| Command::draw(dice, partition)),
            },
            16..21 => Self::DiskErrors {
                count: dice.of(&[1, 1, 2, 6]),
                error: dice.of(&[DiskError::NoSpace, DiskError::Io]),
            },
            21 => Self::ReadErrors {
                count: dice.between(1, 4) as u32,
            },
            22 => Self::DiskFull {
                ms: dice.between(500, 8_000),
            },
            23..28 => Self::Commits {
                count: dice.of(&[1, 1, 3]),
                fault: CommitFault::draw(dice),
            },
            28 => Self::Asks {
                count: dice.between(1, 6) as usize,
                is_silent: dice.one_in(2),
            },
            29 => Self::OutOfOrder {
                count: dice.between(1, 3) as u32,
            },
            30 => Self::BrokerDown {
                ms: dice.between(200, 20_000),
            },
            31 => Self::CutOff {
                ms: dice.of(&[2_000, 20_000, 60_000]),
            },
            32 => Self::PutOut,
            33..36 => Self::Foreign {
                ms: dice.between(3_000, 15_000),
                every_ms: dice.between(200, 2_000),
                count: dice.between(1, 20) as i64,
                is_spool: dice.one_in(2),
            },
            36..38 => Self::Retention {
                partition,
                keep: dice.of(&[0, 5, 40]),
            },
            38 => Self::Recreate {
                gap_ms: dice.of(&[0, 2_000, 15_000]),
                keep_commits: dice.one_in(2),
                rebalances: dice.one_in(2),
            },
            39 => Self::AddPartition,
            40..47 => Self::Posts {
                count: dice.of(&[1, 1, 2, 5]),
                fault: PostFault::draw(dice),
            },
            47..50 => Self::BodyLimit {
                bytes: world.body_bytes_max * dice.of(&[50, 80, 95, 130]) / 100,
            },
            50 => Self::Interval {
                ms: world.interval_ms * dice.of(&[70, 120, 200]) / 100,
            },
            51 => Self::ServerRestart {
                ms: dice.between(100, 5_000),
            },
            52..54 => Self::ClockJump {
                ms: dice.of(&[-3_600_000, -5_000, 5_000, 3_600_000]),
            },
            54..58 => Self::Ask {
                wish: Wish::draw(dice),
                which: dice.below(8),
                now: dice.one_in(2),
            },
            _ => Self::Reconfigure {
                is_compact: dice.one_in(2),
                setting: dice.below(3),
            },
        }
    }
}

impl CommitFault {
    fn draw(dice: &mut Dice) -> Self {
        let ms = dice.of(&[300, 4_000, 8_000, 60_000]);
        dice.of(&[
            Self::NotSent,
            Self::Refused,
            Self::PartlyRefused,
            Self::Lost(ms),
            Self::AnswerLost(ms),
            Self::AnsweredLate(ms),
            Self::AppliedLate(ms),
            Self::Repeated(ms),
        ])
    }
}

impl PostFault {
    fn draw(dice: &mut Dice) -> Self {
        let ms = dice.of(&[10, 1_000, 5_000]);
        dice.of(&[
            Self::NotSent,
            Self::LostBefore,
            Self::LostAfter,
            Self::LostAfter,
            Self::InsertedLate(ms),
            Self::Throttled,
            Self::RefusedOperator,
            Self::RefusedFormat,
            Self::RefusedData,
            Self::ViewFails,
        ])
    }
}

impl Wish {
    fn draw(dice: &mut Dice) -> Self {
        dice.of(&[Self::Ready, Self::Batch, Self::Rejected, Self::Doubtful])
    }
}

impl Command {
    fn draw(dice: &mut Dice, partition: i32) -> Self {
        match dice.below(3) {
            0 => Self::Upload {
                wish: Wish::draw(dice),
                which: dice.below(8),
                now: dice.one_in(2),
            },
            1 => Self::ReplayUndecodable,
            _ => Self::ResetPosition {
                partition,
                to: dice.of(&[ResetTo::Start, ResetTo::End, ResetTo::Percent(50)]),
            },
        }
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
