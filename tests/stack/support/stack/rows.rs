//! Rows of synthetic traffic: made, sent, and compared as a multiset.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use spoolhouse::traffic::{self, Traffic};

use super::House;
use super::feed::At;
use super::spool_files::{Row, Totals};

/// Rows that are all different, and others with every seed.
pub fn rows(seed: u64, count: u64) -> Vec<traffic::Row> {
    let traffic = Traffic {
        profile: Default::default(),
        seed,
        start_milli: 1_750_000_000_000,
        rate: 0,
        bad_per_million: 0,
    };
    (0..count)
        .map(|place| traffic.row(place).unwrap())
        .collect()
}

/// Sends rows to the house's topic.
pub fn send(house: &House, rows: &[traffic::Row]) -> Vec<At> {
    let messages: Vec<_> = rows.iter().map(traffic::Row::encode).collect();
    house.produce(messages.iter().map(Vec::as_slice))
}

/// Sends so many a second from a thread of its own.
pub fn feed_steadily(
    house: &House,
    rows: &[traffic::Row],
    per_second: u64,
) -> thread::JoinHandle<Vec<At>> {
    let mut feed = house.feed();
    let messages: Vec<_> = rows.iter().map(traffic::Row::encode).collect();
    thread::spawn(move || {
        let begun = Instant::now();
        for (place, message) in messages.iter().enumerate() {
            let due = Duration::from_micros(place as u64 * 1_000_000 / per_second);
            thread::sleep(due.saturating_sub(begun.elapsed()));
            feed.send(Some(message));
        }
        feed.finish()
    })
}

/// The rows as they must be stored, sorted.
pub fn stored<'r>(rows: impl IntoIterator<Item = &'r traffic::Row>) -> Vec<Row> {
    let mut stored: Vec<Row> = rows.into_iter().map(Row::stored).collect();
    stored.sort();
    stored
}

/// Fails with a count instead of thousands of rows.
pub fn assert_same(found: &[Row], expected: &[Row]) {
    let mut counts: BTreeMap<&Row, i64> = BTreeMap::new();
    for row in expected {
        *counts.entry(row).or_default() -= 1;
    }
    for row in found {
        *counts.entry(row).or_default() += 1;
    }
    let lost = counts.values().filter(|count| **count < 0).count();
    let more = counts.values().filter(|count| **count > 0).count();
    assert_eq!(
        (lost, more),
        (0, 0),
        "rows lost, and rows too many, of {}",
        expected.len()
    );
}

/// Fails unless ClickHouse has each of these rows exactly once, in the log and
/// in the totals. `what` says after what.
pub fn assert_stored_once<'r>(
    house: &House,
    rows: impl IntoIterator<Item = &'r traffic::Row>,
    what: &str,
) {
    assert_rows_stored_once(house, &stored(rows), what);
}

/// The same of rows as they are stored, sorted.
pub fn assert_rows_stored_once(house: &House, expected: &[Row], what: &str) {
    let found = house.stored_rows();
    if found != expected {
        eprintln!("after: {what}");
    }
    assert_same(&found, expected);
    assert!(
        house.stored_totals() == totals(expected),
        "the totals differ after: {what}"
    );
}

fn totals(rows: &[Row]) -> Totals {
    let mut totals = Totals::new();
    for row in rows {
        let key = (
            row.timestamp - row.timestamp % 60,
            row.resource_id,
            row.response_status,
            row.cache_status.clone(),
            row.remote_addr.clone(),
        );
        let sums = totals.entry(key).or_default();
        let row = [1, row.bytes_sent, row.request_time_milli];
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    totals
}
