//! Does a verification find each fault that was planted, and nothing else?

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::{RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use spoolhouse::ingest::decode::anonymize::mask;
use spoolhouse::spool::disk::LocalDisk;
use spoolhouse::spool::format::batch::recipe::{Recipe, Strength};
use spoolhouse::spool::format::encoding::Encoding;
use spoolhouse::spool::format::footer::{
    BatchFooter, Cover, Footer, OffsetRange, SegmentFooter, UndecodableFooter, close,
};
use spoolhouse::spool::format::segment::OpenSegment;
use spoolhouse::spool::format::undecodable::{self, Kept, Message};
use spoolhouse::spool::format::{batch, digest, segment};
use spoolhouse::spool::layout::Layout;
use spoolhouse::spool::outlet::{PackOptions, Rejection};
use spoolhouse::spool::read_only::verify::{Options, Report, verify};
use spoolhouse::spool::{Intake, Outlet, Spool};
use uuid::Uuid;

use crate::support::golden;
use crate::support::segments::{names_in, open_segment, rows, source};

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

/// Plants faults and remembers what must be found.
struct Planter {
    root: PathBuf,
    spool: Uuid,
    next: u64,
    expected: Vec<(String, String)>,
}

impl Planter {
    fn expect(&mut self, file: &str, what: &str) {
        self.expected.push((file.to_owned(), what.to_owned()));
    }

    fn footer(&self, number: u64, offsets: Range<i64>) -> SegmentFooter {
        SegmentFooter {
            spool: self.spool,
            segment: number,
            first_row: 0,
            rows: (offsets.end - offsets.start) as u64,
            source: source(),
            offsets: [(0, OffsetRange(offsets.start, offsets.end))].into(),
            undecodable: 0,
            replayed_from: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Offsets that no other file has.
    fn offsets(number: u64) -> Range<i64> {
        let start = number as i64 * 10_000;
        start..start + 10
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.root.join(file), bytes).unwrap();
    }

    /// A segment in `ready/`, its footer and rows changed on the way.
    fn segment(
        &mut self,
        change: impl FnOnce(&mut SegmentFooter),
        alter: impl FnOnce(RecordBatch) -> RecordBatch,
    ) -> (String, u64) {
        let number = self.number();
        let mut footer = self.footer(number, Self::offsets(number));
        change(&mut footer);
        let rows = alter(rows(Self::offsets(number)));
        let bytes = segment::encode(&footer, &rows).unwrap();
        let file = format!("ready/seg-{number:010}.parquet");
        self.write(&file, bytes);
        (file, number)
    }

    /// A batch in `batches/` with these covers; its rows have offsets of their own.
    fn batch(&mut self, covers: Vec<Cover>, rows_of: &RecordBatch) -> String {
        let number = self.number();
        let range = Self::offsets(number);
        let footer = BatchFooter {
            spool: self.spool,
            rows: rows_of.num_rows() as u64,
            source: source(),
            offsets: [(0, vec![OffsetRange(range.start, range.end)])].into(),
            settings: BTreeMap::new(),
            encoding: Encoding::Compact,
            split_from: None,
            covers,
        };
        let recipe = Recipe::usual(Encoding::Compact);
        let bytes = batch::encode(rows_of, &footer, &recipe, Strength::Full).unwrap();
        let oldest = footer.oldest_segment().unwrap();
        let file = format!("batches/batch-{oldest:010}-{}.parquet", digest::of(&bytes));
        self.write(&file, bytes);
        file
    }
}

fn cover(first: u64, first_row: u64, end_row: Option<u64>) -> Cover {
    Cover {
        first,
        first_row,
        last: first,
        end_row,
    }
}

/// Rows with a raw address among them.
fn unmasked(rows: RecordBatch) -> RecordBatch {
    let mut columns = rows.columns().to_vec();
    let column = rows.schema().index_of("remote_addr").unwrap();
    let mut addresses = vec!["1.2.3.X"; rows.num_rows()];
    addresses[3] = "1.2.3.4";
    columns[column] = Arc::new(StringArray::from(addresses));
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn plant_damage(plant: &mut Planter) {
    let (file, _) = plant.segment(|_| {}, |rows| rows);
    let whole = fs::read(plant.root.join(&file)).unwrap();
    plant.write(&file, &whole[..whole.len() - 5]);
    plant.expect(&file, "torn");

    let (file, _) = plant.segment(|_| {}, |rows| rows);
    flip(&plant.root.join(&file), 30);
    plant.expect(&file, "the digest does not match");

    let (file, _) = plant.segment(|_| {}, |rows| rows);
    let length = fs::metadata(plant.root.join(&file)).unwrap().len() as usize;
    flip(&plant.root.join(&file), length - 200);
    plant.expect(&file, "");

    let number = plant.number();
    let file = plant.batch(vec![cover(number, 0, None)], &rows(0..10));
    flip(&plant.root.join(&file), 30);
    plant.expect(&file, "the digest does not match");

    let (file, _) = plant.segment(|footer| footer.rows = 5, |rows| rows);
    plant.expect(&file, "speaks of 5 rows, the file holds 10");
}

fn plant_strangers(plant: &mut Planter) {
    plant.write("ready/notes.txt", "mine");
    plant.expect("ready/notes.txt", "foreign");
    fs::create_dir(plant.root.join("sealed/seg-0000000077.parquet")).unwrap();
    plant.expect("sealed/seg-0000000077.parquet", "foreign");
    plant.write("open/stranger", "");
    plant.expect("open/stranger", "foreign");

    let (file, number) = plant.segment(|_| {}, |rows| rows);
    let bytes = fs::read(plant.root.join(&file)).unwrap();
    fs::remove_file(plant.root.join(&file)).unwrap();
    let other = plant.number();
    let file = format!("ready/seg-{other:010}.parquet");
    plant.write(&file, &bytes);
    plant.expect(&file, &format!("it is seg-{number:010}.parquet"));
    let file = format!("batches/seg-{number:010}.parquet");
    plant.write(&file, &bytes);
    plant.expect(&file, "has no place in batches");

    let (file, _) = plant.segment(|footer| footer.spool = Uuid::from_u128(7), |rows| rows);
    plant.expect(&file, "belongs to the spool");

    let number = plant.number();
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::UInt32, false)]));
    let column = Arc::new(UInt32Array::from(vec![1; 10]));
    let strange = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
    writer.write(&strange).unwrap();
    let footer = plant.footer(number, Planter::offsets(number));
    let bytes = close(writer, &Footer::Segment(footer)).unwrap();
    let file = format!("ready/seg-{number:010}.parquet");
    plant.write(&file, bytes);
    plant.expect(&file, "its columns are not those of a spool file");
}

