//! Does `http_log_totals` say what the log says, whatever is asked of it?
//!
//! The same question goes to the totals, to the totals with their projections
//! left aside, and to the raw log, after batches that were split, retried,
//! reordered and late, over days that are merged and days that are not.

use std::collections::BTreeSet;

use crate::support::stack::tables::{self, Database};
use crate::support::stack::{stack, tables::in_url};

const BATCHES: u64 = 12;
const ROWS_PER_BATCH: u64 = 20_000;
const DAYS: u64 = 4;
/// 2026-01-01T00:00:00Z.
const BEGIN: u64 = 1_767_225_600;

/// The raw log under the names of the totals.
const RAW: &str = "CREATE VIEW raw AS SELECT toStartOfMinute(timestamp) AS minute, \
     toDate(timestamp) AS day, resource_id, response_status, cache_status, remote_addr, \
     toUInt64(1) AS requests, bytes_sent, request_time_milli FROM http_log";

/// What the uploader sends with an insert, as far as it concerns these.
const UPLOAD: &str = "async_insert = 0, deduplicate_blocks_in_dependent_materialized_views = 1, \
     max_insert_threads = 1, max_insert_block_size = 100000000, \
     min_insert_block_size_bytes = 0, min_insert_block_size_rows = 100000000";

/// A dimension, its value in these tests, and whether it has too many values for a chart.
const DIMENSIONS: [(&str, &str, bool); 4] = [
    ("resource_id", "2", true),
    ("response_status", "404", false),
    ("cache_status", "'MISS'", false),
    ("remote_addr", "'192.0.3.X'", true),
];

/// Rows over four days; a batch begins up to two minutes before the one before it ended.
fn insert(database: &Database, batch: u64) {
    let seconds = DAYS * 86_400 / (BATCHES * ROWS_PER_BATCH);
    assert_eq!(seconds, 1, "one row a second, more or less");
    database.ask(&format!(
        "INSERT INTO http_log SELECT \
             {BEGIN} + intDiv(number * {DAYS} * 86400, {BATCHES} * {ROWS_PER_BATCH}) \
                 - cityHash64(number, 'early') % least(number + 1, 120) AS timestamp, \
             intDiv(200, 1 + cityHash64(number, 'resource') % 200) AS resource_id, \
             cityHash64(number, 'bytes') % 100000, cityHash64(number, 'time') % 500, \
             [200, 200, 200, 304, 404, 502][1 + cityHash64(number, 'status') % 6], \
             ['HIT', 'HIT', 'MISS', 'STALE'][1 + cityHash64(number, 'cache') % 4], 'GET', \
             concat('192.0.', toString(intDiv(300, 1 + cityHash64(number, 'address') % 300)), '.X'), \
             concat('https://cdn.example/', toString(number)) \
         FROM numbers({}, {ROWS_PER_BATCH}) \
         SETTINGS insert_deduplication_token = 'batch {batch}', {UPLOAD}",
        batch * ROWS_PER_BATCH
    ));
}

/// A database whose tables went through all that may happen to batches.
fn filled(test: &str) -> Database {
    let database = Database::new(test);
    tables::create(stack().clickhouse, &database.name);
    database.ask(RAW);
    // What is to stay unmerged is not merged in the background.
    database.ask(
        "ALTER TABLE http_log_totals MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1",
    );
    // Batch 1 of the first day is late, by days.
    for batch in (0..BATCHES).filter(|batch| *batch != 1) {
        insert(&database, batch);
        if batch % 3 == 0 {
            insert(&database, batch);
        }
    }
    insert(&database, 1);
    // Retries that come after others.
    for batch in [5, 1, 2, 0] {
        insert(&database, batch);
    }
    for day in ["2026-01-01", "2026-01-03"] {
        database.ask(&format!(
            "OPTIMIZE TABLE http_log_totals PARTITION '{day}' FINAL"
        ));
    }
    let parts = database.ask(
        "SELECT groupArray(parts > 1) FROM (SELECT partition, count() AS parts \
         FROM system.parts WHERE active AND database = currentDatabase() \
         AND table = 'http_log_totals' GROUP BY partition ORDER BY partition)",
    );
    assert!(
        parts.contains('1') && parts.contains('0'),
        "merged and unmerged days: {parts}"
    );
    assert_eq!(
        database.ask("SELECT count(), uniqExact(url) FROM http_log"),
        format!("{0}\t{0}\n", BATCHES * ROWS_PER_BATCH),
        "each row once in the log"
    );
    database
}

