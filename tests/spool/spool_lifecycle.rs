//! Does a segment's way through the spool hold what the layout promises?

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use arrow_array::UInt32Array;
use bytes::Bytes;
use spoolhouse::spool::format::encoding::Encoding;
use spoolhouse::spool::format::segment::OpenSegment;
use spoolhouse::spool::format::undecodable::Message;
use spoolhouse::spool::outlet::{PackOptions, Rejection};
use spoolhouse::spool::start::OpenError;
use spoolhouse::spool::{Intake, Outlet, Spool};

use crate::support::segments::{count_ids, ids_in, names_in, open_segment, source};

fn pack(bytes_max: u64) -> PackOptions {
    PackOptions {
        bytes_max,
        settings: [("async_insert".to_owned(), "0".to_owned())].into(),
        ..PackOptions::default()
    }
}

fn seal(intake: &Intake, offsets: std::ops::Range<i64>) {
    let finished = intake.finish(open_segment(offsets), &source()).unwrap();
    intake.seal(&finished).unwrap();
    intake.ready(&finished.footer).unwrap();
}

#[test]
fn a_segment_is_sealed_before_it_is_ready_and_its_position_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let intake = Intake::new(Spool::open(dir.path()).unwrap());
    let finished = intake.finish(open_segment(0..100), &source()).unwrap();
    intake.seal(&finished).unwrap();
    assert_eq!(names_in(dir.path(), "sealed"), ["seg-0000000001.parquet"]);
    assert_eq!(intake.position(&source(), 0), Some(100));
    intake.ready(&finished.footer).unwrap();
    assert!(names_in(dir.path(), "sealed").is_empty());
    assert_eq!(names_in(dir.path(), "ready"), ["seg-0000000001.parquet"]);
    drop(intake);
    let intake = Intake::new(Spool::open(dir.path()).unwrap());
    assert_eq!(intake.position(&source(), 0), Some(100));
}

#[test]
fn small_segments_are_merged_and_the_rest_of_the_last_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    for start in 0..10 {
        seal(&intake, start * 500..(start + 1) * 500);
    }
    let options = pack(20_000);
    let mut stored = BTreeMap::new();
    let mut batches = 0;
    while let Some(mut batch) = outlet.next(&options).unwrap() {
        assert!(batch.bytes.len() <= 20_000);
        outlet.begin(&mut batch).unwrap();
        assert_eq!(names_in(dir.path(), "sending"), [batch.name()]);
        count_ids(&batch.bytes, &mut stored);
        outlet.stored(&batch).unwrap();
        batches += 1;
    }
    assert!(batches > 2, "{batches} batches");
    assert_eq!(stored.len(), 5_000);
    assert!(stored.values().all(|times| *times == 1));
    assert!(ids_in(dir.path(), &["ready", "batches", "sending"]).is_empty());
}

#[test]
fn rows_that_compress_to_nothing_are_packed_within_bounded_memory() {
    const SEGMENTS: i64 = 30;
    const ROWS: usize = 10_000;
    const BYTES_MAX: u64 = 8_000;
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    for segment in 0..SEGMENTS {
        let one = crate::support::segments::rows(segment..segment + 1);
        let same = UInt32Array::from(vec![0; ROWS]);
        let rows = arrow_select::take::take_record_batch(&one, &same).unwrap();
        let mut open = OpenSegment::new().unwrap();
        open.write(&rows).unwrap();
        open.cover(0, segment, segment + 1);
        let finished = intake.finish(open, &source()).unwrap();
        intake.seal(&finished).unwrap();
        intake.ready(&finished.footer).unwrap();
    }
    let mut packed = 0;
    while let Some(batch) = outlet.next(&pack(BYTES_MAX)).unwrap() {
        // At least 60 bytes a row; the last segment may reach past the limit.
        let memory = batch.footer.rows * 60;
        assert!(memory <= BYTES_MAX * 32 + ROWS as u64 * 200, "{memory}");
        packed += batch.footer.rows;
        outlet.stored(&batch).unwrap();
    }
    assert_eq!(packed, SEGMENTS as u64 * ROWS as u64);
}

#[test]
fn a_batch_found_in_sending_goes_first_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    seal(&intake, 0..100);
    let mut batch = outlet.next(&pack(1 << 20)).unwrap().unwrap();
    assert!(!batch.fate_unknown);
    outlet.begin(&mut batch).unwrap();
    drop((intake, outlet));

    let spool = Spool::open(dir.path()).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    seal(&intake, 100..200);
    let again = outlet.next(&pack(500)).unwrap().unwrap();
    assert!(again.fate_unknown);
    assert_eq!((again.digest, again.bytes), (batch.digest, batch.bytes));
}

