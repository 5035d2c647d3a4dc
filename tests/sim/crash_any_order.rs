//! Does any order of events, crashes and disk errors among them, lose or
//! duplicate a record?
//!
//! A state machine around the real spool: after every start, and at the end,
//! the account of `support/world.rs` must balance. `PROPTEST_CASES` sets how
//! many lives are tried; the seeds of those that once failed are kept in
//! `tests/proptest-regressions/`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use spoolhouse::spool::format::encoding::Encoding;

use crate::support::driver::{Answer, Commit, Driver};
use crate::support::sim_disk::SimDisk;
use crate::support::world::{SPOOL, World};

/// Lives tried unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 150;

/// Seeds of lives that once failed, tried before any new one.
const SEEDS: &str = "tests/proptest-regressions/crash_any_order.txt";

/// Body limits between which it moves, bytes.
const BODY_BYTES: [usize; 4] = [1_700, 1_900, 2_200, 2_800];

#[derive(Clone, Debug)]
enum Action {
    TakeIn {
        partition: i32,
        count: i64,
    },
    Seal,
    Commit(Commit),
    HandOver,
    LoseAssignment,
    TakeUp,
    AnotherConsumer {
        partition: i32,
        count: i64,
    },
    Produce {
        partition: i32,
        count: i64,
    },
    Find,
    Begin,
    Post(Answer),
    BodyLimit(usize),
    Encode(Encoding),
    Restart,
    Kill {
        wait: usize,
        seed: u64,
    },
    PowerCut {
        wait: usize,
        seed: u64,
    },
    DiskError {
        wait: usize,
        count: usize,
        kind: ErrorKind,
        seed: u64,
    },
    PutBack {
        which: usize,
    },
    Bring {
        which: usize,
    },
}

fn action() -> impl Strategy<Value = Action> {
    use Action::*;
    let partition = 0..2_i32;
    let answer = prop_oneof![
        4 => Just(Answer::Stored),
        1 => Just(Answer::UnknownButStored),
        1 => Just(Answer::UnknownNotStored),
        1 => Just(Answer::Throttled),
        1 => Just(Answer::Refused),
        1 => Just(Answer::Unreadable),
    ];
    let commit = prop_oneof![
        3 => Just(crate::support::driver::Commit::Acknowledged),
        1 => Just(crate::support::driver::Commit::AnswerLost),
        1 => Just(crate::support::driver::Commit::Lost),
    ];
    let kind = prop_oneof![Just(ErrorKind::StorageFull), Just(ErrorKind::Other)];
    prop_oneof![
        6 => (partition.clone(), 1..25_i64).prop_map(|(partition, count)| TakeIn { partition, count }),
        6 => Just(Seal),
        5 => commit.prop_map(Action::Commit),
        4 => Just(HandOver),
        1 => Just(LoseAssignment),
        2 => Just(TakeUp),
        1 => (partition.clone(), 1..25_i64)
            .prop_map(|(partition, count)| AnotherConsumer { partition, count }),
        1 => (partition, 1..25_i64).prop_map(|(partition, count)| Produce { partition, count }),
        5 => Just(Find),
        2 => Just(Begin),
        7 => answer.prop_map(Post),
        1 => (0..BODY_BYTES.len()).prop_map(|index| BodyLimit(BODY_BYTES[index])),
        1 => prop_oneof![Just(Encoding::Compact), Just(Encoding::Compatible)].prop_map(Encode),
        1 => Just(Restart),
        2 => (0..12_usize, any::<u64>()).prop_map(|(wait, seed)| Kill { wait, seed }),
        2 => (0..12_usize, any::<u64>()).prop_map(|(wait, seed)| PowerCut { wait, seed }),
        3 => (0..8_usize, 1..4_usize, kind, any::<u64>())
            .prop_map(|(wait, count, kind, seed)| DiskError { wait, count, kind, seed }),
        1 => (0..100_usize).prop_map(|which| PutBack { which }),
        3 => (0..100_usize).prop_map(|which| Bring { which }),
    ]
}

/// A crash that is to come.
#[derive(Clone, Copy)]
enum Crash {
    Kill(u64),
    PowerCut(u64),
}

struct Life {
    world: Arc<Mutex<World>>,
    disk: SimDisk,
    driver: Option<Driver>,
    to_come: Option<Crash>,
    /// Files that were in `ready/` or `sealed/` once.
    seen: Vec<(PathBuf, bytes::Bytes)>,
}

impl Life {
    fn begin() -> Self {
        let world = World::new(&[(0, 60), (1, 60)], BODY_BYTES[3]);
        let mut life = Self {
            world: Arc::new(Mutex::new(world)),
            disk: SimDisk::new(),
            driver: None,
            to_come: None,
            seen: Vec::new(),
        };
        life.start();
        life
    }

    /// Starts a process until one gets through, and balances the account.
    fn start(&mut self) {
        for attempt in 0.. {
            self.driver = None;
            assert!(attempt < 30, "the spool does not open");
            if let Ok(mut driver) = Driver::start(&self.disk, &self.world)
                && driver.start_reading().is_ok()
            {
                let world = self.world.lock().unwrap();
                if let Err(error) = world.audit(&self.disk, &driver.positions) {
                    panic!("{error}");
                }
                drop(world);
                self.driver = Some(driver);
                return;
            }
            self.crash_if_dead();
        }
    }