#[derive(Clone, Copy, PartialEq)]
enum Use {
    Not,
    Filter,
    Group,
}

/// Every way to leave alone, filter or group by the four dimensions.
fn combinations() -> Vec<[Use; 4]> {
    let uses = [Use::Not, Use::Filter, Use::Group];
    let mut all = Vec::new();
    for number in 0..81 {
        all.push([1, 3, 9, 27].map(|place| uses[number / place % 3]));
    }
    all
}

/// The question that a combination is; `when` is its condition on the time and
/// `bucket` what a chart has across.
fn question(combination: &[Use; 4], when: &str, bucket: &str) -> String {
    let used = |wanted: Use| {
        let dimensions = DIMENSIONS.iter().zip(combination);
        dimensions.filter(move |(_, used)| **used == wanted)
    };
    let filters: String = used(Use::Filter)
        .map(|((name, value, _), _)| format!(" AND {name} = {value}"))
        .collect();
    let groups: Vec<&str> = used(Use::Group).map(|((name, ..), _)| *name).collect();
    let top = used(Use::Group).any(|((_, _, many), _)| *many);
    let sums = "sum(requests) AS r, sum(bytes_sent) AS b, sum(request_time_milli) AS m";
    let groups = groups.join(", ");
    let (keys, order) = match (top, groups.is_empty()) {
        (true, _) => (groups.clone(), format!("r DESC, {groups} LIMIT 40")),
        (false, true) => (bucket.to_owned(), bucket.to_owned()),
        (false, false) => (format!("{bucket}, {groups}"), format!("{bucket}, {groups}")),
    };
    format!(
        "SELECT {keys}, {sums} FROM http_log_totals WHERE {when}{filters} GROUP BY {keys} ORDER BY {order}"
    )
}

/// Fails unless all three agree; the answer.
fn agreed(database: &Database, sql: &str, more: &str) -> String {
    let totals = database.ask_with(sql, more);
    let raw = database.ask_with(&sql.replace("http_log_totals", "raw"), more);
    assert_eq!(totals, raw, "{sql}");
    let table = database.ask_with(
        &format!("{sql} SETTINGS optimize_use_projections = 0"),
        more,
    );
    assert_eq!(totals, table, "without projections: {sql}");
    totals
}

#[test]
fn every_filter_and_group_says_what_the_log_says() {
    let database = filled("every_combination");
    let whole = "minute >= '2025-12-31 00:00:00' AND minute < '2026-01-06 00:00:00'";
    let part = "minute >= '2026-01-01 10:17:00' AND minute < '2026-01-04 03:02:00'";
    let days = "day BETWEEN '2026-01-02' AND '2026-01-04'";
    let mut empty = 0;
    for combination in combinations() {
        for (when, bucket) in [
            (whole, "toStartOfMinute(minute)"),
            (part, "toStartOfHour(minute)"),
            (days, "day"),
        ] {
            let answer = agreed(&database, &question(&combination, when, bucket), "");
            empty += usize::from(answer.is_empty());
        }
    }
    assert_eq!(empty, 0, "a question without an answer proves nothing");
}

