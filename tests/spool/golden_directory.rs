//! Does a spool that an earlier version left behind still open, and to the same
//! state? Each of `tests/golden/format-N` holds one of everything; what has to come
//! out of it is listed beside it. Neither ever changes again, and that is tested, too.
//! What is sent of it is the question of `golden_spool_drains.rs`.
//!
//! For a new format `SPOOLHOUSE_WRITE_GOLDEN=1` writes the next one, and begins its
//! list with the files' hashes. The rest of the list is written by hand: what has to
//! come out is a decision, not what happened to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use spoolhouse::ingest::decode::anonymize::mask;
use spoolhouse::spool::disk::LocalDisk;
use spoolhouse::spool::format::digest;
use spoolhouse::spool::format::footer::FORMAT;
use spoolhouse::spool::format::segment::OpenSegment;
use spoolhouse::spool::format::undecodable::Message;
use spoolhouse::spool::intake::Gap;
use spoolhouse::spool::layout::{Layout, Name};
use spoolhouse::spool::outlet::{Batch, PackOptions, Rejection};
use spoolhouse::spool::read_only::verify::{Options, verify};
use spoolhouse::spool::{Intake, Outlet, Spool};

use crate::support::golden::{self, Golden, files_below};
use crate::support::segments::{count_ids, names_in, open_segment, source};

const ROOMS: [&str; 9] = [
    "batches",
    "doubtful",
    "inbox",
    "open",
    "ready",
    "rejected",
    "sealed",
    "sending",
    "undecodable",
];

/// Every file of every room, with the ids of those that hold records.
fn listing(spool: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for directory in ROOMS {
        for name in names_in(spool, directory) {
            let mut line = format!("{directory}/{name}");
            let is_rows = name.ends_with(".parquet") && !name.starts_with("und-");
            if is_rows && Name::parse(&name).is_some() && directory != "doubtful" {
                let mut ids = Default::default();
                count_ids(
                    &fs::read(spool.join(directory).join(&name)).unwrap(),
                    &mut ids,
                );
                let (first, last) = (ids.keys().next().unwrap(), ids.keys().last().unwrap());
                assert_eq!(ids.len() as u64, last + 1 - first, "{line}");
                line += &format!(" ids {first} to {last}");
            }
            lines.push(line);
        }
    }
    lines
}

/// A copy of a golden spool.
fn copy(golden: &Golden) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    golden.copy_to(dir.path());
    dir
}

#[test]
fn every_golden_spool_opens_to_the_listed_state() {
    for golden in golden::all() {
        let dir = copy(&golden);
        let intake = Intake::new(Spool::open(dir.path()).unwrap());
        let expected = &golden.list.opened;
        assert_eq!(listing(dir.path()), expected.files, "{:?}", golden.dir);
        for (&partition, &position) in &expected.positions {
            assert_eq!(intake.position(&source(), partition), Some(position));
        }
        let sealed: Vec<u64> = intake.sealed().unwrap().iter().map(|s| s.segment).collect();
        assert_eq!(sealed, expected.sealed);
        let state = fs::read_to_string(dir.path().join("spool.json")).unwrap();
        let next = format!("\"next_segment\": {}", expected.next_segment);
        assert!(state.contains(&next), "{state}");
    }
}

#[test]
fn every_golden_spool_has_the_listed_faults_and_notes() {
    for golden in golden::all() {
        let options = Options {
            is_masked: &|address| mask(address.as_bytes()).as_str() == address,
            progress: &mut |_, _| {},
            pause: &|| std::thread::sleep(Duration::from_millis(20)),
        };
        let report = verify(&LocalDisk, &Layout::new(&golden.dir), options).unwrap();
        assert!(report.state.is_none(), "{:?}", report.state);
        let found: BTreeMap<String, String> = report
            .files
            .iter()
            .flat_map(|file| {
                let path = format!("{}/{}", file.file.0.name(), file.file.1);
                let first = |what: &str| what.split(':').next().unwrap().to_owned();
                let faults = file.faults.iter();
                faults.map(move |fault| (path.clone(), first(&fault.what)))
            })
            .collect();
        assert_eq!(found, golden.list.verified.faults, "{:?}", golden.dir);
        assert_eq!(report.faults(), found.len());
        let notes: Vec<&str> = report.notes.iter().map(|note| note.file.as_str()).collect();
        assert_eq!(notes, golden.list.verified.notes, "{:?}", golden.dir);
    }
}

