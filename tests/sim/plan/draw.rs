//! Plans are drawn: how often what happens is decided here and nowhere else.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{
    At, Command, CommitFault, DiskError, Event, Plan, PostFault, RECORDS_MIN, ResetTo, Turns, What,
    Wish, World,
};
use crate::messages::{Kind, MessageId};
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
        Self {
            seed,
            world,
            turns,
            events,
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
            offsets: offsets_with(
                partitions,
                incarnation,
                RECORDS_MIN + dice.below(120) as i64,
            ),
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