/// The statements of `004_queries.sql` without those that set its parameters.
fn examples() -> Vec<String> {
    let text: String = tables::read("004_queries")
        .lines()
        .filter(|line| !line.starts_with("--") && !line.starts_with("SET "))
        .map(|line| format!("{line}\n"))
        .collect();
    let statements = text.split(";\n").map(str::trim);
    statements
        .filter(|statement| !statement.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_example_says_what_the_log_says() {
    let database = filled("examples");
    let here = |name: &str| {
        let value = match name {
            "begin" => "2026-01-01 10:17:00",
            "end" => "2026-01-04 03:02:00",
            "first_day" => "2026-01-02",
            "last_day" => "2026-01-04",
            "resource" => "2",
            "status" => "404",
            "cache" => "MISS",
            "address" => "192.0.3.X",
            other => panic!("004_queries.sql sets {other}, which this test has no value for"),
        };
        (name.to_owned(), value.to_owned())
    };
    let parameters = tables::parameters("004_queries");
    let more = in_url(parameters.iter().map(|(name, _)| here(name)));
    let examples = examples();
    for sql in &examples {
        let answer = agreed(&database, sql, &more);
        assert!(!answer.is_empty(), "{sql}");
    }
    let subsets: BTreeSet<Vec<bool>> = examples
        .iter()
        .filter(|sql| sql.contains("GROUP BY t\n") && !sql.contains("FROM\n("))
        .map(|sql| {
            let by =
                |dimension: &(&str, &str, bool)| sql.contains(&format!("{} = {{", dimension.0));
            DIMENSIONS.iter().map(by).collect()
        })
        .collect();
    assert_eq!(subsets.len(), 16, "filters of section 1");
}

/// What a query reads: the table, or one of its projections.
fn read_by(database: &Database, sql: &str) -> String {
    let plan = database.ask(&format!("EXPLAIN {sql}"));
    let from = plan.split("ReadFromMergeTree (").nth(1).unwrap();
    from[..from.find(')').unwrap()].replace(&format!("{}.", database.name), "")
}

#[test]
fn each_kind_of_question_reads_what_was_made_for_it() {
    let database = filled("reads");
    let minutes = "minute >= '2026-01-01 10:17:00' AND minute < '2026-01-04 03:02:00'";
    let days = "day BETWEEN toDate('2026-01-02') AND toDate('2026-01-04')";
    for (what, keys, when, read) in [
        (
            "all",
            "toStartOfHour(minute)",
            minutes.to_owned(),
            "status_and_cache",
        ),
        (
            "a status",
            "toStartOfHour(minute)",
            format!("{minutes} AND response_status = 404"),
            "status_and_cache",
        ),
        (
            "by both",
            "minute, response_status, cache_status",
            minutes.to_owned(),
            "status_and_cache",
        ),
        (
            "a resource",
            "toStartOfHour(minute)",
            format!("{minutes} AND resource_id = 2"),
            "without_address",
        ),
        (
            "by resource",
            "resource_id",
            minutes.to_owned(),
            "without_address",
        ),
        (
            "an address",
            "toStartOfHour(minute)",
            format!("{minutes} AND remote_addr = '192.0.3.X'"),
            "by_address",
        ),
        (
            "some addresses",
            "resource_id",
            format!("{minutes} AND remote_addr IN ('192.0.3.X', '192.0.9.X')"),
            "by_address",
        ),
        (
            "a network",
            "remote_addr",
            format!("{minutes} AND startsWith(remote_addr, '192.0.7')"),
            "by_address",
        ),
        (
            "top addresses",
            "remote_addr",
            days.to_owned(),
            "address_by_day",
        ),
        (
            "of a status",
            "remote_addr",
            format!("{days} AND response_status = 404"),
            "address_by_day",
        ),
        (
            "top resources",
            "resource_id",
            days.to_owned(),
            "resource_by_day",
        ),
        (
            "by resource and cache",
            "resource_id, cache_status",
            days.to_owned(),
            "resource_by_day",
        ),
        (
            "addresses of a resource",
            "remote_addr",
            format!("{minutes} AND resource_id = 2"),
            "http_log_totals",
        ),
    ] {
        let sql = format!(
            "SELECT {keys}, sum(requests) FROM http_log_totals WHERE {when} GROUP BY {keys}"
        );
        assert_eq!(read_by(&database, &sql), read, "{what}: {sql}");
    }
}