#[test]
fn a_golden_spool_never_changes() {
    for golden in golden::all() {
        let listed: BTreeSet<String> = golden.list.files.keys().cloned().collect();
        assert_eq!(golden.files(), listed, "{:?}", golden.dir);
        for (file, expected) in &golden.list.files {
            let found = sha256(&golden.dir.join(file));
            assert_eq!(found, *expected, "{:?}: {file} was changed", golden.dir);
        }
    }
}

#[test]
fn the_format_that_is_written_has_a_golden_spool() {
    assert_eq!(golden::newest().format, FORMAT);
}

#[test]
fn every_golden_file_still_holds_its_digest() {
    for golden in golden::all() {
        for file in golden.files() {
            let (directory, name) = file.split_once('/').unwrap_or(("", &file));
            let is_damaged = golden.list.verified.faults.contains_key(&file);
            if is_damaged || directory == "open" {
                continue;
            }
            let bytes = fs::read(golden.dir.join(&file)).unwrap();
            match Name::parse(name) {
                Some(Name::Batch { digest: name, .. }) => assert_eq!(digest::of(&bytes), name),
                Some(_) => digest::check(&bytes).unwrap_or_else(|e| panic!("{file}: {e}")),
                None => {}
            }
        }
    }
}

#[test]
fn a_batch_in_the_golden_sending_goes_first() {
    for golden in golden::all() {
        let dir = copy(&golden);
        let outlet = Outlet::new(Spool::open(dir.path()).unwrap());
        let sending = names_in(&golden.dir, "sending");
        let batch = outlet.next(&pack(1 << 20)).unwrap().unwrap();
        assert_eq!([batch.name()], sending[..]);
        assert!(batch.fate_unknown);
    }
}

/// What [`write`] makes is still what the newest golden spool has, so that the next
/// one can be written when it is needed.
#[test]
fn the_writer_of_golden_spools_writes_one_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    // A batch's name holds the digest of what the encoder of its day made.
    let number_alone = |file: String| match file.split_once("/batch-") {
        Some((directory, name)) => format!("{directory}/batch-{}{}", &name[..10], &name[75..]),
        None => file,
    };
    let written = files_below(dir.path()).into_iter().map(number_alone);
    let frozen = golden::newest().files().into_iter().map(number_alone);
    assert_eq!(
        written.collect::<Vec<String>>(),
        frozen.collect::<Vec<String>>()
    );
}

#[test]
fn writes_a_golden_directory_when_asked() {
    if std::env::var_os("SPOOLHOUSE_WRITE_GOLDEN").is_none() {
        return;
    }
    let root = golden::directory().join(format!("format-{FORMAT}"));
    assert!(
        !root.exists(),
        "{root:?} is frozen: a new format comes first"
    );
    fs::create_dir(&root).unwrap();
    write(&root);
    let mut list = "[files]\n".to_owned();
    for file in files_below(&root) {
        list += &format!("{file:?} = {:?}\n", sha256(&root.join(&file)));
    }
    fs::write(root.with_extension("toml"), list).unwrap();
}

fn sha256(file: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(file).unwrap()))
}

fn pack(bytes_max: u64) -> PackOptions {
    PackOptions {
        bytes_max,
        settings: [("async_insert".to_owned(), "0".to_owned())].into(),
        ..PackOptions::default()
    }
}

