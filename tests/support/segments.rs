//! Segments made of numbered rows, and a look into a spool that doesn't go through the
//! code under test.
#![allow(dead_code)] // every program uses its own part of it

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, UInt16Array, UInt32Array,
    UInt64Array,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use spoolhouse::spool::format::footer::Source;
use spoolhouse::spool::format::schema;
use spoolhouse::spool::format::segment::OpenSegment;

/// The topic that test segments come from.
pub fn source() -> Source {
    Source {
        cluster: "test-cluster".into(),
        topic: "http_log".into(),
        topic_id: "test-topic-id".into(),
    }
}

/// Rows of partition 0 whose resource id is their offset, which tells every row
/// apart.
pub fn rows(offsets: std::ops::Range<i64>) -> RecordBatch {
    let messages: Vec<(i32, i64)> = offsets.map(|offset| (0, offset)).collect();
    rows_of(&messages)
}

/// The resource id of the row that this message becomes.
pub fn id_of(partition: i32, offset: i64) -> u64 {
    partition as u64 * 1_000_000 + offset as u64
}

/// One row per message (partition, offset); the resource ids are [`id_of`].
pub fn rows_of(messages: &[(i32, i64)]) -> RecordBatch {
    let count = messages.len();
    let ids = || messages.iter().map(|(p, offset)| id_of(*p, *offset));
    // Numbers that don't compress, so that a few hundred rows fill a small request.
    let noise = |seed: u64| -> ArrayRef {
        let scatter = move |id: u64| (id ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Arc::new(UInt64Array::from_iter_values(ids().map(scatter)))
    };
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; count])) };
    let url = |id: u64| format!("/img/{:08x}.png", (id as u32).wrapping_mul(0x9e37_79b9));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from(vec![1_700_000_000; count])),
        Arc::new(UInt64Array::from_iter_values(ids())),
        noise(1),
        noise(2),
        Arc::new(UInt16Array::from(vec![200; count])),
        text("HIT"),
        text("GET"),
        text("1.2.3.X"),
        Arc::new(StringArray::from_iter_values(ids().map(url))),
        Arc::new(Int32Array::from_iter_values(
            messages.iter().map(|(partition, _)| *partition),
        )),
        Arc::new(Int64Array::from_iter_values(
            messages.iter().map(|(_, offset)| *offset),
        )),
    ];
    RecordBatch::try_new(schema::segment(), columns).unwrap()
}

/// An open segment of [`rows`] of partition 0.
pub fn open_segment(offsets: std::ops::Range<i64>) -> OpenSegment {
    let mut segment = OpenSegment::new().unwrap();
    segment.write(&rows(offsets.clone())).unwrap();
    segment.cover(0, offsets.start, offsets.end);
    segment
}

/// How often each resource id occurs in the Parquet files of these rooms.
pub fn ids_in(spool: &Path, rooms: &[&str]) -> BTreeMap<u64, usize> {
    let mut ids = BTreeMap::new();
    for directory in rooms {
        for entry in std::fs::read_dir(spool.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "parquet")
            {
                count_ids(&std::fs::read(path).unwrap(), &mut ids);
            }
        }
    }
    ids
}

/// Counts the resource ids of one file.
pub fn count_ids(file: &[u8], ids: &mut BTreeMap<u64, usize>) {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(file)).unwrap();
    for rows in reader.build().unwrap() {
        let rows = rows.unwrap();
        let column = rows.column_by_name("resource_id").unwrap();
        for id in column.as_primitive::<UInt64Type>().values() {
            *ids.entry(*id).or_default() += 1;
        }
    }
}

/// Names of the files in a room, sorted.
pub fn names_in(spool: &Path, directory: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(spool.join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
