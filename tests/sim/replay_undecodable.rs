//! Does replaying undecodable messages lose or duplicate one, wherever it is
//! cut short?

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use spoolhouse::ingest::decode::record;
use spoolhouse::ingest::decode::redecode::{self, Counts};
use spoolhouse::spool::format::error::Fault;
use spoolhouse::spool::format::footer::Footer;
use spoolhouse::spool::format::undecodable::{self, Kept, Message};
use spoolhouse::spool::layout::{Layout, Name};
use spoolhouse::spool::outlet::PackOptions;
use spoolhouse::spool::quarantine::Doubt;
use spoolhouse::spool::read_only::verify::{Options, verify};
use spoolhouse::spool::undecodable_replay::{Decoded, Replayed, replay, sources};
use spoolhouse::spool::{Intake, Outlet, Spool};
use spoolhouse::time::SystemClock;
use uuid::Uuid;

use crate::support::segments::{count_ids, names_in, open_segment, rows_of, source};
use crate::support::sim_disk::{Moment, SimDisk};
use crate::support::world::SPOOL;
use spoolhouse::spool::format::metadata;

/// Per segment: its records, then messages that are none. Those at odd offsets
/// are records to the mended decoder.
const SEGMENTS: [(i64, i64); 3] = [(10, 4), (5, 1), (0, 6)];

fn open(disk: &SimDisk) -> io::Result<Spool> {
    let layout = Layout::new(SPOOL);
    Spool::open_on(
        Arc::new(disk.clone()),
        layout,
        None,
        Uuid::from_u128(1),
        Arc::new(SystemClock),
    )
    .map_err(io::Error::other)
}

/// A spool whose segments are ready; the undecodable messages' offsets.
fn spool_with_undecodables(disk: &SimDisk) -> Vec<i64> {
    let intake = Intake::new(open(disk).unwrap());
    let mut messages = Vec::new();
    let mut offset = 0;
    for (records, undecodable) in SEGMENTS {
        let mut segment = open_segment(offset..offset + records);
        offset += records;
        for _ in 0..undecodable {
            segment.keep_undecodable(Message {
                partition: 0,
                offset,
                error: "the message is empty".into(),
                bytes: Bytes::from(format!("raw {offset}")),
            });
            segment.cover(0, offset, offset + 1);
            messages.push(offset);
            offset += 1;
        }
        let finished = intake.finish(segment, &source()).unwrap();
        intake.seal(&finished).unwrap();
        intake.ready(&finished.footer).unwrap();
    }
    messages
}

fn decodes(offset: i64) -> bool {
    offset % 2 == 1
}

/// The decoder after its fix.
fn mended(messages: Vec<Kept>) -> Result<Decoded, Fault> {
    let (good, left): (Vec<Kept>, Vec<Kept>) = messages
        .into_iter()
        .partition(|kept| kept.payload.is_some() && decodes(kept.offset));
    let places: Vec<(i32, i64)> = good
        .iter()
        .map(|kept| (kept.partition, kept.offset))
        .collect();
    let rows = if places.is_empty() {
        Vec::new()
    } else {
        vec![rows_of(&places)]
    };
    Ok(Decoded { rows, left })
}

fn replay_all(disk: &SimDisk, spool: &Spool) -> io::Result<u64> {
    let mut replayed = 0;
    for source in sources(disk, &Layout::new(SPOOL))? {
        if let Replayed::Rows(rows) = replay(spool, &source, mended)? {
            replayed += rows;
        }
    }
    Ok(replayed)
}

