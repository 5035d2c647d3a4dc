//! Does a verification find each fault that was planted, and nothing else?

mod planted;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use planted::Planter;
use spoolhouse::ingest::decode::anonymize::mask;
use spoolhouse::spool::disk::LocalDisk;
use spoolhouse::spool::format::footer::{SegmentFooter, UndecodableFooter};
use spoolhouse::spool::format::segment::OpenSegment;
use spoolhouse::spool::format::undecodable::{self, Kept, Message};
use spoolhouse::spool::layout::Layout;
use spoolhouse::spool::outlet::{PackOptions, Rejection};
use spoolhouse::spool::read_only::verify::{Options, Report, verify};
use spoolhouse::spool::{Intake, Outlet, Spool};

use crate::support::golden;
use crate::support::segments::{names_in, open_segment, source};

fn look(root: &Path) -> Report {
    let options = Options {
        is_masked: &|address| mask(address.as_bytes()).as_str() == address,
        progress: &mut |read, total| assert!(read <= total),
        pause: &|| std::thread::sleep(Duration::from_millis(20)),
    };
    verify(&LocalDisk, &Layout::new(root), options).unwrap()
}

/// Every fault as file and text.
fn faults(report: &Report) -> Vec<(String, String)> {
    let in_file = |file: &spoolhouse::spool::read_only::verify::FileReport| {
        let path = format!("{}/{}", file.file.0.name(), file.file.1);
        let faults = file.faults.iter();
        faults
            .map(|fault| (path.clone(), fault.what.clone()))
            .collect::<Vec<_>>()
    };
    report.files.iter().flat_map(in_file).collect()
}

fn pack(bytes_max: u64) -> PackOptions {
    PackOptions {
        bytes_max,
        settings: BTreeMap::new(),
        ..PackOptions::default()
    }
}

fn ready(intake: &Intake, segment: OpenSegment) -> SegmentFooter {
    let finished = intake.finish(segment, &source()).unwrap();
    intake.seal(&finished).unwrap();
    intake.ready(&finished.footer).unwrap();
    finished.footer
}

fn message(offset: i64) -> Message {
    Message {
        partition: 0,
        offset,
        error: "the message is empty".into(),
        bytes: Bytes::from_static(b"raw 1.2.3.4"),
    }
}

/// A spool with one of everything that is right, at rest.
fn sound_spool(root: &Path) -> (Intake, Outlet) {
    let spool = Spool::open(root).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    ready(&intake, open_segment(0..10));
    let rejected = outlet.next(&pack(1 << 20)).unwrap().unwrap();
    outlet.reject(&rejected, &Rejection::default()).unwrap();
    // A batch that was split, its parts split again in part, and what is left of a segment.
    ready(&intake, open_segment(10..1_010));
    let whole = outlet.next(&pack(20_000)).unwrap().unwrap();
    outlet.split(&whole, 9_000).unwrap();
    let part = outlet.next(&pack(9_000)).unwrap().unwrap();
    outlet.split(&part, 4_000).unwrap();
    // A hole between 1,010 and 2,000.
    ready(&intake, open_segment(2_000..2_010));
    let mut sealed = open_segment(2_010..2_019);
    sealed.keep_undecodable(message(2_019));
    sealed.cover(0, 2_019, 2_020);
    let sealed = intake.finish(sealed, &source()).unwrap();
    intake.seal(&sealed).unwrap();
    fs::write(root.join("open/seg-0000000099.parquet.part"), "half").unwrap();
    fs::write(root.join("doubtful/seg-0000000050.parquet"), "torn").unwrap();
    fs::write(root.join("doubtful/seg-0000000050.reason.json"), "{}").unwrap();
    fs::write(root.join("undecodable/dropped.jsonl"), "{}\n").unwrap();
    fs::write(root.join("inbox/request"), "").unwrap();
    (intake, outlet)
}

#[test]
fn a_sound_spool_has_no_fault_and_nothing_to_note() {
    let dir = tempfile::tempdir().unwrap();
    let _owner = sound_spool(dir.path());
    let report = look(dir.path());
    assert_eq!(faults(&report), []);
    assert_eq!(report.notes, []);
    let of_files = serde_json::to_value(&report.files).unwrap();
    let sealed = of_files
        .as_array()
        .unwrap()
        .iter()
        .find(|file| file["file"] == "sealed/seg-0000000004.parquet")
        .unwrap();
    assert_eq!(sealed["rows"], 9);
    assert_eq!(sealed["offsets"]["0"][0][1], 2_020);
}

