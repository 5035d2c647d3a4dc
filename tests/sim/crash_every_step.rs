//! Does a crash at any disk operation lose or duplicate a record?
//!
//! One scripted life of a spool goes through everything that can happen to a
//! record. At every disk operation of it the process is killed and the power is
//! cut, with several outcomes of what was not synced; the spool is opened again,
//! and crashes again at every operation of that recovery. After each the
//! account must balance: every record exactly once in ClickHouse, in the spool,
//! or read again from Kafka.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use spoolhouse::spool::format::encoding::Encoding;

use crate::support::driver::{Answer, Commit, Driver};
use crate::support::sim_disk::{Moment, SimDisk};
use crate::support::world::{SPOOL, World};

/// The body limit at first, bytes: some thirty rows.
const BODY_MAX: usize = 2_300;

/// By how much it falls below a batch, bytes.
const BODY_MAX_FALL: usize = 150;

/// Outcomes tried per crash point: process kills and power cuts.
const KILLS: u64 = 2;
const POWER_CUTS: u64 = 4;

/// The world and the disk just before a disk operation.
type Photo = (Moment, World);

/// A world and a disk whose every operation is photographed.
fn photographed(world: World, disk: &SimDisk) -> (Arc<Mutex<World>>, Arc<Mutex<Vec<Photo>>>) {
    let world = Arc::new(Mutex::new(world));
    let photos = Arc::new(Mutex::new(Vec::new()));
    let (scene, album) = (world.clone(), photos.clone());
    disk.watch(move |moment| {
        let world = scene.lock().unwrap().clone();
        album.lock().unwrap().push((moment, world));
    });
    (world, photos)
}

/// Everything that can happen to a record, once.
fn live(disk: &SimDisk, world: &Arc<Mutex<World>>) {
    let mut driver = Driver::start(disk, world).unwrap();
    driver.start_reading().unwrap();
    let seal = |driver: &mut Driver, messages: &[(i32, i64)], how| {
        for (partition, count) in messages {
            driver.take_in(*partition, *count);
        }
        driver.seal().unwrap();
        driver.commit(how);
        driver.hand_over().unwrap();
    };
    seal(&mut driver, &[(0, 12), (1, 9)], Commit::Acknowledged);
    // An acknowledgement that is lost, one that covers two segments, a commit that is lost.
    seal(&mut driver, &[(0, 12)], Commit::AnswerLost);
    seal(&mut driver, &[(1, 21)], Commit::Acknowledged);
    seal(&mut driver, &[(0, 6)], Commit::Lost);
    // A window of undecodable messages only.
    seal(&mut driver, &[(1, 10)], Commit::Acknowledged);
    // The assignment goes and comes back: one segment to adopt, one that was committed.
    seal(&mut driver, &[(0, 15)], Commit::AnswerLost);
    driver.take_in(0, 15);
    driver.lose_assignment();
    driver.start_reading().unwrap();
    driver.commit(Commit::Acknowledged);
    driver.hand_over().unwrap();

    let post = |driver: &mut Driver, answers: &[Answer]| {
        assert!(driver.find().unwrap(), "nothing to post");
        for answer in answers {
            driver.post(*answer).unwrap();
        }
    };
    post(&mut driver, &[Answer::Throttled, Answer::Stored]);
    post(&mut driver, &[Answer::UnknownButStored, Answer::Stored]);
    post(&mut driver, &[Answer::UnknownNotStored, Answer::Stored]);
    seal(&mut driver, &[(0, 30), (1, 60)], Commit::Acknowledged);
    post(&mut driver, &[Answer::Refused]);
    // Too large: split, and the parts go. Too large after an unknown fate: doubtful.
    post(&mut driver, &[Answer::Throttled]);
    lower_limit(&driver, world);
    driver.post(Answer::Stored).unwrap();
    assert!(disk.count("batches") > 1, "it was split");
    seal(&mut driver, &[(0, 50)], Commit::Acknowledged);
    post(&mut driver, &[Answer::Stored]);
    post(&mut driver, &[Answer::UnknownNotStored]);
    lower_limit(&driver, world);
    driver.post(Answer::Stored).unwrap();
    assert_eq!(disk.count("doubtful"), 2, "a batch and the reason");
    // The server can't read the file: it is packed anew as it is configured then,
    // into more than one, for a lower limit.
    seal(&mut driver, &[(0, 40)], Commit::Acknowledged);
    post(&mut driver, &[Answer::Throttled, Answer::Unreadable]);
    assert_eq!(disk.count("sending"), 0, "it waits in batches/ again");
    lower_limit(&driver, world);
    drop(driver);
    world.lock().unwrap().encoding = Encoding::Compatible;
    let mut driver = Driver::start(disk, world).unwrap();
    driver.start_reading().unwrap();
    post(&mut driver, &[Answer::Stored]);
    assert!(disk.count("batches") >= 1, "the other part");
    // It knows a setting of the other part no more: that one is frozen anew under
    // those of the next start, but not once it may be stored under them.
    post(&mut driver, &[Answer::Throttled, Answer::UnknownSetting]);
    let refused = names_in(disk, "batches");
    let mut driver = configured(driver, disk, world, "1");
    post(&mut driver, &[Answer::UnknownButStored]);
    let frozen = names_in(disk, "sending");
    assert!(
        !refused.contains(&frozen[0]),
        "the other settings are in it"
    );
    let mut driver = configured(driver, disk, world, "2");
    assert!(driver.find().unwrap());
    assert_eq!(names_in(disk, "sending"), frozen);
    post(&mut driver, &[Answer::Stored]);
    by_hand(&mut driver, disk, world);
    // Retention overtakes us while we are away.
    driver.take_in(0, 5);
    driver.lose_assignment();
    world.lock().unwrap().logs.get_mut(&1).unwrap().start = 110;
    driver.start_reading().unwrap();
    driver.take_in(0, 1_000);
    driver.take_in(1, 1_000);
    driver.finish().unwrap();
    assert!(disk.count("undecodable") > 3);
    assert_eq!(disk.count("rejected"), 2, "a batch and the reason");
}

