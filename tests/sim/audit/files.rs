//! What the files of a spool hold, read without the code under test: rows by resource id,
//! undecodable messages by place and hash, and what the journals say.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;
use serde_json::Value;

use crate::disk::SPOOL;
use crate::messages::MessageId;

/// Files by path.
pub type Files = BTreeMap<PathBuf, Bytes>;

/// An undecodable message as its file keeps it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// As the file's topic has it.
    pub id: MessageId,
    pub length: u64,
    pub sha256: String,
    /// Dropped: `None`.
    pub payload: Option<Bytes>,
}

/// What a Parquet file holds.
#[derive(Debug, Default)]
pub struct Content {
    pub records: Vec<u64>,
    pub undecodable: Vec<Kept>,
    /// The document in its footer: that of a segment, a batch or undecodable messages.
    pub footer: Value,
    /// The topic's incarnation that it names.
    pub incarnation: Option<u32>,
}

/// The directory of the spool that a file lies in; "" for the spool itself.
pub fn directory(path: &Path) -> &str {
    let below = path.strip_prefix(SPOOL).ok();
    let parent = below.and_then(Path::parent).and_then(Path::to_str);
    parent.unwrap_or("elsewhere")
}

/// The file's name.
pub fn name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// Whether what lies there counts as kept: published under a name of the spool's, and no
/// request of a person's. A second file of one name is `NAME.1` in `doubtful/`.
pub fn is_published(path: &Path) -> bool {
    let Some((stem, copy)) = name(path).split_once(".parquet") else {
        return false;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_copy = copy.strip_prefix('.').is_some_and(is_number);
    let (kind, rest) = stem.split_once('-').unwrap_or_default();
    let number = rest.split('-').next().unwrap_or_default();
    let is_ours = matches!(kind, "seg" | "batch" | "und") && number.len() >= 10;
    let is_kept = !matches!(directory(path), "" | "open" | "inbox" | "elsewhere");
    is_ours && is_number(number) && (copy.is_empty() || is_copy) && is_kept
}

/// The token in a batch's name.
pub fn token(path: &Path) -> Option<&str> {
    let stem = name(path).strip_prefix("batch-")?.split_once(".parquet")?.0;
    Some(stem.split_once('-')?.1)
}

/// Files whose content is remembered.
const READ_MAX: usize = 4_000;

/// What a file holds; `None` if it is no whole Parquet file. Read once, since images of
/// the disk share their bytes.
pub fn content(bytes: &Bytes) -> Option<Arc<Content>> {
    type Read = HashMap<(usize, usize), (Bytes, Option<Arc<Content>>)>;
    thread_local!(static READ: RefCell<Read> = RefCell::default());
    let key = (bytes.as_ptr() as usize, bytes.len());
    READ.with_borrow_mut(|read| {
        if read.len() >= READ_MAX {
            read.clear();
        }
        // The bytes stay there as long as the entry, and with them their address.
        let entry = read.entry(key);
        let entry = entry.or_insert_with(|| (bytes.clone(), read_file(bytes).map(Arc::new)));
        entry.1.clone()
    })
}

fn read_file(bytes: &Bytes) -> Option<Content> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).ok()?;
    let footer = footer(reader.metadata()).unwrap_or_default();
    let topic = footer["source"]["topic_id"].as_str();
    let incarnation = topic.and_then(MessageId::incarnation_of);
    let mut content = Content {
        footer,
        incarnation,
        ..Content::default()
    };
    for rows in reader.build().ok()? {
        let rows = rows.ok()?;
        if let Some(ids) = rows.column_by_name("resource_id") {
            let ids = ids.as_primitive_opt::<UInt64Type>()?;
            content.records.extend(ids.values());
            continue;
        }
        let partitions = rows
            .column_by_name("kafka_partition")?
            .as_primitive_opt::<Int32Type>()?;
        let offsets = rows
            .column_by_name("kafka_offset")?
            .as_primitive_opt::<Int64Type>()?;
        let lengths = rows
            .column_by_name("bytes")?
            .as_primitive_opt::<UInt64Type>()?;
        let hashes = rows.column_by_name("sha256")?.as_string_opt::<i32>()?;
        let payloads = rows.column_by_name("message")?.as_binary_opt::<i32>()?;
        content.undecodable.extend((0..rows.num_rows()).map(|row| {
            Kept {
                id: MessageId {
                    incarnation: incarnation.unwrap_or(u32::MAX),
                    partition: partitions.value(row),
                    offset: offsets.value(row),
                },
                length: lengths.value(row),
                sha256: hashes.value(row).to_owned(),
                payload: payloads
                    .is_valid(row)
                    .then(|| Bytes::copy_from_slice(payloads.value(row))),
            }
        }));
    }
    Some(content)
}