/// How often each undecodable message is a row in `ready/`, and how often it is
/// kept; `Err` for whatever else is wrong.
fn audit(disk: &SimDisk, messages: &[i64], is_done: bool) -> Result<(), String> {
    let files = disk.files(Path::new(SPOOL));
    let in_room = |directory: &str| -> Vec<(&PathBuf, &Bytes)> {
        let dir = Path::new(SPOOL).join(directory);
        files
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir.as_path()))
            .collect()
    };
    for directory in ["sealed", "open", "doubtful"] {
        if let Some((path, _)) = in_room(directory).first() {
            return Err(format!("{} is left", path.display()));
        }
    }
    let mut stored = BTreeMap::new();
    for (path, file) in in_room("ready") {
        count_ids(file, &mut stored);
        let metadata = metadata::parse(file).map_err(|fault| fault.to_string())?;
        let Ok(Footer::Segment(footer)) = Footer::from_metadata(&metadata) else {
            return Err(format!("{} is no segment", path.display()));
        };
        if footer.replayed_from.is_some() && !footer.offsets.is_empty() {
            return Err(format!("{} accounts for offsets", path.display()));
        }
    }
    let mut kept: BTreeMap<i64, usize> = BTreeMap::new();
    for (path, file) in in_room("undecodable") {
        let name = Name::parse(path.file_name().unwrap().to_str().unwrap()).unwrap();
        let file = undecodable::read(&name, file.clone(), Uuid::from_u128(1))
            .map_err(|fault| fault.to_string())?;
        for message in file.messages {
            *kept.entry(message.offset).or_default() += 1;
        }
    }
    for offset in messages {
        let rows = stored.get(&(*offset as u64)).copied().unwrap_or(0);
        let here = kept.get(offset).copied().unwrap_or(0);
        let right = match decodes(*offset) {
            true if is_done => (rows, here) == (1, 0),
            true => rows + here == 1,
            false => (rows, here) == (0, 1),
        };
        if !right {
            return Err(format!("message {offset}: {rows} rows, kept {here} times"));
        }
    }
    Ok(())
}

/// The disk and what was about to happen, at every operation of `act`.
fn photographed(disk: &SimDisk, act: impl FnOnce() -> io::Result<()>) -> Vec<Moment> {
    let photos = Arc::new(Mutex::new(Vec::new()));
    let album = photos.clone();
    disk.watch(move |moment| album.lock().unwrap().push(moment));
    act().unwrap();
    disk.watch(|_| ());
    std::mem::take(&mut *photos.lock().unwrap())
}

/// Killed, or the power cut, in several ways.
fn outcomes(moment: &Moment) -> impl Iterator<Item = (u64, SimDisk)> {
    let kills = (0..2).map(|seed| (seed, moment.kill(seed)));
    kills.chain((2..8).map(|seed| (seed, moment.power_cut(seed))))
}

#[test]
fn a_replay_that_is_cut_short_anywhere_stores_every_message_once() {
    let disk = SimDisk::new();
    let messages = spool_with_undecodables(&disk);
    let spool = open(&disk).unwrap();
    let before = Intake::new(spool.clone()).position(&source(), 0);
    let photos = photographed(&disk, || replay_all(&disk, &spool).map(|_| ()));
    audit(&disk, &messages, true).unwrap();
    let mut second = 0;
    for moment in &photos {
        for (seed, disk) in outcomes(moment) {
            let told = |error: String| -> String {
                format!(
                    "crash at {} {}, seed {seed}: {error}",
                    moment.number, moment.op
                )
            };
            let again = photographed(&disk, || open(&disk).map(|_| ()));
            audit(&disk, &messages, false).map_err(told).unwrap();
            for moment in again.iter().filter(|_| seed % 3 == 0) {
                let disk = moment.power_cut(seed);
                open(&disk).unwrap();
                audit(&disk, &messages, false).map_err(told).unwrap();
                second += 1;
            }
            let spool = open(&disk).unwrap();
            replay_all(&disk, &spool).unwrap();
            audit(&disk, &messages, true).map_err(told).unwrap();
            assert_eq!(Intake::new(spool).position(&source(), 0), before);
        }
    }
    println!(
        "crash points visited: {}, in the recovery: {second}",
        photos.len()
    );
    assert!(photos.len() > 25, "{}", photos.len());
}

