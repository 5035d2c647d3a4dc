//! Does one bad file lose anything but itself, or get anything wrong sent?
//!
//! Files cut off, with a byte flipped, foreign, renamed or no files at all: a
//! start sets them aside with a reason, or leaves them where they harm nobody;
//! it never panics, and the rest goes on.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, iter};

use bytes::Bytes;
use spoolhouse::spool::format::segment::OpenSegment;
use spoolhouse::spool::format::undecodable::Message;
use spoolhouse::spool::format::{digest, read};
use spoolhouse::spool::layout::{Layout, Name};
use spoolhouse::spool::outlet::PackOptions;
use spoolhouse::spool::{Intake, Outlet, Spool};
use spoolhouse::time::SystemClock;
use uuid::Uuid;

use crate::support::segments::{count_ids, names_in, open_segment, rows, source};
use crate::support::sim_disk::SimDisk;

const SPOOL: &str = "/var/spool";

fn at(place: &str) -> PathBuf {
    Path::new(SPOOL).join(place)
}

fn open(disk: &SimDisk) -> Spool {
    let disk = Arc::new(disk.clone());
    Spool::open_on(
        disk,
        Layout::new(SPOOL),
        None,
        Uuid::from_u128(1),
        Arc::new(SystemClock),
    )
    .unwrap()
}

fn pack() -> PackOptions {
    PackOptions {
        bytes_max: 1 << 20,
        settings: BTreeMap::new(),
        ..PackOptions::default()
    }
}

fn with_bad_message(mut segment: OpenSegment, offset: i64) -> OpenSegment {
    segment.keep_undecodable(Message {
        partition: 0,
        offset,
        error: "no record".into(),
        bytes: Bytes::from_static(b"raw"),
    });
    segment.cover(0, offset, offset + 1);
    segment
}

/// A disk with one file of every kind: segment 1 is a batch, 2 and 3 are ready,
/// 4 is sealed and came with an undecodable message.
fn one_of_each() -> SimDisk {
    let disk = SimDisk::new();
    let spool = open(&disk);
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    let seal = |segment: OpenSegment| {
        let finished = intake.finish(segment, &source()).unwrap();
        intake.seal(&finished).unwrap();
        finished.footer
    };
    intake.ready(&seal(open_segment(0..10))).unwrap();
    outlet.next(&pack()).unwrap().unwrap();
    intake.ready(&seal(open_segment(10..20))).unwrap();
    intake.ready(&seal(open_segment(20..30))).unwrap();
    seal(with_bad_message(open_segment(30..39), 39));
    disk
}

/// The Parquet files of a disk.
fn parquet_files(disk: &SimDisk) -> BTreeMap<PathBuf, Bytes> {
    let mut files = disk.files(Path::new(SPOOL));
    files.retain(|path, _| path.extension().is_some_and(|end| end == "parquet"));
    files
}

/// The same disk with other bytes in one file.
fn with(disk: &SimDisk, path: &Path, bytes: impl Into<Bytes>) -> SimDisk {
    let copy = disk.now().kill(0);
    copy.plant(path, bytes.into());
    copy
}

/// Opens the spool; the bad file must be in `doubtful/` with its reason, or
/// where it was, and every other file as it was. Whether it was set aside.
fn is_set_aside(disk: &SimDisk, bad: &Path) -> bool {
    let before = parquet_files(disk);
    open(disk);
    let after = disk.files(Path::new(SPOOL));
    let name = bad.file_name().unwrap();
    let aside = at("doubtful").join(name);
    for (path, bytes) in &before {
        let now = if path == bad && !after.contains_key(path) {
            let reason = aside.with_extension("reason.json");
            assert!(after.contains_key(&reason), "{bad:?} without its reason");
            &aside
        } else {
            path
        };
        assert_eq!(after.get(now), Some(bytes), "{path:?} when {bad:?} is bad");
    }
    after.contains_key(&aside)
}

#[test]
fn a_file_cut_off_at_any_length_blocks_nothing() {
    let disk = one_of_each();
    for (path, bytes) in parquet_files(&disk) {
        // What lies in undecodable/ is judged by its name.
        let is_judged = !path.starts_with(at("undecodable"));
        for length in 0..bytes.len() {
            let cut = with(&disk, &path, bytes.slice(..length));
            assert_eq!(is_set_aside(&cut, &path), is_judged, "{path:?} at {length}");
        }
    }
}