fn write(root: &Path) {
    let spool = Spool::open(root).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    intake
        .record_positions(&source(), &[(0, 0)].into())
        .unwrap();
    let batch = |start: i64| -> Batch {
        ready(&intake, open_segment(start..start + 10));
        outlet.next(&pack(1 << 20)).unwrap().unwrap()
    };
    // Segments 1 to 3 become batches: rejected, in sending/, and frozen.
    let rejected = batch(0);
    let why = Rejection {
        time: "2026-01-02T03:04:05Z".into(),
        code: Some(27),
        message: "Cannot parse input".into(),
        query_id: "spoolhouse-example".into(),
        attempts: 3,
    };
    outlet.reject(&rejected, &why).unwrap();
    let mut sending = batch(10);
    let hidden = root.join("doubtful").join("hidden");
    outlet.begin(&mut sending).unwrap();
    fs::rename(root.join("sending").join(sending.name()), &hidden).unwrap();
    let frozen = batch(20);
    // Hidden for a moment, or it would go next.
    let frozen_at = root.join("batches").join(frozen.name());
    let aside = root.join("doubtful").join("aside");
    fs::rename(&frozen_at, &aside).unwrap();

    // Segment 4 is larger than a request: its first rows are a batch whose
    // packing was cut short before the source was unlinked.
    ready(&intake, open_segment(30..40));
    let whole = root.join("ready/seg-0000000004.parquet");
    let source_bytes = fs::read(&whole).unwrap();
    let half = outlet
        .next(&pack(frozen.bytes.len() as u64 - 60))
        .unwrap()
        .unwrap();
    assert!(half.footer.rows < 10, "{}", half.footer.rows);
    fs::remove_file(root.join("ready").join(&names_in(root, "ready")[0])).unwrap();
    fs::write(&whole, source_bytes).unwrap();
    fs::rename(&aside, &frozen_at).unwrap();
    fs::rename(&hidden, root.join("sending").join(sending.name())).unwrap();

    ready(&intake, open_segment(40..50)); // 5 waits
    ready(&intake, open_segment(50..60)); // 6 waits and is torn
    let torn = root.join("ready/seg-0000000006.parquet");
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..bytes.len() - 3]).unwrap();
    // 7 is sealed with an undecodable message, and not committed.
    let mut segment = open_segment(60..69);
    keep(&mut segment, 69);
    let finished = intake.finish(segment, &source()).unwrap();
    intake.seal(&finished).unwrap();
    // 8 was about to be sealed: its undecodable messages are published, it is a draft.
    let mut segment = open_segment(70..79);
    keep(&mut segment, 79);
    let finished = intake.finish(segment, &source()).unwrap();
    fs::write(
        root.join("undecodable/und-0000000008.parquet"),
        finished.undecodable.unwrap(),
    )
    .unwrap();
    let half = &finished.bytes[..finished.bytes.len() / 2];
    fs::write(root.join("open/seg-0000000008.parquet.part"), half).unwrap();
    let gap = Gap {
        time: "2026-01-02T03:04:05Z".into(),
        source: source(),
        partition: 1,
        from: 100,
        to: 250,
    };
    intake.record_gap(&gap).unwrap();
    outlet.pace_file().replace(b"{}\n").unwrap();
    fs::write(root.join("doubtful/notes.txt"), "set aside earlier\n").unwrap();
    fs::write(root.join("ready/foreign.txt"), "no spool file\n").unwrap();
    fs::write(root.join("inbox/.keep"), "").unwrap();
    // What spool.json said before 7 was noted, as a crash would leave it.
    let state = fs::read_to_string(root.join("spool.json")).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&state).unwrap();
    state["next_segment"] = 7.into();
    state["sources"][0]["positions"]["0"] = 60.into();
    fs::write(
        root.join("spool.json"),
        serde_json::to_string_pretty(&state).unwrap() + "\n",
    )
    .unwrap();
}

fn ready(intake: &Intake, segment: OpenSegment) {
    let finished = intake.finish(segment, &source()).unwrap();
    intake.seal(&finished).unwrap();
    intake.ready(&finished.footer).unwrap();
}

fn keep(segment: &mut OpenSegment, offset: i64) {
    segment.keep_undecodable(Message {
        partition: 0,
        offset,
        error: "the message ends early".into(),
        bytes: Bytes::from_static(b"\0\x01\x02"),
    });
    segment.cover(0, offset, offset + 1);
}
