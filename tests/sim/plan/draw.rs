//! Plans are drawn: how often what happens is decided here and nowhere else.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use spoolhouse::upload::settings::PINNED;

use super::{
    At, Command, Directory, DiskError, Event, Plan, RECORDS_MIN, ResetTo, Turns, What, Wish, World,
};
use crate::broker::{AskFault, CommitFault};
use crate::clickhouse::InsertFault;
use crate::messages::{Kind, MessageId};
use crate::proxy::{Insert, RequestFault};
use crate::scheduler::Class;

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
        keep_apart(&mut events);
        Self {
            seed,
            world,
            turns,
            events,
        }
    }
}

/// Leaves out what today's loops are known to fail with when both happen in a life.
fn keep_apart(events: &mut Vec<Event>) {
    // With two commits in flight, the group's offset may go back to what we have already.
    let is_repeated = |what: &What| {
        let What::Commits { fault, .. } = what else {
            return false;
        };
        matches!(fault, CommitFault::Repeated(_))
    };
    let is_foreign = |what: &What| matches!(what, What::Foreign { .. });
    if events.iter().any(|event| is_foreign(&event.what)) {
        events.retain(|event| !is_repeated(&event.what));
    }
}

impl World {
    fn draw(dice: &mut Dice) -> Self {
        let partitions = dice.between(1, 3) as i32;
        let incarnation = dice.below(4) as u32;
        // A file of one row takes some 1,700 bytes, and after a refusal half is tried.
        let body_bytes_max = dice.between(4_500, 9_000);
        let interval_ms = dice.between(1_000, 4_000);
        let busy_ms = dice.between(10_000, 30_000);
        let roll_bytes = dice.of(&[ROLL_BYTES, ROLL_BYTES, 6_000, 3_000]);
        Self {
            partitions,
            incarnation,
            offsets: offsets_with(
                partitions,
                incarnation,
                RECORDS_MIN + dice.below(160) as i64,
            ),
            backlog_percent: dice.of(&[0, 0, 30, 60]),
            busy_ms,
            // At least three windows.
            roll_ms: dice.between(300, 3_000.min(busy_ms / 6)),
            roll_bytes,
            // What is reserved of it is twice the roll size.
            spool_bytes_max: match roll_bytes {
                ROLL_BYTES => 1 << 30,
                _ => dice.of(&[1 << 30, 60_000]),
            },
            undecodable_bytes_max: dice.of(&[1 << 20, 1 << 20, 3_000]),
            body_bytes_max,
            interval_ms,
            body_bytes_expected: body_bytes_max * dice.of(&[100, 100, 100, 110, 75]) / 100,
            interval_ms_expected: interval_ms * dice.of(&[100, 100, 90, 130]) / 100,
            is_compact: !dice.one_in(4),
            data_attempts_max: dice.between(1, 3) as u32,
            session_ms: dice.of(&[45_000, 45_000, 6_000]),
            tokens_max: dice.of(&[100, 100, 20]),
            restarts_at_calm: !dice.one_in(4),
        }
    }
}

