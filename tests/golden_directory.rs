//! Does a spool that an earlier version left behind still open, and to the same
//! state? `tests/golden/spool` holds one of everything, frozen when format 1
//! was; it is only ever added to.
//!
//! `SPOOLHOUSE_WRITE_GOLDEN=1` writes a new one (for a new format: keep the old).

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use spoolhouse::spool::intake::Gap;
use spoolhouse::spool::layout::Name;
use spoolhouse::spool::outlet::{Batch, PackOptions, Rejection};
use spoolhouse::spool::segment::OpenSegment;
use spoolhouse::spool::undecodable::Message;
use spoolhouse::spool::{Intake, Outlet, Spool, digest};
use support::{count_ids, names_in, open_segment, source};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The segment that was cut off on purpose.
const TORN: u64 = 6;

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

/// Every file of every room, with the rows of those that hold records.
fn listing(spool: &Path) -> String {
    let mut lines = String::new();
    for room in ROOMS {
        for name in names_in(spool, room) {
            let mut line = format!("{room}/{name}");
            let is_rows = name.ends_with(".parquet") && !name.starts_with("und-");
            if is_rows && Name::parse(&name).is_some() && room != "doubtful" {
                let mut ids = Default::default();
                count_ids(&fs::read(spool.join(room).join(&name)).unwrap(), &mut ids);
                let (first, last) = (ids.keys().next().unwrap(), ids.keys().last().unwrap());
                line += &format!(" rows {} ids {first} to {last}", ids.len());
            }
            lines += &line;
            lines.push('\n');
        }
    }
    lines
}

#[test]
fn the_golden_directory_recovers_to_the_listed_state() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden().join("spool"), dir.path());
    let intake = Intake::new(Spool::open(dir.path()).unwrap());
    let expected = fs::read_to_string(golden().join("recovered.txt")).unwrap();
    assert_eq!(listing(dir.path()), expected);
    assert_eq!(intake.position(&source(), 0), Some(70));
    let sealed: Vec<u64> = intake.sealed().unwrap().iter().map(|s| s.segment).collect();
    assert_eq!(sealed, [7]);
    let state = fs::read_to_string(dir.path().join("spool.json")).unwrap();
    assert!(state.contains("\"next_segment\": 9"), "{state}");
}

#[test]
fn every_golden_file_still_holds_its_digest() {
    for room in ROOMS {
        for entry in fs::read_dir(golden().join("spool").join(room))
            .into_iter()
            .flatten()
        {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            match Name::parse(path.file_name().unwrap().to_str().unwrap()) {
                Some(Name::Batch { digest: name, .. }) => assert_eq!(digest::of(&bytes), name),
                Some(name) if name == Name::segment(TORN) => {}
                Some(_) => digest::check(&bytes).unwrap_or_else(|e| panic!("{path:?}: {e}")),
                None => {}
            }
        }
    }
}

#[test]
fn a_batch_in_the_golden_sending_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden().join("spool"), dir.path());
    let outlet = Outlet::new(Spool::open(dir.path()).unwrap());
    let sending = names_in(&golden().join("spool"), "sending");
    let batch = outlet.next(&pack(1 << 20)).unwrap().unwrap();
    assert_eq!([batch.name()], sending[..]);
    assert!(batch.fate_unknown);
}

fn pack(bytes_max: u64) -> PackOptions {
    PackOptions {
        bytes_max,
        settings: [("async_insert".to_owned(), "0".to_owned())].into(),
        ..PackOptions::default()
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn writes_a_golden_directory_when_asked() {
    if std::env::var_os("SPOOLHOUSE_WRITE_GOLDEN").is_none() {
        return;
    }
    let root = golden().join("spool");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    write(&root);
    let dir = tempfile::tempdir().unwrap();
    copy(&root, dir.path());
    drop(Spool::open(dir.path()).unwrap());
    fs::write(golden().join("recovered.txt"), listing(dir.path())).unwrap();
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