#[test]
fn a_byte_flipped_anywhere_is_told() {
    let disk = one_of_each();
    let spool = Uuid::from_u128(1);
    for (path, bytes) in parquet_files(&disk) {
        let name = Name::parse(path.file_name().unwrap().to_str().unwrap()).unwrap();
        for position in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[position] ^= 1 << (position % 8);
            let flipped = Bytes::from(flipped);
            let is_told = match &name {
                Name::Segment { .. } => read::segment(&name, flipped, spool).is_err(),
                Name::Batch { .. } => read::batch(&name, &flipped, spool).is_err(),
                Name::Undecodable { .. } => digest::check(&flipped).is_err(),
            };
            assert!(is_told, "{path:?}, byte {position}");
        }
    }
}

#[test]
fn a_start_with_a_flipped_byte_anywhere_blocks_nothing() {
    let disk = one_of_each();
    for (path, bytes) in parquet_files(&disk) {
        // Every byte of the footer, and every seventh before it.
        let footer = u32::from_le_bytes(*bytes[..bytes.len() - 4].last_chunk().unwrap()) as usize;
        let data = bytes.len() - footer - 8;
        for position in (0..data).step_by(7).chain(data..bytes.len()) {
            let mut flipped = bytes.to_vec();
            flipped[position] ^= 1 << (position % 8);
            is_set_aside(&with(&disk, &path, flipped), &path);
        }
    }
}

#[test]
fn a_flipped_byte_is_never_sent() {
    let disk = one_of_each();
    for (path, bytes) in parquet_files(&disk) {
        for position in (4..bytes.len()).step_by(bytes.len() / 12) {
            let mut flipped = bytes.to_vec();
            flipped[position] ^= 0x10;
            let disk = with(&disk, &path, flipped);
            let spool = open(&disk);
            let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
            for segment in intake.sealed().unwrap() {
                intake.ready(&segment).unwrap();
            }
            let mut sent = BTreeMap::new();
            while let Some(mut batch) = outlet.next(&pack()).unwrap() {
                outlet.begin(&mut batch).unwrap();
                check_rows(&batch.bytes);
                count_ids(&batch.bytes, &mut sent);
                outlet.stored(&batch).unwrap();
            }
            let bad = if path.starts_with(at("undecodable")) {
                0..0
            } else {
                ids_of(&bytes)
            };
            let expected: Vec<u64> = (0..39).filter(|id| !bad.contains(id)).collect();
            let sent: Vec<u64> = sent.into_keys().collect();
            assert_eq!(sent, expected, "{path:?}, byte {position}");
        }
    }
}

fn ids_of(file: &Bytes) -> std::ops::Range<u64> {
    let mut ids = BTreeMap::new();
    count_ids(file, &mut ids);
    *ids.keys().next().unwrap()..*ids.keys().last().unwrap() + 1
}

/// Every row must be, column by column, what was taken in.
fn check_rows(batch: &Bytes) {
    let held = read::rows(batch.clone(), spoolhouse::spool::format::schema::batch()).unwrap();
    let ids = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::UInt64Type>(
        held.column_by_name("resource_id").unwrap(),
    );
    for row in 0..held.num_rows() {
        let id = ids.value(row) as i64;
        let expected = rows(id..id + 1)
            .project(&[0, 1, 2, 3, 4, 5, 6, 7, 8])
            .unwrap();
        assert_eq!(held.slice(row, 1).columns(), expected.columns());
    }
}

/// A spool on the local disk with three ready segments, and their directory.
fn three_ready() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let intake = Intake::new(Spool::open(dir.path()).unwrap());
    for start in [0, 10, 20] {
        let finished = intake
            .finish(open_segment(start..start + 10), &source())
            .unwrap();
        intake.seal(&finished).unwrap();
        intake.ready(&finished.footer).unwrap();
    }
    let ready = dir.path().join("ready");
    (dir, ready)
}

/// Opens the spool: `name` must be set aside for a reason that says `why`, and
/// the `rest` of the rows must go.
fn set_aside(dir: &Path, name: &str, why: &str, rest: usize) {
    let outlet = Outlet::new(Spool::open(dir).unwrap());
    let aside = names_in(dir, "doubtful");
    assert!(aside.iter().any(|aside| aside == name), "{name}: {aside:?}");
    let reason = format!("{}.reason.json", name.trim_end_matches(".parquet"));
    let reason = fs::read_to_string(dir.join("doubtful").join(reason)).unwrap();
    assert!(reason.contains(why), "{name}: {reason}");
    let batch = outlet.next(&pack()).unwrap().unwrap();
    assert_eq!(batch.footer.rows as usize, rest, "{name}");
}