#[test]
fn the_golden_spool_has_the_faults_that_were_put_there() {
    let report = look(&golden::newest().dir);
    let found = faults(&report);
    let files: Vec<&str> = found.iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!(files, ["ready/foreign.txt", "ready/seg-0000000006.parquet"]);
    assert!(found[1].1.starts_with("torn"), "{}", found[1].1);
    let notes: Vec<&str> = report.notes.iter().map(|note| note.file.as_str()).collect();
    let expected = [
        "ready/seg-0000000004.parquet",
        "undecodable/und-0000000008.parquet",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn finds_each_planted_fault_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, outlet) = sound_spool(dir.path());
    let spool = intake.spool_id();
    drop((intake, outlet));
    // What is planted has numbers that the spool has used.
    let state = dir.path().join("spool.json");
    let mut content: serde_json::Value =
        serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    content["next_segment"] = 1_000.into();
    fs::write(&state, content.to_string()).unwrap();

    let plant = Planter::plant_all(dir.path(), spool);
    let report = look(dir.path());
    let mut found = faults(&report);
    for (file, what) in &plant.expected {
        let place = found
            .iter()
            .position(|(found, fault)| found == file && fault.contains(what));
        let place = place.unwrap_or_else(|| panic!("{file}: {what}: not in {found:#?}"));
        found.remove(place);
    }
    assert_eq!(found, [], "more than was planted");
    assert_eq!(report.faults(), plant.expected.len());
    assert_eq!(report.notes, []);
}

#[test]
fn a_spool_json_that_is_damaged_or_missing_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    drop(sound_spool(dir.path()));
    fs::write(dir.path().join("spool.json"), "{").unwrap();
    let report = look(dir.path());
    assert_eq!((report.faults(), report.spool), (1, None));
    fs::remove_file(dir.path().join("spool.json")).unwrap();
    assert_eq!(look(dir.path()).faults(), 1);
}

#[test]
fn what_a_start_clears_up_is_noted_and_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (intake, outlet) = sound_spool(root);
    // Moved, but still under its old name.
    fs::copy(
        root.join("ready/seg-0000000003.parquet"),
        root.join("sealed/seg-0000000003.parquet"),
    )
    .unwrap();
    // Packed, but the source is still there.
    let footer = ready(&intake, open_segment(3_000..3_010));
    let packed = format!("ready/seg-{:010}.parquet", footer.segment);
    let bytes = fs::read(root.join(&packed)).unwrap();
    for name in names_in(root, "batches") {
        fs::remove_file(root.join("batches").join(name)).unwrap();
    }
    outlet.next(&pack(1 << 20)).unwrap().unwrap();
    fs::write(root.join(&packed), bytes).unwrap();
    // Published, but its segment never was.
    let orphan = Kept::from(&message(1));
    let footer = UndecodableFooter {
        spool: intake.spool_id(),
        segment: 90,
        rows: 0,
        source: source(),
        kept_at: 0,
        dropped: 0,
    };
    let orphan = undecodable::encode(&[orphan], &footer).unwrap();
    fs::write(root.join("undecodable/und-0000000090.parquet"), orphan).unwrap();
    drop((intake, outlet));

    let report = look(root);
    assert_eq!(faults(&report), []);
    let noted: Vec<&str> = report.notes.iter().map(|note| note.file.as_str()).collect();
    assert!(noted.contains(&packed.as_str()), "{noted:?}");
    assert!(
        noted.contains(&"sealed/seg-0000000003.parquet"),
        "{noted:?}"
    );
    assert!(
        noted.contains(&"undecodable/und-0000000090.parquet"),
        "{noted:?}"
    );

    drop(Spool::open(root).unwrap());
    let report = look(root);
    assert_eq!((faults(&report), report.notes), (vec![], vec![]));
}

#[test]
fn a_spool_at_work_is_verified_without_a_false_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let root = dir.path().to_owned();
    let spool = Spool::open(&root).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    let ended = stop.clone();
    let sealing = std::thread::spawn(move || {
        let mut offset = 0;
        while !ended.load(Ordering::Relaxed) {
            let mut segment = open_segment(offset..offset + 50);
            segment.keep_undecodable(message(offset + 50));
            segment.cover(0, offset + 50, offset + 51);
            ready(&intake, segment);
            offset += 51;
        }
    });
    let ended = stop.clone();
    let sending = std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            if let Some(mut batch) = outlet.next(&pack(6_000)).unwrap() {
                outlet.begin(&mut batch).unwrap();
                outlet.stored(&batch).unwrap();
            }
        }
    });
    for _ in 0..8 {
        let report = look(&root);
        let (faults, notes) = (faults(&report), report.notes);
        if !faults.is_empty() || !notes.is_empty() {
            stop.store(true, Ordering::Relaxed);
            panic!("{faults:#?} {notes:#?}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    sealing.join().unwrap();
    sending.join().unwrap();
}
