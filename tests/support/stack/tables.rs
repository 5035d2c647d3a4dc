//! The tables of `sql/`, made as an operator makes them, but to keep rows of any
//! age: synthetic rows have the time that their seed gave them.

use std::fs;

use super::{ask_clickhouse_with, root};

const FILES: [&str; 3] = [
    "001_http_log",
    "002_http_log_totals",
    "003_http_log_totals_view",
];

/// Makes them in a database that is there.
pub fn create(clickhouse: u16, database: &str) {
    let parameters = parameters();
    for file in FILES {
        ask_clickhouse_with(clickhouse, database, &read(file), &parameters);
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(format!("sql/{file}.sql"))).unwrap()
}

/// What `000_parameters.sql` sets, in a URL's form, with days for ever.
fn parameters() -> String {
    let defaults = read("000_parameters");
    let set = |line: &str| {
        let (name, value) = line
            .strip_prefix("SET param_")?
            .strip_suffix(';')?
            .split_once(" = ")?;
        let value = if name.ends_with("_days") {
            "100000"
        } else {
            value
        };
        Some(format!("&param_{name}={value}"))
    };
    let parameters: Vec<String> = defaults.lines().filter_map(set).collect();
    assert_eq!(parameters.len(), 3, "{parameters:?}");
    parameters.concat()
}