/// The next start, under other settings of the insert.
fn configured(driver: Driver, disk: &SimDisk, world: &Arc<Mutex<World>>, value: &str) -> Driver {
    drop(driver);
    let settings = [("max_insert_threads".to_owned(), value.to_owned())];
    world.lock().unwrap().settings = settings.into();
    let mut driver = Driver::start(disk, world).unwrap();
    driver.start_reading().unwrap();
    driver
}

/// What an operator asks for at the command line.
fn by_hand(driver: &mut Driver, disk: &SimDisk, world: &Arc<Mutex<World>>) {
    world.lock().unwrap().body_bytes_max = BODY_MAX;
    let bring = |driver: &mut Driver, directory: &str| {
        let place = last_in(disk, directory);
        assert!(driver.bring(&place).unwrap(), "{place} does not go");
    };
    // A batch that was refused is refused again, then stored; nobody needs the reason then.
    bring(driver, "rejected");
    driver.post(Answer::Refused).unwrap();
    assert_eq!(disk.count("rejected"), 2, "a batch and the reason");
    bring(driver, "rejected");
    driver.post(Answer::UnknownButStored).unwrap();
    driver.post(Answer::Stored).unwrap();
    assert_eq!(disk.count("rejected"), 0);
    // One in doubt.
    bring(driver, "doubtful");
    driver.post(Answer::Stored).unwrap();
    assert_eq!(disk.count("doubtful"), 0);
    // The newest segment before the others, and one that takes several batches.
    for count in [8, 70, 8] {
        driver.take_in(0, count);
        driver.seal().unwrap();
        driver.commit(Commit::Acknowledged);
        driver.hand_over().unwrap();
    }
    bring(driver, "ready");
    driver.post(Answer::UnknownNotStored).unwrap();
    driver.post(Answer::Stored).unwrap();
    let ready = disk.count("ready");
    bring(driver, "ready");
    assert_eq!(disk.count("ready"), ready, "something is left of it");
    driver.post(Answer::Stored).unwrap();
    bring(driver, "ready");
    driver.post(Answer::Refused).unwrap();
}

/// Place of the last segment or batch of a room.
fn last_in(disk: &SimDisk, directory: &str) -> String {
    let names = names_in(disk, directory);
    format!("{directory}/{}", names.last().expect("a file is there"))
}

/// The segments and batches of a room, in order.
fn names_in(disk: &SimDisk, directory: &str) -> Vec<String> {
    let files = disk.files(&Path::new(SPOOL).join(directory));
    let names = files.keys().filter_map(|path| path.file_name()?.to_str());
    let ours = names.filter(|name| name.ends_with(".parquet"));
    ours.map(str::to_owned).collect()
}

/// The proxy's body limit falls below the batch that is being sent.
fn lower_limit(driver: &Driver, world: &Mutex<World>) {
    let bytes = driver.bytes_to_post().expect("a batch is being sent");
    world.lock().unwrap().body_bytes_max = bytes - BODY_MAX_FALL;
}

/// What the crash of a seed leaves.
fn crash(moment: &Moment, seed: u64) -> SimDisk {
    match seed < KILLS {
        true => moment.kill(seed),
        false => moment.power_cut(seed),
    }
}

