//! Does a move that failed half way lose a file when the power goes later?
//!
//! The disk answers one step of a move with an error, and the step happened or not.
//! Somebody else, or the next thing to do, then syncs the directory that the file may
//! have left. The power is cut at every disk operation of that and after it.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::support::driver::{Answer, Commit, Driver};
use crate::support::sim_disk::{Moment, SimDisk};
use crate::support::world::{SPOOL, World};

/// The body limit, bytes: some thirty rows.
const BODY_MAX: usize = 2_300;

/// Changes before which the error may come: more than any of the moves has, with what
/// is written beside it.
const STEPS: usize = 12;

/// Each tells by chance whether the step happened.
const ERRORS: u64 = 6;

/// Each leaves by chance what was not synced.
const CUTS: u64 = 16;

/// A spool, what is around it, and what a power cut may leave.
struct Case {
    disk: SimDisk,
    world: Arc<Mutex<World>>,
    driver: Driver,
    photos: Arc<Mutex<Vec<(Moment, World)>>>,
}

impl Case {
    fn new() -> Self {
        let disk = SimDisk::new();
        let world = Arc::new(Mutex::new(World::new(&[(0, 90)], BODY_MAX)));
        let mut driver = Driver::start(&disk, &world).unwrap();
        driver.start_reading().unwrap();
        Self {
            disk,
            world,
            driver,
            photos: Arc::default(),
        }
    }

    fn seal(&mut self, count: i64) {
        self.driver.take_in(0, count);
        self.driver.seal().unwrap();
    }

    /// Does what moves a file while the disk fails as `arm` has it; whether that was
    /// noticed. Every operation after it is photographed.
    fn half_way<T>(
        &mut self,
        arm: &dyn Fn(&SimDisk),
        act: impl FnOnce(&mut Driver) -> io::Result<T>,
    ) -> bool {
        arm(&self.disk);
        let done = act(&mut self.driver);
        self.disk.heal();
        let (world, photos) = (self.world.clone(), self.photos.clone());
        self.disk.watch(move |moment| {
            let world = world.lock().unwrap().clone();
            photos.lock().unwrap().push((moment, world));
        });
        done.is_err()
    }

    /// Cuts the power at each operation since [`Case::half_way`], and after the last: the
    /// account must balance, and `whole` hold of what is left.
    fn cut(self, whole: impl Fn(&SimDisk) -> bool) {
        let mut photos = std::mem::take(&mut *self.photos.lock().unwrap());
        photos.push((self.disk.now(), self.world.lock().unwrap().clone()));
        for (moment, world) in photos {
            for seed in 0..CUTS {
                let world = Arc::new(Mutex::new(world.clone()));
                let disk = moment.power_cut(seed);
                assert!(whole(&disk), "cut at {}", moment.op);
                let mut driver = Driver::start(&disk, &world).unwrap();
                driver.start_reading().unwrap();
                let audit = world.lock().unwrap().audit(&disk, &driver.positions);
                audit.unwrap_or_else(|error| panic!("cut at {}: {error}", moment.op));
            }
        }
    }
}

/// Lives one life per step that fails and way to fail. `act` says whether the error came
/// in the move.
fn each(mut act: impl FnMut(Case, &dyn Fn(&SimDisk)) -> bool) {
    let mut failed = 0;
    for step in 0..STEPS {
        for error in 0..ERRORS {
            let arm = move |disk: &SimDisk| disk.fail(step, 1, ErrorKind::Other, error);
            failed += usize::from(act(Case::new(), &arm));
        }
    }
    assert!(
        failed as u64 >= 3 * ERRORS,
        "the error missed the move: {failed}"
    );
}

#[test]
fn of_a_committed_segment_before_the_next_seal() {
    each(|mut case, arm| {
        case.seal(6);
        case.driver.commit(Commit::Acknowledged);
        let failed = case.half_way(arm, |driver| driver.hand_over());
        // It is tried again in a second; the next window is full first.
        case.seal(6);
        case.cut(|_| true);
        failed
    });
}

#[test]
fn of_a_segment_in_doubt_before_the_outlet_looks_for_work() {
    each(|mut case, arm| {
        case.seal(6);
        case.driver.lose_assignment();
        // Somebody else committed past where it begins, not to where it ends.
        case.world.lock().unwrap().consume_elsewhere(0, 3);
        let failed = case.half_way(arm, |driver| driver.start_reading());
        let _ = case.driver.find();
        case.cut(|_| true);
        failed
    });
}

#[test]
fn of_a_batch_in_doubt_before_the_outlet_mends_its_rooms() {
    each(|mut case, arm| {
        case.seal(25);
        case.driver.commit(Commit::Acknowledged);
        case.driver.hand_over().unwrap();
        assert!(case.driver.find().unwrap());
        case.driver.post(Answer::UnknownNotStored).unwrap();
        let bytes = case.driver.bytes_to_post().unwrap();
        case.world.lock().unwrap().body_bytes_max = bytes - 150;
        let failed = case.half_way(arm, |driver| driver.post(Answer::Stored));
        let _ = case.driver.find();
        case.cut(|_| true);
        failed
    });
}

#[test]
fn of_a_file_that_is_no_segment_before_the_next_one_is_made_ready() {
    let name = "seg-0000000099.parquet";
    let foreign = Bytes::from_static(b"no segment, and somebody's all the same");
    each(|mut case, arm| {
        case.disk
            .plant(&Path::new(SPOOL).join("ready").join(name), foreign.clone());
        let failed = case.half_way(arm, |driver| driver.find());
        case.seal(6);
        case.driver.commit(Commit::Acknowledged);
        case.driver.hand_over().unwrap();
        case.cut(|disk| {
            let files = disk.files(Path::new(SPOOL));
            files.values().any(|bytes| *bytes == foreign)
        });
        failed
    });
}
