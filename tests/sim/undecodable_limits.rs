//! Do undecodable messages keep within their budget and age, and does nothing
//! of them vanish without a trace, wherever it is cut short?

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use spoolhouse::spool::format::segment::OpenSegment;
use spoolhouse::spool::format::undecodable::{self, Kept, Message};
use spoolhouse::spool::layout::{Layout, Name};
use spoolhouse::spool::undecodable_retention::Limits;
use spoolhouse::spool::{Intake, Spool};
use spoolhouse::time::SystemClock;
use uuid::Uuid;

use crate::support::segments::source;
use crate::support::sim_disk::{Moment, SimDisk};
use crate::support::world::SPOOL;

fn open(disk: &SimDisk, limits: Limits) -> Intake {
    let layout = Layout::new(SPOOL);
    let disk = Arc::new(disk.clone());
    let spool = Spool::open_on(
        disk,
        layout,
        None,
        Uuid::from_u128(1),
        Arc::new(SystemClock),
    )
    .unwrap();
    Intake::with_limits(spool, limits)
}

fn budget(bytes_max: u64) -> Limits {
    Limits {
        bytes_max,
        age_max: None,
    }
}

/// A payload that does not compress.
fn payload(offset: i64) -> Bytes {
    let noise = (0..500_u64).map(|i| {
        let mixed = (offset as u64 * 500 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29))
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            .to_be_bytes()[0]
    });
    noise.collect()
}

/// A window of only bad messages.
fn seal(intake: &Intake, offsets: std::ops::Range<i64>) {
    let mut segment = OpenSegment::new().unwrap();
    for offset in offsets {
        segment.keep_undecodable(Message {
            partition: 0,
            offset,
            error: "the message is empty".into(),
            bytes: payload(offset),
        });
        segment.cover(0, offset, offset + 1);
    }
    let finished = intake.finish(segment, &source()).unwrap();
    intake.seal(&finished).unwrap();
    intake.ready(&finished.footer).unwrap();
}

/// Every message that is kept, and the offsets of which a line is left.
fn kept(disk: &SimDisk) -> (Vec<Kept>, Vec<i64>) {
    let mut messages = Vec::new();
    let mut lines = Vec::new();
    for (path, bytes) in disk.files(&Path::new(SPOOL).join("undecodable")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "dropped.jsonl" {
            for line in String::from_utf8(bytes.to_vec()).unwrap().lines() {
                // A line that a crash tore is followed by its repetition.
                let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
                    continue;
                };
                let range = &line["offsets"]["0"];
                lines.extend(range[0].as_i64().unwrap()..range[1].as_i64().unwrap());
            }
            continue;
        }
        let name = Name::parse(&name).unwrap();
        let file = undecodable::read(&name, bytes, Uuid::from_u128(1)).unwrap();
        messages.extend(file.messages);
    }
    (messages, lines)
}

fn size(disk: &SimDisk) -> usize {
    let files = disk.files(&Path::new(SPOOL).join("undecodable"));
    let parquet = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "parquet"));
    parquet.map(|(_, bytes)| bytes.len()).sum()
}

#[test]
fn past_the_budget_the_oldest_payloads_go_and_length_and_hash_stay() {
    let disk = SimDisk::new();
    let intake = open(&disk, budget(30_000));
    for start in 0..8 {
        seal(&intake, start * 10..start * 10 + 10);
        assert!(size(&disk) <= 30_000, "{} bytes", size(&disk));
    }
    let (messages, lines) = kept(&disk);
    assert_eq!((messages.len(), lines.len()), (80, 0));
    let with_payload: Vec<i64> = messages
        .iter()
        .filter(|kept| kept.payload.is_some())
        .map(|kept| kept.offset)
        .collect();
    assert!(with_payload.len() >= 30, "{}", with_payload.len());
    let newest: Vec<i64> = (80 - with_payload.len() as i64..80).collect();
    assert_eq!(with_payload, newest, "the oldest went first");
    for message in &messages {
        assert_eq!(message.length, 500);
        let hash = spoolhouse::spool::format::digest::of(&payload(message.offset));
        assert_eq!(message.sha256, hash);
    }
    let held: usize = disk
        .files(Path::new(SPOOL))
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "parquet"))
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert_eq!(intake.bytes(), held as u64);
}