/// A window is never so large.
const ROLL_BYTES: u64 = 1 << 20;

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
        match dice.below(73) {
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
                fault: commit_fault(dice),
            },
            28 => Self::Asks {
                count: dice.between(1, 6) as usize,
                fault: dice.of(&[AskFault::Error, AskFault::Silence]),
            },
            29 if dice.one_in(2) => Self::OutOfOrder {
                count: dice.of(&[1, 1, 3]),
            },
            29 => Self::PutOut,
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
                signs: dice.below(3),
            },
            36..39 => Self::Retention {
                partition,
                keep: dice.of(&[0, 5, 40]),
            },
            39 => Self::AddPartition,
            40..46 => Self::Requests {
                count: dice.of(&[1, 1, 2, 5]),
                fault: request_fault(dice),
            },
            46..50 => Self::Inserts {
                count: dice.of(&[1, 1, 2, 5]),
                fault: insert_fault(dice),
            },
            50 => Self::Breakdown {
                ms: dice.between(500, 30_000),
                fault: insert_fault(dice),
            },
            51 => Self::Poison {
                partition,
                offset: dice.below(world.offsets_of(partition) as u64) as i64,
            },
            52 => Self::LackSetting {
                ms: dice.between(500, 30_000),
                which: dice.below(PINNED.len() as u64) as usize,
            },
            53..56 => Self::BodyLimit {
                bytes: world.body_bytes_max * dice.of(&[80, 95, 130]) / 100,
            },
            56 => Self::Interval {
                ms: world.interval_ms * dice.of(&[70, 120, 200]) / 100,
            },
            57 => Self::Tenant {
                ms: dice.between(1_000, 10_000),
                every_ms: dice.between(300, 5_000),
            },
            58 => Self::ProxyDown {
                ms: dice.between(300, 8_000),
            },
            59 => Self::ProxyRestart,
            60 => Self::ServerDown {
                ms: dice.between(300, 8_000),
            },
            61 => Self::ServerRestart,
            62..64 => Self::ClockJump {
                ms: dice.of(&[-3_600_000, -5_000, 5_000, 3_600_000]),
            },
            71 | 72 => Self::ForeignFile {
                directory: dice.of(&[
                    Directory::Sealed,
                    Directory::Ready,
                    Directory::Batches,
                    Directory::Rejected,
                ]),
                is_named_like_ours: !dice.one_in(3),
            },
            64..69 => Self::Ask {
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

fn commit_fault(dice: &mut Dice) -> CommitFault {
    let time = Duration::from_millis(dice.of(&[300, 4_000, 8_000, 60_000]));
    dice.of(&[
        CommitFault::NotSent,
        CommitFault::Refused,
        CommitFault::PartlyRefused,
        CommitFault::Lost(time),
        CommitFault::AnswerLost(time),
        CommitFault::AnsweredLate(time),
        CommitFault::AppliedLate(time),
        CommitFault::Repeated(time),
    ])
}

fn request_fault(dice: &mut Dice) -> RequestFault {
    let time = Duration::from_millis(dice.of(&[10, 1_000, 5_000, 70_000]));
    let insert = dice.of(&[Insert::Never, Insert::Done, Insert::Later(time)]);
    let retry_after = dice.of(&[None, Some(1), Some(5)]);
    let page = dice.of(&[200, 301, 403, 404, 500, 502, 503]);
    dice.of(&[
        RequestFault::ConnectRefused,
        RequestFault::ResetBeforeHeaders,
        RequestFault::ResetInBody,
        RequestFault::ResetInAnswer(insert),
        RequestFault::ResetInAnswer(insert),
        RequestFault::Silence(insert),
        RequestFault::Gateway(502, insert),
        RequestFault::Gateway(504, insert),
        RequestFault::Cut,
        RequestFault::Slow(time),
        RequestFault::TooMany(retry_after),
        RequestFault::Page(page),
    ])
}

fn insert_fault(dice: &mut Dice) -> InsertFault {
    // For an operator, for the data, for nobody, and one that is newer than our table.
    let code = dice.of(&[60, 516, 6, 117, 241, 209, 9_999]);
    let data = dice.of(&[6, 53, 349]);
    let time = Duration::from_millis(dice.of(&[500, 5_000, 70_000]));
    dice.of(&[
        InsertFault::Refused(code),
        InsertFault::Unreadable(33),
        InsertFault::Halfway(241),
        InsertFault::InView(data),
        InsertFault::After(code),
        InsertFault::MidStream(241),
        InsertFault::Slow(time),
    ])
}

impl Wish {
    fn draw(dice: &mut Dice) -> Self {
        dice.of(&[Self::Ready, Self::Batch, Self::Rejected, Self::Doubtful])
    }
}

impl Command {
    fn draw(dice: &mut Dice, partition: i32) -> Self {
        match dice.below(4) {
            0 => Self::Upload {
                wish: Wish::draw(dice),
                which: dice.below(8),
                now: dice.one_in(2),
            },
            1 => Self::ReplayUndecodable,
            2 => Self::PutBack {
                which: dice.below(20),
            },
            _ => Self::ResetPosition {
                partition,
                to: dice.of(&[ResetTo::Start, ResetTo::End, ResetTo::Percent(50)]),
            },
        }
    }
}
