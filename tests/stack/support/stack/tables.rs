//! The tables of `sql/`, made as an operator makes them, and databases to have
//! them in.

use std::fs;

use super::{ask_clickhouse, ask_clickhouse_with, root, stack, unique_name};
use crate::support::exclusive::{Place, place};

const FILES: [&str; 3] = [
    "001_http_log",
    "002_http_log_totals",
    "003_http_log_totals_view",
];

/// More days than a `DateTime` holds: synthetic rows have the time that their
/// seed gave them.
const FOR_EVER: &str = "100000";

/// Makes them in a database that is there, to keep rows of any age.
pub fn create(clickhouse: u16, database: &str) {
    let for_ever = |name: &str, value: String| match name.ends_with("_days") {
        true => FOR_EVER.to_owned(),
        false => value,
    };
    let parameters = parameters("000_parameters")
        .into_iter()
        .map(|(name, value)| (name.clone(), for_ever(&name, value)));
    create_with(clickhouse, database, &in_url(parameters));
}

/// Makes them with these parameters, in a URL's form.
pub fn create_with(clickhouse: u16, database: &str, parameters: &str) {
    for file in FILES {
        ask_clickhouse_with(clickhouse, database, &read(file), parameters);
    }
}

/// A file of `sql/`, named without its ending.
pub fn read(file: &str) -> String {
    fs::read_to_string(root().join(format!("sql/{file}.sql"))).unwrap()
}

/// Names and values of the parameters that a file sets.
pub fn parameters(file: &str) -> Vec<(String, String)> {
    let set = |line: &str| {
        let line = line.strip_prefix("SET param_")?.strip_suffix(';')?;
        let (name, value) = line.split_once(" = ")?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    read(file).lines().filter_map(set).collect()
}

/// Parameters as more of a URL's query.
pub fn in_url(parameters: impl IntoIterator<Item = (String, String)>) -> String {
    let escaped = |value: String| value.replace(' ', "%20");
    parameters
        .into_iter()
        .map(|(name, value)| format!("&param_{name}={}", escaped(value)))
        .collect()
}

/// A database of one's own in the stack's ClickHouse; gone with the test.
pub struct Database {
    /// Its name.
    pub name: String,
    _place: Place,
}

impl Database {
    /// An empty one; `test` names it.
    pub fn new(test: &str) -> Self {
        let place = place();
        let name = unique_name(test);
        ask_clickhouse(
            stack().clickhouse,
            "default",
            &format!("CREATE DATABASE {name}"),
        );
        Self {
            name,
            _place: place,
        }
    }

    /// Asks in it.
    pub fn ask(&self, sql: &str) -> String {
        self.ask_with(sql, "")
    }

    /// The same with more of the URL's query.
    pub fn ask_with(&self, sql: &str, more: &str) -> String {
        ask_clickhouse_with(stack().clickhouse, &self.name, sql, more)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ask(&format!("DROP DATABASE {}", self.name));
        }
    }
}