#[test]
fn a_replayed_segment_goes_up_like_any_other_and_leaves_the_positions_alone() {
    let disk = SimDisk::new();
    let messages = spool_with_undecodables(&disk);
    let spool = open(&disk).unwrap();
    replay_all(&disk, &spool).unwrap();
    let intake = Intake::new(spool.clone());
    assert_eq!(intake.position(&source(), 0), Some(26));
    assert!(intake.sealed().unwrap().is_empty());
    let outlet = Outlet::new(spool);
    let options = PackOptions {
        bytes_max: 1 << 20,
        settings: BTreeMap::new(),
        ..PackOptions::default()
    };
    let mut batch = outlet.next(&options).unwrap().unwrap();
    let decoded = messages.iter().filter(|offset| decodes(**offset)).count();
    assert_eq!(batch.footer.rows, 15 + decoded as u64);
    outlet.begin(&mut batch).unwrap();
    outlet.stored(&batch).unwrap();
    assert_eq!(disk.count("ready"), 0);
    drop(outlet);
    let intake = Intake::new(open(&disk).unwrap());
    assert_eq!(intake.position(&source(), 0), Some(26));
}

#[test]
fn messages_of_a_segment_whose_commit_is_open_wait() {
    let disk = SimDisk::new();
    let spool = open(&disk).unwrap();
    let intake = Intake::new(spool.clone());
    let mut segment = open_segment(0..5);
    segment.keep_undecodable(Message {
        partition: 0,
        offset: 5,
        error: "the message is empty".into(),
        bytes: Bytes::from_static(b"raw"),
    });
    segment.cover(0, 5, 6);
    let finished = intake.finish(segment, &source()).unwrap();
    intake.seal(&finished).unwrap();
    let sources = sources(&disk, &Layout::new(SPOOL)).unwrap();
    let replayed = replay(&spool, &sources[0], mended).unwrap();
    assert_eq!(replayed, Replayed::Undecided);
    intake
        .doubt(&finished.footer, &Doubt::CommittedElsewhere)
        .unwrap();
    let replayed = replay(&spool, &sources[0], mended).unwrap();
    assert_eq!(replayed, Replayed::Undecided);
}

/// The real decoder, on the local disk, and a verification at the end.
#[test]
fn real_records_are_masked_and_what_is_none_stays_with_todays_reason() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let intake = Intake::new(spool.clone());
    let traffic = spoolhouse::traffic::Traffic {
        profile: Default::default(),
        seed: 1,
        start_milli: 1_700_000_000_000,
        rate: 0,
        bad_per_million: 0,
    };
    let mut segment = open_segment(0..5);
    for offset in 5..9 {
        let bytes = match offset {
            8 => Bytes::from_static(b"garbage"),
            _ => Bytes::from(traffic.row(offset as u64).unwrap().encode()),
        };
        assert_eq!(record::decode(&bytes).is_ok(), offset != 8);
        segment.keep_undecodable(Message {
            partition: 0,
            offset,
            error: "a reason of yesterday".into(),
            bytes,
        });
    }
    segment.cover(0, 5, 9);
    let finished = intake.finish(segment, &source()).unwrap();
    intake.seal(&finished).unwrap();
    intake.ready(&finished.footer).unwrap();

    let layout = Layout::new(dir.path());
    let disk = spoolhouse::spool::disk::LocalDisk;
    let mut counts = Counts::default();
    for source in sources(&disk, &layout).unwrap() {
        let decode = |messages| redecode::redecode(messages, &mut counts);
        assert_eq!(replay(&spool, &source, decode).unwrap(), Replayed::Rows(3));
    }
    assert_eq!(counts.decoded, 3);
    assert_eq!(counts.undecodable.values().sum::<u64>(), 1);
    let expected = ["seg-0000000001.parquet", "seg-0000000002.parquet"];
    assert_eq!(names_in(dir.path(), "ready"), expected);
    let name = Name::Undecodable { number: 1 };
    let path = dir.path().join("undecodable").join(name.to_string());
    let left = undecodable::read(&name, std::fs::read(path).unwrap().into(), spool.id()).unwrap();
    assert_eq!(left.messages.len(), 1);
    assert_ne!(left.messages[0].error, "a reason of yesterday");
    let mask = spoolhouse::ingest::decode::anonymize::mask;
    let options = Options {
        is_masked: &|address| mask(address.as_bytes()).as_str() == address,
        progress: &mut |_, _| (),
        pause: &|| (),
    };
    let report = verify(&disk, &layout, options).unwrap();
    assert_eq!((report.faults(), report.notes.len()), (0, 0));
}