/// A new process opens what a crash has left: its account must balance.
fn recover(disk: &SimDisk, world: &Arc<Mutex<World>>) -> Result<Driver, String> {
    let mut driver = Driver::start(disk, world).map_err(|error| error.to_string())?;
    driver.start_reading().map_err(|error| error.to_string())?;
    let world = world.lock().unwrap();
    world.audit(disk, &driver.positions)?;
    Ok(driver)
}

#[test]
fn every_record_is_there_exactly_once_after_a_crash_at_any_disk_operation() {
    let disk = SimDisk::new();
    let start = World::new(&[(0, 300), (1, 120)], BODY_MAX);
    let (world, photos) = photographed(start, &disk);
    live(&disk, &world);
    let photos = std::mem::take(&mut *photos.lock().unwrap());
    let (mut outcomes, mut second) = (0, 0);
    for (moment, world) in &photos {
        let seeds = 0..KILLS + POWER_CUTS;
        for seed in seeds {
            let told = |again: Option<&Moment>, error: String| {
                let again =
                    again.map(|moment| format!("; then at {} {}", moment.number, moment.op));
                let again = again.unwrap_or_default();
                panic!(
                    "crash at {} {}, seed {seed}{again}: {error}",
                    moment.number, moment.op
                )
            };
            let disk = crash(moment, seed);
            let (world, again) = photographed(world.clone(), &disk);
            let driver = recover(&disk, &world).unwrap_or_else(|error| told(None, error));
            outcomes += 1;
            let again = std::mem::take(&mut *again.lock().unwrap());
            // Every second crash, under one of the first's outcomes.
            if moment.number as u64 % (KILLS + POWER_CUTS) == seed {
                for (moment, world) in &again {
                    let seed = moment.number as u64 % (KILLS + POWER_CUTS);
                    let world = Arc::new(Mutex::new(world.clone()));
                    recover(&crash(moment, seed), &world)
                        .unwrap_or_else(|error| told(Some(moment), error));
                    second += 1;
                }
                drop(driver);
            }
        }
    }
    println!(
        "crash points visited: {} (operations {}, outcomes {outcomes}, crashes in the recovery {second})",
        photos.len(),
        disk.made(),
    );
    assert_eq!(
        photos.len(),
        disk.made(),
        "every operation is a crash point"
    );
}

#[test]
fn a_batch_that_is_being_split_is_never_taken_for_one_that_may_be_stored() {
    let disk = SimDisk::new();
    let (world, photos) = photographed(World::new(&[(0, 80)], BODY_MAX), &disk);
    let mut driver = Driver::start(&disk, &world).unwrap();
    driver.start_reading().unwrap();
    driver.take_in(0, 25);
    driver.seal().unwrap();
    driver.commit(Commit::Acknowledged);
    driver.hand_over().unwrap();
    assert!(driver.find().unwrap());
    driver.post(Answer::Throttled).unwrap();
    let whole = names_in(&disk, "sending");
    lower_limit(&driver, &world);
    photos.lock().unwrap().clear();
    driver.post(Answer::Stored).unwrap();
    assert_eq!(disk.count("sending"), 0);
    let mut cut_short = 0;
    for (moment, world) in photos.lock().unwrap().iter() {
        for seed in 0..KILLS + POWER_CUTS {
            let disk = crash(moment, seed);
            let world = Arc::new(Mutex::new(world.clone()));
            // Until a first part is there, it may still lie where the post left it.
            let batches = names_in(&disk, "batches");
            if batches.iter().all(|name| whole.contains(name)) {
                continue;
            }
            cut_short += 1;
            let mut driver = recover(&disk, &world).unwrap();
            driver.finish().unwrap();
            assert_eq!(disk.count("doubtful"), 0, "at {}", moment.op);
        }
    }
    assert!(cut_short > 0, "no crash cut the split short");
}

#[test]
fn what_a_crash_left_goes_on_to_the_end_and_every_record_is_stored_once() {
    let disk = SimDisk::new();
    let start = World::new(&[(0, 300), (1, 120)], BODY_MAX);
    let (world, photos) = photographed(start, &disk);
    live(&disk, &world);
    for (moment, world) in photos.lock().unwrap().iter().step_by(7) {
        let world = Arc::new(Mutex::new(world.clone()));
        let disk = moment.power_cut(moment.number as u64);
        let mut driver = recover(&disk, &world).unwrap();
        driver.finish().unwrap();
        let ends: BTreeMap<i32, i64> = driver.positions.clone();
        let world = world.lock().unwrap();
        world.audit(&disk, &ends).unwrap();
        let left = disk.files(Path::new(SPOOL));
        for path in left.keys() {
            let directory = path.parent().unwrap().file_name().unwrap();
            let is_settled = ["rejected", "undecodable", "doubtful", "spool"];
            assert!(is_settled.iter().any(|name| directory == *name), "{path:?}");
        }
    }
}