#[test]
fn what_is_no_file_of_this_spool_is_set_aside_with_a_reason() {
    const SECOND: &str = "seg-0000000002.parquet";
    let other_spool = {
        let (dir, ready) = three_ready();
        let bytes = fs::read(ready.join(SECOND)).unwrap();
        drop(dir);
        bytes
    };
    let whole = {
        let (_dir, ready) = three_ready();
        fs::read(ready.join(SECOND)).unwrap()
    };
    let foreign = {
        let rows = rows(0..3);
        let writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), rows.schema(), None);
        let mut writer = writer.unwrap();
        writer.write(&rows).unwrap();
        writer.into_inner().unwrap()
    };
    let mut huge = whole.clone();
    let length = huge.len() - 8;
    huge[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("a foreign Parquet file", foreign, "foreign"),
        ("another spool's file", other_spool, "belongs to the spool"),
        ("an empty file", Vec::new(), "torn"),
        ("a huge footer length", huge, "torn"),
        ("a text", b"hello".to_vec(), "torn"),
        (
            "a footer of nothing",
            b"PAR1\0\0\0\0PAR1".to_vec(),
            "damaged",
        ),
    ];
    for (what, bytes, why) in cases {
        let (dir, ready) = three_ready();
        fs::write(ready.join(SECOND), bytes).unwrap();
        println!("{what}");
        set_aside(dir.path(), SECOND, why, 20);
    }
}

#[test]
fn a_renamed_file_is_set_aside() {
    let (dir, ready) = three_ready();
    fs::rename(
        ready.join("seg-0000000002.parquet"),
        ready.join("seg-0000000007.parquet"),
    )
    .unwrap();
    set_aside(dir.path(), "seg-0000000007.parquet", "does not fit", 20);
}

#[test]
fn a_file_of_an_unknown_format_is_set_aside() {
    let (dir, ready) = three_ready();
    let path = ready.join("seg-0000000002.parquet");
    let mut bytes = fs::read(&path).unwrap();
    let said = b"{\"format\":1,";
    let place = bytes.windows(said.len()).position(|w| w == said).unwrap();
    bytes[place + said.len() - 2] = b'7';
    let sealed = dir.path().join("sealed/seg-0000000002.parquet");
    fs::remove_file(path).unwrap();
    fs::write(sealed, bytes).unwrap();
    set_aside(dir.path(), "seg-0000000002.parquet", "format 7", 20);
}

#[test]
fn a_directory_and_a_symlink_in_a_files_place_are_set_aside() {
    let (dir, ready) = three_ready();
    fs::create_dir(ready.join("seg-0000000008.parquet")).unwrap();
    set_aside(dir.path(), "seg-0000000008.parquet", "foreign", 30);

    let (dir, ready) = three_ready();
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(ready.join("seg-0000000002.parquet"), &elsewhere).unwrap();
    symlink(&elsewhere, ready.join("seg-0000000002.parquet")).unwrap();
    set_aside(dir.path(), "seg-0000000002.parquet", "foreign", 20);
    assert!(elsewhere.exists(), "what it points to is left alone");
}

#[test]
fn strange_things_in_every_room_keep_no_spool_from_opening() {
    let (dir, _) = three_ready();
    let rooms = [
        "open",
        "sealed",
        "batches",
        "sending",
        "rejected",
        "undecodable",
        "doubtful",
        "inbox",
    ];
    let long = "x".repeat(200);
    for directory in rooms {
        let directory = dir.path().join(directory);
        for name in iter::once(long.as_str()).chain([
            "notes.txt",
            "seg-0000000099.parquet",
            "und-0000000098.parquet",
            "seg-0000000099.parquet.part",
        ]) {
            fs::write(directory.join(name), "strange").unwrap();
        }
        fs::create_dir(directory.join("batch-1.parquet")).unwrap();
        symlink("/nowhere", directory.join("seg-0000000097.parquet")).unwrap();
    }
    for _ in 0..2 {
        let outlet = Outlet::new(Spool::open(dir.path()).unwrap());
        let batch = outlet.next(&pack()).unwrap().unwrap();
        assert_eq!(batch.footer.rows, 30);
    }
}