#[test]
fn when_even_lengths_and_hashes_are_too_much_a_line_per_file_is_left() {
    let disk = SimDisk::new();
    let intake = open(&disk, budget(5_000));
    for start in 0..20 {
        seal(&intake, start * 10..start * 10 + 10);
        assert!(size(&disk) <= 5_000, "{} bytes", size(&disk));
    }
    let (messages, lines) = kept(&disk);
    let mut offsets: Vec<i64> = messages.iter().map(|kept| kept.offset).collect();
    offsets.extend(lines);
    offsets.sort_unstable();
    assert_eq!(offsets, (0..200).collect::<Vec<_>>(), "none is untold");
}

#[test]
fn payloads_go_with_their_age_also_after_a_restart() {
    let disk = SimDisk::new();
    let limits = Limits {
        bytes_max: u64::MAX,
        age_max: Some(Duration::from_secs(3_600)),
    };
    let intake = open(&disk, limits);
    seal(&intake, 0..5);
    intake.tidy_undecodable(SystemTime::now() + Duration::from_secs(3_000));
    let payloads = |disk: &SimDisk| {
        let (messages, _) = kept(disk);
        messages
            .iter()
            .filter(|kept| kept.payload.is_some())
            .count()
    };
    assert_eq!(payloads(&disk), 5);
    drop(intake);
    let intake = open(&disk, limits);
    intake.tidy_undecodable(SystemTime::now() + Duration::from_secs(4_000));
    assert_eq!(payloads(&disk), 0);
    assert_eq!(kept(&disk).0.len(), 5);
}

#[test]
fn a_disk_that_fails_meanwhile_does_not_fail_the_seal() {
    let disk = SimDisk::new();
    let intake = open(&disk, budget(7_000));
    seal(&intake, 0..15);
    // The seal itself makes eleven changes; only what comes after them fails.
    const OF_A_SEAL: usize = 11;
    for wait in OF_A_SEAL..OF_A_SEAL + 4 {
        let offset = 100 + wait as i64 * 20;
        let mut segment = OpenSegment::new().unwrap();
        for offset in offset..offset + 15 {
            segment.keep_undecodable(Message {
                partition: 0,
                offset,
                error: "the message is empty".into(),
                bytes: payload(offset),
            });
            segment.cover(0, offset, offset + 1);
        }
        let finished = intake.finish(segment, &source()).unwrap();
        let sealing = disk.made();
        disk.fail(wait, 1, std::io::ErrorKind::StorageFull, wait as u64);
        intake.seal(&finished).unwrap();
        assert!(
            disk.made() > sealing + wait,
            "{} changes, {wait}",
            disk.made() - sealing
        );
        disk.heal();
        intake.ready(&finished.footer).unwrap();
    }
    intake.tidy_undecodable(SystemTime::now());
    intake.tidy_undecodable(SystemTime::now());
    assert!(size(&disk) <= 7_000, "{} bytes", size(&disk));
}

#[test]
fn no_message_vanishes_untold_when_it_is_cut_short_anywhere() {
    let disk = SimDisk::new();
    let intake = open(&disk, budget(u64::MAX));
    for start in 0..6 {
        seal(&intake, start * 10..start * 10 + 10);
    }
    drop(intake);
    let photos: Arc<Mutex<Vec<Moment>>> = Arc::default();
    let album = photos.clone();
    disk.watch(move |moment| album.lock().unwrap().push(moment));
    let intake = open(&disk, budget(3_000));
    for _ in 0..4 {
        intake.tidy_undecodable(SystemTime::now());
    }
    assert!(size(&disk) <= 3_000);
    let photos = std::mem::take(&mut *photos.lock().unwrap());
    for moment in &photos {
        let disks = (0..2).map(|seed| moment.kill(seed));
        for disk in disks.chain((2..6).map(|seed| moment.power_cut(seed))) {
            let intake = open(&disk, budget(3_000));
            let told = |disk: &SimDisk| {
                let (messages, lines) = kept(disk);
                let mut told: BTreeMap<i64, (usize, usize)> = BTreeMap::new();
                for message in messages {
                    told.entry(message.offset).or_default().0 += 1;
                }
                for offset in lines {
                    told.entry(offset).or_default().1 += 1;
                }
                let well = told
                    .values()
                    .all(|(here, lines)| *here <= 1 && here + lines > 0);
                assert!(
                    told.len() == 60 && well,
                    "{} {}: {told:?}",
                    moment.number,
                    moment.op
                );
            };
            told(&disk);
            for _ in 0..4 {
                intake.tidy_undecodable(SystemTime::now());
            }
            told(&disk);
            assert!(size(&disk) <= 3_000);
        }
    }
    println!("crash points visited: {}", photos.len());
    assert!(photos.len() > 30, "{}", photos.len());
}