#[test]
fn a_split_batch_holds_every_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    seal(&intake, 0..3_000);
    let mut whole = outlet.next(&pack(1 << 20)).unwrap().unwrap();
    outlet.begin(&mut whole).unwrap();
    outlet.split(&whole, 20_000).unwrap();
    assert!(names_in(dir.path(), "sending").is_empty());
    assert!(names_in(dir.path(), "batches").len() > 1);
    let ids = ids_in(dir.path(), &["batches"]);
    assert_eq!((ids.len(), ids.values().max()), (3_000, Some(&1)));
}

#[test]
fn a_refused_batch_is_packed_anew_in_the_encoding_that_is_configured_then() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let spool = Spool::open(dir.path()).unwrap();
        (Intake::new(spool.clone()), Outlet::new(spool))
    };
    let (intake, outlet) = open();
    seal(&intake, 0..3_000);
    let mut compact = outlet.next(&pack(50_000)).unwrap().unwrap();
    outlet.begin(&mut compact).unwrap();
    outlet.recall(&mut compact).unwrap();
    assert!(names_in(dir.path(), "sending").is_empty());
    drop((intake, outlet));

    let (_intake, outlet) = open();
    let compatible = PackOptions {
        encoding: Encoding::Compatible,
        ..pack(50_000)
    };
    let mut stored = BTreeMap::new();
    let mut parts = 0;
    while let Some(mut batch) = outlet.next(&compatible).unwrap() {
        assert_eq!(batch.footer.encoding, Encoding::Compatible);
        assert!(batch.bytes.len() <= 50_000);
        parts += usize::from(batch.footer.split_from.as_ref() == Some(&compact.digest));
        outlet.begin(&mut batch).unwrap();
        count_ids(&batch.bytes, &mut stored);
        outlet.stored(&batch).unwrap();
    }
    assert!(parts >= 2, "{parts}");
    assert_eq!((stored.len(), stored.values().max()), (3_000, Some(&1)));
}

#[test]
fn a_batch_of_unknown_fate_is_never_packed_anew() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    seal(&intake, 0..100);
    let mut batch = outlet.next(&pack(1 << 20)).unwrap().unwrap();
    outlet.begin(&mut batch).unwrap();
    drop((intake, outlet));

    let outlet = Outlet::new(Spool::open(dir.path()).unwrap());
    let compatible = PackOptions {
        encoding: Encoding::Compatible,
        ..pack(1 << 20)
    };
    let again = outlet.next(&compatible).unwrap().unwrap();
    assert_eq!((again.digest, again.bytes), (batch.digest, batch.bytes));
}

#[test]
fn a_row_that_fits_into_no_request_is_rejected_and_the_next_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    seal(&intake, 0..3);
    assert!(outlet.next(&pack(100)).unwrap().is_none());
    assert_eq!(ids_in(dir.path(), &["rejected"]).len(), 3);
    assert_eq!(
        names_in(dir.path(), "rejected").len(),
        6,
        "each with its .error.json"
    );
}

#[test]
fn a_rejected_batch_keeps_its_bytes_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    seal(&intake, 0..10);
    let batch = outlet.next(&pack(1 << 20)).unwrap().unwrap();
    let why = Rejection {
        code: Some(27),
        message: "can't parse".into(),
        ..Rejection::default()
    };
    outlet.reject(&batch, &why).unwrap();
    let [sidecar, file] = &names_in(dir.path(), "rejected")[..] else {
        panic!("expected a batch and its sidecar");
    };
    assert_eq!(*file, batch.name());
    let text = std::fs::read_to_string(dir.path().join("rejected").join(sidecar)).unwrap();
    assert!(text.contains("can't parse"), "{text}");
}