    /// Puts what the crash left in place of a dead disk; whether it was dead.
    fn crash_if_dead(&mut self) -> bool {
        let Some(moment) = self.disk.died() else {
            return false;
        };
        self.disk = match self.to_come.take() {
            Some(Crash::PowerCut(seed)) => moment.power_cut(seed),
            Some(Crash::Kill(seed)) => moment.kill(seed),
            None => moment.kill(0),
        };
        true
    }

    fn act(&mut self, action: &Action) {
        let Some(driver) = &mut self.driver else {
            return;
        };
        // Errors are tried again by whatever comes later, as the loops do.
        match action {
            Action::TakeIn { partition, count } => driver.take_in(*partition, *count),
            Action::Seal => drop(driver.seal()),
            Action::Commit(how) => driver.commit(*how),
            Action::HandOver => drop(driver.hand_over()),
            Action::LoseAssignment => driver.lose_assignment(),
            Action::TakeUp if driver.positions.is_empty() => drop(driver.start_reading()),
            Action::TakeUp => {}
            Action::AnotherConsumer { partition, count } => {
                driver.lose_assignment();
                self.world
                    .lock()
                    .unwrap()
                    .consume_elsewhere(*partition, *count);
            }
            Action::Produce { partition, count } => {
                let mut world = self.world.lock().unwrap();
                world.logs.get_mut(partition).unwrap().end += count;
            }
            Action::Find => drop(driver.find()),
            Action::Begin => drop(driver.begin()),
            Action::Post(answer) => {
                let _ = driver.find();
                let _ = driver.post(*answer);
            }
            Action::BodyLimit(bytes) => self.world.lock().unwrap().body_bytes_max = *bytes,
            Action::Encode(encoding) => self.world.lock().unwrap().encoding = *encoding,
            Action::Restart => self.start(),
            Action::Kill { wait, seed } => self.arm(*wait, Crash::Kill(*seed)),
            Action::PowerCut { wait, seed } => self.arm(*wait, Crash::PowerCut(*seed)),
            Action::DiskError {
                wait,
                count,
                kind,
                seed,
            } => {
                self.disk.fail(*wait, *count, *kind, *seed);
            }
            Action::PutBack { which } => self.put_back(*which),
            Action::Bring { which } => {
                let places = places(&self.disk);
                if !places.is_empty() {
                    let _ = driver.bring(&places[which % places.len()]);
                }
            }
        }
        self.note_files();
        if self.crash_if_dead() {
            self.start();
        }
    }

    fn arm(&mut self, wait: usize, crash: Crash) {
        if self.to_come.is_none() {
            self.disk.die(wait);
            self.to_come = Some(crash);
        }
    }

    fn note_files(&mut self) {
        for directory in ["sealed", "ready"] {
            for (path, bytes) in self.disk.files(&Path::new(SPOOL).join(directory)) {
                if !self.seen.iter().any(|(seen, _)| *seen == path) {
                    self.seen.push((path, bytes));
                }
            }
        }
    }

    /// The operator stops the process and puts back a segment that was packed
    /// into batches which are all still there.
    fn put_back(&mut self, which: usize) {
        if self.seen.is_empty() || self.disk.is_failing() || self.to_come.is_some() {
            return;
        }
        self.start();
        let (path, bytes) = &self.seen[which % self.seen.len()];
        let world = self.world.lock().unwrap();
        if world.is_held_by_batches(&self.disk, bytes) {
            self.disk.plant(path, bytes.clone());
            drop(world);
            self.start();
        }
    }

    /// Everything that is left: by the process that runs, if it is to live, and
    /// by the last one.
    fn end(&mut self) {
        self.disk.heal();
        if self.to_come.is_none() {
            self.finish();
        }
        self.disk.die(0);
        self.act(&Action::Seal);
        self.to_come = None;
        self.start();
        self.finish();
    }

    /// The process takes in, seals, commits and sends all there is.
    fn finish(&mut self) {
        let driver = self.driver.as_mut().unwrap();
        if driver.positions.is_empty() {
            driver.start_reading().unwrap();
        }
        driver.finish().unwrap();
        let world = self.world.lock().unwrap();
        world.audit(&self.disk, &driver.positions).unwrap();
        let held: u64 = driver
            .spool
            .holdings()
            .unwrap()
            .values()
            .map(|h| h.bytes)
            .sum();
        assert_eq!(driver.spool.bytes(), held, "the budget is counted wrong");
        let left: usize = ["sealed", "ready", "batches", "sending"]
            .iter()
            .map(|directory| self.disk.count(directory))
            .sum();
        assert_eq!(left, 0, "something never went");
    }
}

/// What an operator may ask for: segments in `ready/`, and batches wherever
/// they are. A segment in doubt is left alone, since only a person could know
/// that the other consumer does not have it.
fn places(disk: &SimDisk) -> Vec<String> {
    let rooms = ["ready", "batches", "rejected", "doubtful"];
    let places = rooms.iter().flat_map(|directory| {
        let files = disk.files(&Path::new(SPOOL).join(directory));
        let names = files.into_keys().filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            let is_ours =
                name.ends_with(".parquet") && (*directory == "ready" || name.starts_with("batch-"));
            is_ours.then(|| format!("{directory}/{name}"))
        });
        names.collect::<Vec<_>>()
    });
    places.collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(SEEDS))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_record_is_there_exactly_once_in_any_order_of_events(
        actions in prop::collection::vec(action(), 1..60)
    ) {
        let mut life = Life::begin();
        for action in &actions {
            life.act(action);
        }
        life.end();
    }
}
