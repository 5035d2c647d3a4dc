//! What lies outside the spool and survives its crashes: Kafka's log and
//! committed offsets, ClickHouse with its tokens, another consumer; and the
//! account that must balance after every crash.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use spoolhouse::ingest::commit::{Committed, Log};
use spoolhouse::spool::format::digest;
use spoolhouse::spool::format::encoding::Encoding;

use super::segments::id_of;
use super::sim_disk::SimDisk;

/// Where the spool lies on the simulated disk.
pub const SPOOL: &str = "/var/spool";

/// Everything but the spool.
#[derive(Clone, Debug)]
pub struct World {
    /// What Kafka holds of each partition.
    pub logs: BTreeMap<i32, Log>,
    /// The group's committed offsets.
    pub committed: BTreeMap<i32, Committed>,
    /// What ClickHouse stored, by token: a token it knows changes nothing.
    pub stored: BTreeMap<String, Bytes>,
    /// Messages that another consumer of the group took in.
    pub elsewhere: BTreeSet<(i32, i64)>,
    /// Largest body that the proxy lets through, bytes.
    pub body_bytes_max: usize,
    /// Which encodings are configured.
    pub encoding: Encoding,
    /// Which settings of an insert are.
    pub settings: BTreeMap<String, String>,
}

impl World {
    /// Partitions with so many messages, and nothing committed or stored.
    pub fn new(partitions: &[(i32, i64)], body_bytes_max: usize) -> Self {
        let log = |end| Log { start: 0, end };
        Self {
            logs: partitions.iter().map(|(p, end)| (*p, log(*end))).collect(),
            committed: BTreeMap::new(),
            stored: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            body_bytes_max,
            encoding: Encoding::Compact,
            settings: BTreeMap::new(),
        }
    }

    /// An insert arrives.
    pub fn insert(&mut self, token: &str, body: &Bytes) {
        self.stored
            .entry(token.to_owned())
            .or_insert_with(|| body.clone());
    }

    /// Another consumer of the group takes in the next messages and commits.
    pub fn consume_elsewhere(&mut self, partition: i32, count: i64) {
        let log = self.logs[&partition];
        let from = self.committed.get(&partition).map_or(0, |by| by.offset);
        let to = log.end.min(from + count);
        if from == to {
            return;
        }
        self.elsewhere
            .extend((from..to).map(|offset| (partition, offset)));
        let commit = Committed {
            offset: to,
            signature: None,
        };
        self.committed.insert(partition, commit);
    }

    /// Whether batches of the spool hold every row of this segment, which is not
    /// itself there.
    pub fn is_held_by_batches(&self, disk: &SimDisk, segment: &Bytes) -> bool {
        let Some(rows) = content(segment) else {
            return false;
        };
        let mut ids = BTreeSet::new();
        for directory in ["batches", "sending", "rejected"] {
            for bytes in disk.files(&Path::new(SPOOL).join(directory)).values() {
                if let Some(content) = content(bytes) {
                    ids.extend(content.ids.iter().copied());
                }
            }
        }
        !rows.ids.is_empty() && rows.ids.iter().all(|id| ids.contains(id))
    }

    /// Whether this message is no record: one in eleven, and a run of them.
    pub fn is_undecodable(partition: i32, offset: i64) -> bool {
        (30..40).contains(&offset) || (offset + i64::from(partition)) % 11 == 5
    }