#[test]
fn undecodable_messages_are_private_and_a_window_of_only_those_is_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let intake = Intake::new(Spool::open(dir.path()).unwrap());
    let mut segment = spoolhouse::spool::format::segment::OpenSegment::new().unwrap();
    segment.keep_undecodable(Message {
        partition: 3,
        offset: 7,
        error: "no message".into(),
        bytes: Bytes::from_static(b"raw 1.2.3.4"),
    });
    segment.cover(3, 7, 8);
    let finished = intake.finish(segment, &source()).unwrap();
    intake.seal(&finished).unwrap();
    assert_eq!(finished.footer.rows, 0);
    assert_eq!(names_in(dir.path(), "sealed"), ["seg-0000000001.parquet"]);
    let path = dir.path().join("undecodable/und-0000000001.parquet");
    assert_eq!(
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    intake.ready(&finished.footer).unwrap();
    assert!(names_in(dir.path(), "ready").is_empty(), "nothing to send");
    assert_eq!(
        names_in(dir.path(), "undecodable"),
        ["und-0000000001.parquet"]
    );
}

#[test]
fn a_second_process_is_refused_with_the_owners_pid() {
    let dir = tempfile::tempdir().unwrap();
    let _owner = Spool::open(dir.path()).unwrap();
    let error = Spool::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Lock { .. }));
    assert!(
        error.to_string().contains(&std::process::id().to_string()),
        "{error}"
    );
}

#[test]
fn a_spool_of_an_unknown_format_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("spool.json"), r#"{"format": 2}"#).unwrap();
    let error = Spool::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("format 2"), "{error}");
}

#[test]
fn files_without_their_spool_json_are_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let intake = Intake::new(Spool::open(dir.path()).unwrap());
    seal(&intake, 0..10);
    drop(intake);
    std::fs::remove_file(dir.path().join("spool.json")).unwrap();
    let error = Spool::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::NoState(_)), "{error}");
    assert_eq!(names_in(dir.path(), "ready").len(), 1);
}

#[test]
fn a_bad_file_is_set_aside_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let intake = Intake::new(Spool::open(dir.path()).unwrap());
    for start in 0..3 {
        seal(&intake, start * 10..(start + 1) * 10);
    }
    drop(intake);
    let ready = dir.path().join("ready");
    let torn = ready.join("seg-0000000001.parquet");
    let whole = std::fs::read(&torn).unwrap();
    std::fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
    let flipped = ready.join("seg-0000000002.parquet");
    let mut bytes = std::fs::read(&flipped).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&flipped, bytes).unwrap();
    std::fs::write(ready.join("notes.txt"), "mine").unwrap();
    std::fs::create_dir(ready.join("seg-0000000009.parquet")).unwrap();

    let outlet = Outlet::new(Spool::open(dir.path()).unwrap());
    let batch = outlet.next(&pack(1 << 20)).unwrap().unwrap();
    assert_eq!(batch.footer.rows, 10);
    let aside = names_in(dir.path(), "doubtful");
    for name in ["seg-0000000001", "seg-0000000002", "seg-0000000009"] {
        assert!(aside.contains(&format!("{name}.parquet")), "{aside:?}");
        assert!(aside.contains(&format!("{name}.reason.json")), "{aside:?}");
    }
    assert!(aside.contains(&"notes.txt".to_owned()), "{aside:?}");
}

#[test]
fn other_settings_freeze_anew_what_was_refused_and_nothing_that_may_be_stored() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let spool = Spool::open(dir.path()).unwrap();
        (Intake::new(spool.clone()), Outlet::new(spool))
    };
    let (before, after) = (
        pack(1 << 20),
        PackOptions {
            settings: [("async_insert".to_owned(), "1".to_owned())].into(),
            ..pack(1 << 20)
        },
    );
    let (intake, outlet) = open();
    seal(&intake, 0..500);
    let mut refused = outlet.next(&before).unwrap().unwrap();
    outlet.begin(&mut refused).unwrap();
    outlet.recall(&mut refused).unwrap();
    assert_eq!(names_in(dir.path(), "batches"), [refused.name()]);
    drop((intake, outlet));

    let (intake, outlet) = open();
    let mut anew = outlet.next(&after).unwrap().unwrap();
    assert_eq!(anew.footer.settings, after.settings);
    assert_ne!(
        anew.digest, refused.digest,
        "another file has another token"
    );
    assert_eq!(names_in(dir.path(), "batches"), [anew.name()]);
    let mut ids = BTreeMap::new();
    count_ids(&anew.bytes, &mut ids);
    assert!(ids.len() == 500 && ids.values().all(|times| *times == 1));
    outlet.begin(&mut anew).unwrap();
    drop((intake, outlet));

    let (_, outlet) = open();
    let posted = outlet.next(&before).unwrap().unwrap();
    assert_eq!(posted.digest, anew.digest, "its fate is unknown");
    assert!(posted.fate_unknown);
}