/// The document under the key `spoolhouse`, whichever kind it is.
fn footer(metadata: &ParquetMetaData) -> Option<Value> {
    let entries = metadata.file_metadata().key_value_metadata()?;
    let text = entries
        .iter()
        .find(|entry| entry.key == "spoolhouse")?
        .value
        .as_deref()?;
    let mut document: Value = serde_json::from_str(text).ok()?;
    let kinds = ["segment", "batch", "undecodable"];
    kinds
        .iter()
        .find_map(|kind| document.get_mut(*kind).map(Value::take))
}

/// A range of offsets of one partition that a journal names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    pub incarnation: u32,
    pub partition: i32,
    pub from: i64,
    pub to: i64,
    /// A person chose to skip them.
    pub is_chosen: bool,
}

impl Range {
    pub fn holds(&self, id: MessageId) -> bool {
        (self.incarnation, self.partition) == (id.incarnation, id.partition)
            && (self.from..self.to).contains(&id.offset)
    }
}

fn lines(files: &Files, path: &str) -> Vec<Value> {
    let bytes = files.get(&Path::new(SPOOL).join(path));
    let text = bytes.map_or_else(Default::default, |bytes| String::from_utf8_lossy(bytes));
    // A crash may tear a line; it is written again then.
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn incarnation_in(line: &Value) -> Option<u32> {
    MessageId::incarnation_of(line["source"]["topic_id"].as_str()?)
}

/// The offsets that `gaps.jsonl` says were lost.
pub fn gaps(files: &Files) -> Vec<Range> {
    let gap = |line: &Value| {
        Some(Range {
            incarnation: incarnation_in(line)?,
            partition: line["partition"].as_i64()? as i32,
            from: line["from"].as_i64()?,
            to: line["to"].as_i64()?,
            is_chosen: line["by"] == "operator",
        })
    };
    lines(files, "gaps.jsonl").iter().filter_map(gap).collect()
}

/// The offsets of files of undecodable messages that went whole.
pub fn forgotten(files: &Files) -> Vec<Range> {
    let mut ranges = Vec::new();
    for line in lines(files, "undecodable/dropped.jsonl") {
        let Some((incarnation, offsets)) = incarnation_in(&line).zip(line["offsets"].as_object())
        else {
            continue;
        };
        for (partition, range) in offsets {
            ranges.push(Range {
                incarnation,
                partition: partition.parse().unwrap_or(-1),
                from: range[0].as_i64().unwrap_or(0),
                to: range[1].as_i64().unwrap_or(0),
                is_chosen: false,
            });
        }
    }
    ranges
}

/// The positions that `spool.json` holds, by incarnation and partition.
pub fn positions(spool_json: &[u8]) -> BTreeMap<(u32, i32), i64> {
    let state: Value = serde_json::from_slice(spool_json).unwrap_or_default();
    let mut positions = BTreeMap::new();
    for source in state["sources"].as_array().into_iter().flatten() {
        let Some((incarnation, known)) =
            incarnation_in(source).zip(source["positions"].as_object())
        else {
            continue;
        };
        for (partition, offset) in known {
            let key = (incarnation, partition.parse().unwrap_or(-1));
            positions.insert(key, offset.as_i64().unwrap_or(0));
        }
    }
    positions
}

/// Which messages files hold, wherever, in sets.
#[derive(Debug, Default)]
pub struct Held {
    records: HashSet<u64>,
    undecodable: HashSet<MessageId>,
    ranges: Vec<Range>,
}

impl Held {
    /// What published files hold, but for those that `except` names.
    pub fn by(files: &Files, except: impl Fn(&Path) -> bool) -> Self {
        let mut held = Self::default();
        for (path, bytes) in files {
            if !is_published(path) || except(path) {
                continue;
            }
            if let Some(content) = content(bytes) {
                held.records.extend(&content.records);
                held.undecodable
                    .extend(content.undecodable.iter().map(|kept| kept.id));
            }
        }
        held.ranges = gaps(files);
        held.ranges.extend(forgotten(files));
        held
    }

    pub fn has(&self, id: MessageId) -> bool {
        self.records.contains(&id.resource_id())
            || self.undecodable.contains(&id)
            || self.ranges.iter().any(|range| range.holds(id))
    }
}