    /// Balances the account of a spool that was just opened and would read on
    /// from `starts`: what is wrong with it, if anything is.
    pub fn audit(&self, disk: &SimDisk, starts: &BTreeMap<i32, i64>) -> Result<(), String> {
        let held = Held::look(self, disk)?;
        for (partition, log) in &self.logs {
            let start = *starts.get(partition).ok_or("a partition without a start")?;
            if let Some(commit) = self.committed.get(partition)
                && commit.offset > start
            {
                return Err(format!(
                    "partition {partition}: {} is committed, and {start} is read next",
                    commit.offset
                ));
            }
            for offset in 0..log.end {
                let bad = Self::is_undecodable(*partition, offset);
                let kept = held.times(*partition, offset, bad);
                let again = usize::from(offset >= start && offset >= log.start);
                let elsewhere = self.elsewhere.contains(&(*partition, offset));
                let lost = usize::from(held.is_in_a_gap(*partition, offset));
                let right = if elsewhere {
                    // Both have it only where a rule could not tell, and says so.
                    again == 0 && (bad && kept <= 1 || kept == held.doubtful(*partition, offset))
                } else {
                    kept + again + lost == 1
                };
                if !right {
                    let kind = if bad { "undecodable" } else { "record" };
                    return Err(format!(
                        "{kind} {partition}/{offset}: kept {kept} times {:?}, read again {again}, \
                         in a gap {lost}, elsewhere {elsewhere}",
                        held.places(*partition, offset),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Who holds which message.
struct Held {
    /// By resource id.
    records: HashMap<u64, Vec<PathBuf>>,
    undecodable: HashMap<(i32, i64), usize>,
    gaps: Vec<(i32, i64, i64)>,
}

impl Held {
    /// Looks without the code under test, digests excepted.
    fn look(world: &World, disk: &SimDisk) -> Result<Self, String> {
        let mut held = Self {
            records: HashMap::new(),
            undecodable: HashMap::new(),
            gaps: Vec::new(),
        };
        for (token, body) in &world.stored {
            held.count(Path::new("ClickHouse").join(token), body)?;
        }
        for (path, bytes) in disk.files(Path::new(SPOOL)) {
            let text = path.to_string_lossy();
            if path.ends_with("gaps.jsonl") {
                held.gaps = gaps(&bytes);
            } else if text.contains(".parquet")
                && !text.contains("/open/")
                && !world.stored.contains_key(&digest::of(&bytes))
            {
                held.count(path.clone(), &bytes)?;
            }
        }
        Ok(held)
    }

    fn count(&mut self, path: PathBuf, bytes: &Bytes) -> Result<(), String> {
        let content = match content(bytes) {
            Some(content) => content,
            // What is broken must lie where an operator looks.
            None if path.starts_with(Path::new(SPOOL).join("doubtful")) => return Ok(()),
            None => return Err(format!("{} is broken", path.display())),
        };
        for id in &content.ids {
            self.records.entry(*id).or_default().push(path.clone());
        }
        for message in &content.undecodable {
            *self.undecodable.entry(*message).or_default() += 1;
        }
        Ok(())
    }

    fn times(&self, partition: i32, offset: i64, bad: bool) -> usize {
        if bad {
            let times = self.undecodable.get(&(partition, offset));
            times.copied().unwrap_or(0)
        } else {
            self.places(partition, offset).len()
        }
    }

    fn places(&self, partition: i32, offset: i64) -> &[PathBuf] {
        let places = self.records.get(&id_of(partition, offset));
        places.map_or(&[], Vec::as_slice)
    }

    fn doubtful(&self, partition: i32, offset: i64) -> usize {
        let doubtful = Path::new(SPOOL).join("doubtful");
        let places = self.places(partition, offset).iter();
        places.filter(|path| path.starts_with(&doubtful)).count()
    }

    fn is_in_a_gap(&self, partition: i32, offset: i64) -> bool {
        self.gaps
            .iter()
            .any(|(p, from, to)| *p == partition && (*from..*to).contains(&offset))
    }
}

fn gaps(bytes: &Bytes) -> Vec<(i32, i64, i64)> {
    let text = String::from_utf8_lossy(bytes);
    // A crash may tear a line; it is written again then.
    let lines = text.lines().filter_map(|line| {
        let gap: serde_json::Value = serde_json::from_str(line).ok()?;
        let number = |key: &str| gap[key].as_i64();
        Some((number("partition")? as i32, number("from")?, number("to")?))
    });
    lines.collect()
}

#[derive(Default)]
struct Content {
    ids: Vec<u64>,
    undecodable: Vec<(i32, i64)>,
}

/// What a Parquet file holds; read once per file, since images share their bytes.
fn content(bytes: &Bytes) -> Option<Arc<Content>> {
    type Read = HashMap<(usize, usize), (Bytes, Option<Arc<Content>>)>;
    thread_local!(static READ: RefCell<Read> = RefCell::default());
    let key = (bytes.as_ptr() as usize, bytes.len());
    READ.with_borrow_mut(|read| {
        if read.len() > 20_000 {
            read.clear();
        }
        let entry = read
            .entry(key)
            .or_insert_with(|| (bytes.clone(), parse(bytes).map(Arc::new)));
        entry.1.clone()
    })
}

fn parse(bytes: &Bytes) -> Option<Content> {
    let mut content = Content::default();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).ok()?;
    for rows in reader.build().ok()? {
        let rows = rows.ok()?;
        if let Some(ids) = rows.column_by_name("resource_id") {
            let ids = ids.as_primitive_opt::<UInt64Type>()?;
            content.ids.extend(ids.values());
        } else {
            let partitions = rows.column_by_name("kafka_partition")?;
            let partitions = partitions.as_primitive_opt::<Int32Type>()?.values();
            let offsets = rows.column_by_name("kafka_offset")?;
            let offsets = offsets.as_primitive_opt::<Int64Type>()?.values();
            let messages = partitions.iter().copied().zip(offsets.iter().copied());
            content.undecodable.extend(messages);
        }
    }
    Some(content)
}
