//! Faults for a verification to find: each is planted beside what must be said of it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use spoolhouse::spool::format::batch::recipe::{Recipe, Strength};
use spoolhouse::spool::format::encoding::Encoding;
use spoolhouse::spool::format::footer::{
    BatchFooter, Cover, Footer, OffsetRange, SegmentFooter, UndecodableFooter, close,
};
use spoolhouse::spool::format::undecodable::{self, Kept};
use spoolhouse::spool::format::{batch, digest, segment};
use uuid::Uuid;

use super::message;
use crate::support::segments::{rows, source};

/// Plants faults and remembers what must be found.
pub(super) struct Planter {
    root: PathBuf,
    spool: Uuid,
    next: u64,
    /// Files, and what must be said of each.
    pub(super) expected: Vec<(String, String)>,
}

impl Planter {
    /// Plants every fault in a spool whose numbers are used up to 1000.
    pub(super) fn plant_all(root: &Path, spool: Uuid) -> Self {
        let mut plant = Self {
            root: root.to_owned(),
            spool,
            next: 100,
            expected: Vec::new(),
        };
        plant_damage(&mut plant);
        plant_strangers(&mut plant);
        plant_wrong_rows(&mut plant);
        plant_overlaps(&mut plant);
        plant
    }

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
