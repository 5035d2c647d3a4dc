//! How do the tables of `sql/` behave beside being asked: what is too old, what is
//! deleted, and do those for a cluster hold the same?

use crate::support::stack::tables::{self, Database, in_url};
use crate::support::stack::{root, stack};

/// As an operator makes them, with the retention of `000_parameters.sql`.
fn with_defaults(test: &str) -> Database {
    let database = Database::new(test);
    let defaults = in_url(tables::parameters("000_parameters"));
    tables::create_with(stack().clickhouse, &database.name, &defaults);
    database
}

/// Ten requests served at this time, an expression of ClickHouse.
fn insert_at(database: &Database, time: &str) {
    database.ask(&format!(
        "INSERT INTO http_log SELECT {time}, number % 2, 100, 1, 200, 'HIT', 'GET', \
         concat('192.0.', toString(number % 5), '.X'), 'https://cdn.example/' FROM numbers(10)"
    ));
}

fn assert_requests(database: &Database, of: &str, log: &str, totals: &str) {
    let count = |table: &str, time: &str, sum: &str| {
        let answer = database.ask(&format!(
            "SELECT {sum} FROM {table} WHERE toStartOfHour({time}) = {of}"
        ));
        answer.trim().to_owned()
    };
    assert_eq!(count("http_log", "timestamp", "count()"), log, "log, {of}");
    assert_eq!(
        count("http_log_totals", "minute", "sum(requests)"),
        totals,
        "totals, {of}"
    );
}

#[test]
fn what_is_too_old_goes_and_what_a_date_cannot_hold_longer_stays() {
    let database = with_defaults("retention");
    let [yesterday, month, year, last] = [
        "toStartOfHour(now('UTC') - 86400)",
        "toStartOfHour(now('UTC') - 32 * 86400)",
        "toStartOfHour(now('UTC') - 402 * 86400)",
        "toDateTime(4294965600, 'UTC')",
    ];
    for time in [yesterday, month, year, last] {
        insert_at(&database, time);
    }
    for table in ["http_log", "http_log_totals"] {
        database.ask(&format!("OPTIMIZE TABLE {table} FINAL"));
    }
    assert_requests(&database, yesterday, "10", "10");
    assert_requests(&database, month, "0", "10");
    assert_requests(&database, year, "0", "0");
    assert_requests(&database, last, "10", "10");
}

#[test]
fn deleted_rows_are_gone_from_every_projection() {
    let database = with_defaults("deletes");
    insert_at(&database, "toStartOfHour(now('UTC') - 86400)");
    for delete in [
        "DELETE FROM http_log_totals WHERE remote_addr = '192.0.1.X'",
        "ALTER TABLE http_log_totals DELETE WHERE remote_addr = '192.0.2.X' SETTINGS mutations_sync = 2",
    ] {
        database.ask(delete);
    }
    for (what, sql) in [
        ("all", "SELECT sum(requests) FROM http_log_totals"),
        (
            "by address",
            "SELECT sum(r) FROM (SELECT remote_addr, sum(requests) AS r FROM http_log_totals GROUP BY remote_addr)",
        ),
        (
            "by day",
            "SELECT sum(r) FROM (SELECT day, resource_id, sum(requests) AS r FROM http_log_totals GROUP BY day, resource_id)",
        ),
        (
            "of minutes",
            "SELECT sum(r) FROM (SELECT minute, resource_id, sum(requests) AS r FROM http_log_totals GROUP BY minute, resource_id)",
        ),
        (
            "of addresses",
            "SELECT sum(requests) FROM http_log_totals WHERE remote_addr LIKE '192.0.%' AND minute > 0",
        ),
    ] {
        for projections in [0, 1] {
            let answer = database.ask(&format!(
                "{sql} SETTINGS optimize_use_projections = {projections}"
            ));
            assert_eq!(answer, "6\n", "{what}, projections {projections}");
        }
    }
}

/// A statement in ClickHouse's own layout, without what is meant to differ.
fn alike(file: &str) -> String {
    let text = tables::read(file);
    let statement = text.split(";\n").next().unwrap();
    let mut statement: String = statement
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .map(|line| format!("{}\n", line.split(" -- ").next().unwrap()))
        .collect();
    for (in_cluster, alone) in [
        (" ON CLUSTER '{cluster}'", ""),
        ("_local", ""),
        (
            "ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/http_log', '{replica}')",
            "MergeTree",
        ),
        (
            "ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/http_log_totals', '{replica}')",
            "MergeTree",
        ),
        (
            "    replicated_deduplication_window_seconds = {deduplication_seconds:UInt64},\n",
            "",
        ),
        (
            " replicated_deduplication_window",
            " non_replicated_deduplication_window",
        ),
    ] {
        statement = statement.replace(in_cluster, alone);
    }
    let quoted = statement.replace('\\', "\\\\").replace('\'', "\\'");
    stack().clickhouse("default", &format!("SELECT formatQuery('{quoted}')"))
}

#[test]
fn the_tables_of_a_cluster_are_those_of_one_server() {
    for file in [
        "001_http_log",
        "002_http_log_totals",
        "003_http_log_totals_view",
    ] {
        assert_eq!(alike(&format!("cluster/{file}")), alike(file), "{file}");
    }
}

#[test]
fn a_cluster_has_the_parameters_of_one_server_and_one_more() {
    let mut in_cluster = tables::parameters("cluster/000_parameters");
    in_cluster.retain(|(name, _)| name != "deduplication_seconds");
    assert_eq!(in_cluster, tables::parameters("000_parameters"));
}

#[test]
fn every_statement_of_a_cluster_is_one_to_clickhouse() {
    let mut statements = 0;
    for entry in root().join("sql/cluster").read_dir().unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for statement in text.split(";\n").filter(|text| !text.trim().is_empty()) {
            let quoted = statement.replace('\\', "\\\\").replace('\'', "\\'");
            stack().clickhouse("default", &format!("SELECT formatQuery('{quoted}')"));
            statements += 1;
        }
    }
    assert_eq!(statements, 9, "four parameters, four tables, one view");
}