fn plant_wrong_rows(plant: &mut Planter) {
    let (file, _) = plant.segment(|_| {}, unmasked);
    plant.expect(&file, "1 rows hold an address that is not masked");
    let number = plant.number();
    let file = plant.batch(vec![cover(number, 0, None)], &unmasked(rows(0..10)));
    plant.expect(&file, "1 rows hold an address that is not masked");

    let (file, _) = plant.segment(
        |footer| footer.offsets = [(0, OffsetRange(0, 0))].into(),
        |rows| rows,
    );
    plant.expect(&file, "which its footer does not speak of");
    let (file, _) = plant.segment(
        |_| {},
        |rows| {
            let last = rows.slice(5, 5);
            arrow_select::concat::concat_batches(&rows.schema(), [&last, &last]).unwrap()
        },
    );
    plant.expect(&file, "twice or out of order");

    for (number, change) in [(60, "hash"), (61, "byte")] {
        let mut kept = vec![Kept::from(&message(5))];
        if change == "hash" {
            kept[0].sha256 = digest::of(b"another");
        }
        let footer = UndecodableFooter {
            spool: plant.spool,
            segment: number,
            rows: 0,
            source: source(),
            kept_at: 0,
            dropped: 0,
        };
        let file = format!("undecodable/und-{number:010}.parquet");
        plant.write(&file, undecodable::encode(&kept, &footer).unwrap());
        if change == "byte" {
            flip(&plant.root.join(&file), 20);
            plant.expect(&file, "the digest does not match");
        } else {
            plant.expect(&file, "is not the one whose length and hash are noted");
        }
    }
}

fn plant_overlaps(plant: &mut Planter) {
    // A whole segment beside what is left of it.
    let (file, number) = plant.segment(|_| {}, |rows| rows);
    let offsets = Planter::offsets(number);
    let mut rest = plant.footer(number, offsets.start + 5..offsets.end);
    rest.first_row = 5;
    let bytes = segment::encode(&rest, &rows(offsets.start + 5..offsets.end)).unwrap();
    plant.write(&format!("ready/seg-{number:010}-from-5.parquet"), bytes);
    plant.expect(&file, "its rows are also in");

    // A batch with rows out of the middle of a segment.
    let (file, number) = plant.segment(|_| {}, |rows| rows);
    plant.batch(vec![cover(number, 3, Some(6))], &rows(0..3));
    plant.expect(&file, "its rows are also in batch-");

    // Two batches with the same rows.
    let number = plant.number();
    plant.batch(vec![cover(number, 0, None)], &rows(0..10));
    let file = plant.batch(vec![cover(number, 4, None)], &rows(4..10));
    plant.expect(&file, "its rows are also in batch-");

    // Two segments with the same messages.
    let (_, number) = plant.segment(|_| {}, |rows| rows);
    let range = Planter::offsets(number);
    let (from, to) = (range.start + 4, range.end + 4);
    let twin = plant.number();
    let footer = plant.footer(twin, from..to);
    let file = format!("ready/seg-{twin:010}.parquet");
    plant.write(&file, segment::encode(&footer, &rows(from..to)).unwrap());
    let claim = format!("its offsets {from} to {} of partition 0", range.end - 1);
    plant.expect(&file, &claim);
}

#[test]
fn finds_each_planted_fault_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, outlet) = sound_spool(dir.path());
    let mut plant = Planter {
        root: dir.path().to_owned(),
        spool: intake.spool_id(),
        next: 100,
        expected: Vec::new(),
    };
    drop((intake, outlet));
    // What is planted has numbers that the spool has used.
    let state = dir.path().join("spool.json");
    let mut content: serde_json::Value =
        serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    content["next_segment"] = 1_000.into();
    fs::write(&state, content.to_string()).unwrap();

    plant_damage(&mut plant);
    plant_strangers(&mut plant);
    plant_wrong_rows(&mut plant);
    plant_overlaps(&mut plant);
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
