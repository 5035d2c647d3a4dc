//! A look into a spool's files that doesn't go through the code under test:
//! only the Parquet reader, and for footers the documented JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaDataReader;
use serde_json::Value;
use spoolhouse::traffic;

use super::feed::At;

/// A row of the table, in the order of its columns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub struct Row {
    /// Seconds since 1970.
    pub timestamp: u32,
    /// Any number.
    pub resource_id: u64,
    /// Bytes.
    pub bytes_sent: u64,
    /// Milliseconds.
    pub request_time_milli: u64,
    /// HTTP status.
    pub response_status: u16,
    /// Such as `HIT`.
    pub cache_status: String,
    /// Such as `GET`.
    pub method: String,
    /// Masked.
    pub remote_addr: String,
    /// The URL.
    pub url: String,
}

impl Row {
    /// What a row of synthetic traffic becomes.
    pub fn stored(row: &traffic::Row) -> Self {
        let [a, b, c, _] = row.remote_addr.octets();
        Self {
            timestamp: u32::try_from(row.timestamp_milli / 1000).unwrap(),
            resource_id: row.resource_id,
            bytes_sent: row.bytes_sent,
            request_time_milli: row.request_time_milli,
            response_status: row.response_status,
            cache_status: row.cache_status.to_owned(),
            method: row.method.to_owned(),
            remote_addr: format!("{a}.{b}.{c}.X"),
            url: row.url.clone(),
        }
    }
}

/// The totals: requests, bytes and milliseconds by minute, resource, status,
/// cache status and address.
pub type Totals = BTreeMap<(u32, u64, u16, String, String), [u64; 3]>;

/// A message kept in `undecodable/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Why it is no record.
    pub error: String,
    /// As it came.
    pub bytes: Vec<u8>,
}

/// The Parquet files of a room, sorted by name. A file that moves on while we
/// look may be missed or gone already.
pub fn files_in(spool: &Path, directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(spool.join(directory)).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "parquet"))
        .collect();
    files.sort();
    files
}

/// The rows of a file's bytes.
pub fn decode(file: Vec<u8>) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

/// Every text and every blob of some rows, one after the other.
pub fn texts(rows: &RecordBatch) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    for column in rows.columns() {
        match column.data_type() {
            DataType::Utf8 => {
                let column = column.as_string::<i32>();
                texts.extend(column.iter().flatten().map(|text| text.as_bytes().to_vec()));
            }
            DataType::Binary => {
                let column = column.as_binary::<i32>();
                texts.extend(column.iter().flatten().map(<[u8]>::to_vec));
            }
            other => assert!(other.is_integer(), "a column of {other} is not searched"),
        }
    }
    texts
}

/// The rows of the segments and batches in these rooms, sorted.
pub fn log_rows(spool: &Path, rooms: &[&str]) -> Vec<Row> {
    let files = rooms
        .iter()
        .flat_map(|directory| files_in(spool, directory));
    let mut rows: Vec<Row> = files.flat_map(|file| log_rows_in(&file)).collect();
    rows.sort();
    rows
}

/// The rows of a segment or a batch.
pub fn log_rows_in(file: &Path) -> Vec<Row> {
    let batches = decode(fs::read(file).unwrap());
    batches.iter().flat_map(log_rows_of).collect()
}

fn log_rows_of(batch: &RecordBatch) -> Vec<Row> {
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let number = |name: &str| column(name).as_primitive::<UInt64Type>();
    let text = |name: &str| column(name).as_string::<i32>();
    let row = |place: usize| Row {
        timestamp: column("timestamp")
            .as_primitive::<UInt32Type>()
            .value(place),
        resource_id: number("resource_id").value(place),
        bytes_sent: number("bytes_sent").value(place),
        request_time_milli: number("request_time_milli").value(place),
        response_status: column("response_status")
            .as_primitive::<UInt16Type>()
            .value(place),
        cache_status: text("cache_status").value(place).to_owned(),
        method: text("method").value(place).to_owned(),
        remote_addr: text("remote_addr").value(place).to_owned(),
        url: text("url").value(place).to_owned(),
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The messages of `undecodable/`, each once.
pub fn undecodable(spool: &Path) -> BTreeMap<At, Kept> {
    let mut all = BTreeMap::new();
    for file in files_in(spool, "undecodable") {
        for batch in decode(fs::read(file).unwrap()) {
            let column = |name: &str| batch.column_by_name(name).unwrap();
            for place in 0..batch.num_rows() {
                let at = At {
                    partition: column("kafka_partition")
                        .as_primitive::<Int32Type>()
                        .value(place),
                    offset: column("kafka_offset")
                        .as_primitive::<Int64Type>()
                        .value(place),
                };
                let kept = Kept {
                    error: column("error").as_string::<i32>().value(place).to_owned(),
                    bytes: column("message").as_binary::<i32>().value(place).to_vec(),
                };
                assert!(all.insert(at, kept).is_none(), "{at:?} is kept twice");
            }
        }
    }
    all
}

/// The document in a file's footer: `segment`, `batch` or `undecodable`.
pub fn document(file: &Path) -> Value {
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(&fs::File::open(file).unwrap())
        .unwrap();
    let entries = metadata.file_metadata().key_value_metadata().unwrap();
    let entry = entries.iter().find(|entry| entry.key == "spoolhouse");
    serde_json::from_str(entry.unwrap().value.as_ref().unwrap()).unwrap()
}

/// The offset ranges that segments and batches account for, by partition: what
/// their footers say, joined where they touch.
pub fn covered(spool: &Path) -> BTreeMap<i32, Vec<(i64, i64)>> {
    let mut ranges: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
    for directory in ["sealed", "ready", "batches", "sending"] {
        for file in files_in(spool, directory) {
            let document = document(&file);
            if let Some(offsets) = document["segment"]["offsets"].as_object() {
                for (partition, range) in offsets {
                    let range = serde_json::from_value(range.clone()).unwrap();
                    ranges
                        .entry(partition.parse().unwrap())
                        .or_default()
                        .push(range);
                }
            }
            if let Some(offsets) = document["batch"]["offsets"].as_object() {
                for (partition, some) in offsets {
                    let some: Vec<(i64, i64)> = serde_json::from_value(some.clone()).unwrap();
                    ranges
                        .entry(partition.parse().unwrap())
                        .or_default()
                        .extend(some);
                }
            }
        }
    }
    for ranges in ranges.values_mut() {
        ranges.sort();
        let mut joined: Vec<(i64, i64)> = Vec::new();
        for &(start, end) in ranges.iter() {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        *ranges = joined;
    }
    ranges
}
