//! What is seen of an installation from outside: its state file, its tables, its status
//! server.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::super::spool_files::{Row, Totals};
use super::super::{ask_clickhouse, http};
use super::House;

impl House {
    /// `spool.json`, once it is there.
    pub fn state_file(&self) -> Option<Value> {
        let text = fs::read(self.spool().join("spool.json")).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// The positions in `spool.json` of the topic that was read last, by partition.
    pub fn positions(&self) -> BTreeMap<i32, i64> {
        let state = self.state_file().unwrap_or_default();
        let source = state["sources"]
            .as_array()
            .and_then(|sources| sources.last());
        let positions = source
            .and_then(|source| source["positions"].as_object().cloned())
            .unwrap_or_default();
        let position = |(partition, offset): (String, Value)| {
            (partition.parse().unwrap(), offset.as_i64().unwrap())
        };
        positions.into_iter().map(position).collect()
    }

    /// The gaps that it wrote down: partition, first and end offset.
    pub fn gaps(&self) -> Vec<(i32, i64, i64)> {
        let journal = fs::read_to_string(self.spool().join("gaps.jsonl")).unwrap_or_default();
        let gap = |line: &str| {
            let gap: Value = serde_json::from_str(line).unwrap();
            let number = |key: &str| gap[key].as_i64().unwrap();
            (number("partition") as i32, number("from"), number("to"))
        };
        journal.lines().map(gap).collect()
    }

    /// Asks ClickHouse, in its database.
    pub fn clickhouse(&self, sql: &str) -> String {
        ask_clickhouse(self.clickhouse, &self.name, sql)
    }

    /// All rows of its table, sorted.
    pub fn stored_rows(&self) -> Vec<Row> {
        let answer = self.clickhouse(
            "SELECT toUInt32(timestamp) AS timestamp, * EXCEPT timestamp FROM http_log \
             SETTINGS output_format_json_quote_64bit_integers = 0 FORMAT JSONEachRow",
        );
        let rows = answer
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let mut rows: Vec<Row> = rows.collect();
        rows.sort();
        rows
    }

    /// What the totals say: requests, bytes and time, summed by key.
    pub fn stored_totals(&self) -> Totals {
        let answer = self.clickhouse(
            "SELECT toUInt32(minute), resource_id, response_status, cache_status, remote_addr, \
             sum(requests), sum(bytes_sent), sum(request_time_milli) FROM http_log_totals \
             GROUP BY minute, resource_id, response_status, cache_status, remote_addr \
             SETTINGS output_format_json_quote_64bit_integers = 0 FORMAT JSONCompactEachRow",
        );
        let total = |line: &str| {
            let (minute, resource, status, cache, address, requests, bytes, time) =
                serde_json::from_str(line).unwrap();
            (
                (minute, resource, status, cache, address),
                [requests, bytes, time],
            )
        };
        answer.lines().map(total).collect()
    }

    /// How many requests had an outcome, as its metrics name it.
    pub fn requests_with(&self, outcome: &str) -> f64 {
        let text = self.observed("/metrics");
        let name = format!("spoolhouse_requests_total{{outcome=\"{outcome}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Where its status server listens.
    pub fn observe_address(&self) -> String {
        format!("127.0.0.1:{}", self.observe.get())
    }

    /// What a path of its status server says.
    pub fn observed(&self, path: &str) -> String {
        let (status, text) = self.asked(path);
        assert_eq!(status, 200, "{path}");
        text
    }

    /// Status and answer of a path of its status server.
    pub fn asked(&self, path: &str) -> (u16, String) {
        let (status, text) = http(self.observe.get(), "GET", path, b"");
        (status, String::from_utf8(text).unwrap())
    }

    /// A metric's value, added up over its labels; 0 before it is first counted.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.observed("/metrics");
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let ours = rest.starts_with([' ', '{']);
            let (_, value) = rest.rsplit_once(' ')?;
            ours.then(|| value.parse::<f64>().unwrap())
        });
        values.sum()
    }
}
