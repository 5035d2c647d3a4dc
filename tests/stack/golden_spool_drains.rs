//! Does a spool that an earlier version left behind go on where that one ended? A copy
//! of every golden spool is taken over by the real binary on the real broker, nginx and
//! ClickHouse. At the end each of its offsets is where the list says: its row in the log
//! and in the totals exactly once, or in a file that is kept with its reason, or nobody
//! committed it and Kafka would hand it out again.
//!
//! The topic that the spool was filled from is not in this broker: for what was never
//! acknowledged this is the case of a topic that was deleted.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use crate::support::golden::{self, Golden, files_below};
use crate::support::stack::House;
use crate::support::stack::rows::{assert_rows_stored_once, rows, send, stored};
use crate::support::stack::spool_files::{Row, log_rows, log_rows_in, undecodable};

/// One partition more than the golden spools know.
const PARTITIONS: i32 = 2;

#[test]
fn every_golden_spool_drains_with_each_row_stored_once_or_named_where_it_is_kept() {
    for golden in golden::all() {
        drain(&golden);
    }
}

fn drain(golden: &Golden) {
    let house = House::new(&format!("golden_{}", golden.format), PARTITIONS);
    golden.copy_to(&house.own_spool());
    house.start();
    let more = rows(81, 200);
    let places = send(&house, &more);
    house.wait_until_drained(&places);
    assert_eq!(house.metric("spoolhouse_offsets_lost_total"), 0.0);
    assert_eq!(house.stop(), Some(0));

    let list = &golden.list.drained;
    let mut expected = stored(&more);
    expected.extend(waiting_rows(golden));
    expected.sort();
    assert_rows_stored_once(&house, &expected, "the golden spool");
    assert_eq!(accounted(golden), every_offset(golden), "{:?}", golden.dir);
    for (file, &(first, end)) in &list.kept {
        assert_eq!(kept_offsets(&house.spool(), file), first..end, "{file}");
    }
    let mut files = files_below(&house.spool());
    let kept_in = ["doubtful/", "rejected/", "undecodable/"];
    files.retain(|file| kept_in.iter().any(|directory| file.starts_with(directory)));
    let files: Vec<String> = files.into_iter().collect();
    assert_eq!(files, list.files, "{:?}", golden.dir);
    assert_goes_on(golden, &house);

    // What is left is sound.
    let done = house.other_command("verify").output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// The rows that the list says are stored, as the frozen files have them.
fn waiting_rows(golden: &Golden) -> Vec<Row> {
    let torn = &golden.list.verified.faults;
    let rooms = ["sealed", "ready", "batches", "sending"];
    let of_room = |file: &&String| rooms.iter().any(|directory| file.starts_with(directory));
    let files = golden.list.files.keys().filter(of_room);
    let whole = files.filter(|file| file.ends_with(".parquet") && !torn.contains_key(*file));
    let mut rows: Vec<Row> = whole
        .flat_map(|file| log_rows_in(&golden.dir.join(file)))
        .collect();
    rows.sort();
    // A batch may be published while its source is still there.
    rows.dedup();
    let ids: Vec<u64> = rows.iter().map(|row| row.resource_id).collect();
    let ranges = &golden.list.drained.stored;
    let listed: Vec<u64> = ranges.iter().flat_map(|&(first, end)| first..end).collect();
    assert_eq!(ids, listed, "{:?}", golden.dir);
    rows
}

/// Every offset that the list accounts for, as often as it does.
fn accounted(golden: &Golden) -> Vec<u64> {
    let list = &golden.list.drained;
    let ranges = list.stored.iter().chain(&list.read_again);
    let ranges = ranges.chain(list.kept.values());
    let mut offsets: Vec<u64> = ranges.flat_map(|&(first, end)| first..end).collect();
    offsets.sort_unstable();
    offsets
}

/// Every offset that the spool ever had: up to its position, and what it had begun to
/// seal beyond that.
fn every_offset(golden: &Golden) -> Vec<u64> {
    let position = golden.list.opened.positions[&0] as u64;
    let begun = golden.list.drained.read_again.iter();
    let end = begun.map(|&(_, end)| end).max().unwrap_or(position);
    (0..end.max(position)).collect()
}

/// The offsets in a file that is kept, by the file itself.
fn kept_offsets(spool: &Path, file: &str) -> Range<u64> {
    let offsets: BTreeSet<u64> = if file.starts_with("undecodable/") {
        let kept = undecodable(spool).into_keys();
        kept.map(|at| at.offset as u64).collect()
    } else {
        let path = spool.join(file);
        assert!(has_a_reason(&path), "{file}");
        let mut bytes = fs::read(&path).unwrap();
        // A torn file lacks the end of the word that ends every Parquet file.
        if !bytes.ends_with(b"PAR1") {
            assert!(bytes.ends_with(b"P"), "{file}");
            bytes.extend_from_slice(b"AR1");
        }
        let whole = tempfile::NamedTempFile::new().unwrap();
        fs::write(whole.path(), bytes).unwrap();
        let rows = log_rows_in(whole.path());
        rows.iter().map(|row| row.resource_id).collect()
    };
    let (first, last) = (*offsets.first().unwrap(), *offsets.last().unwrap());
    assert_eq!(offsets.len() as u64, last + 1 - first, "{file}");
    first..last + 1
}

/// Whether a file that is set aside has its reason beside it.
fn has_a_reason(file: &Path) -> bool {
    let reasons = ["reason.json", "error.json"];
    reasons
        .iter()
        .any(|ending| file.with_extension(ending).exists())
}

/// It goes on as the same spool: numbers are not used again, what was known of the old
/// topic stays known, and nothing that was counted is forgotten.
fn assert_goes_on(golden: &Golden, house: &House) {
    let before: Value =
        serde_json::from_slice(&fs::read(golden.dir.join("spool.json")).unwrap()).unwrap();
    let after = house.state_file().unwrap();
    assert_eq!(after["spool"], before["spool"]);
    assert!(after["next_segment"].as_u64().unwrap() > golden.list.opened.next_segment);
    let sources = after["sources"].as_array().unwrap();
    let old = sources
        .iter()
        .find(|source| source["source"] == before["sources"][0]["source"]);
    for (partition, position) in &golden.list.opened.positions {
        let known = &old.unwrap()["positions"][partition.to_string()];
        assert_eq!(known, position, "{after}");
    }
    assert_eq!(sources.len(), 2, "{after}");
    let gaps = |spool: &Path| fs::read_to_string(spool.join("gaps.jsonl")).unwrap_or_default();
    assert_eq!(gaps(&house.spool()), gaps(&golden.dir));
    assert!(log_rows(&house.spool(), &["sealed", "ready", "batches", "sending"]).is_empty());
}
