//! One question to the server that tells what its tables take: rows and bytes of
//! the log, of the totals that its view stores in, and of their projections. One
//! statement in one request, because it takes a slot of the proxy.
//!
//! Builds the statement and reads the answer; no I/O.

use std::collections::BTreeMap;

use super::server_info;
use crate::upload::outcome::{Answer, Outcome, classify};
use crate::upload::request::Target;

/// Rows and bytes on disk of active parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Rows.
    pub rows: u64,
    /// Bytes, compressed; of a table without its projections.
    pub bytes: u64,
}

impl Stored {
    /// Bytes per row, if there are rows.
    pub fn bytes_per_row(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.bytes as f64 / self.rows as f64)
    }
}

/// What the server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Its version.
    pub version: String,
    /// The table of the log.
    pub log: Stored,
    /// What its views store in, together.
    pub totals: Stored,
    /// Projections of the totals by name.
    pub projections: BTreeMap<String, Stored>,
}

/// The statement for a target.
pub fn statement(target: &Target) -> String {
    let database = server_info::text(&target.database);
    let table = server_info::text(&target.table);
    let totals = server_info::totals_of(target);
    let summed = "toString(sum(rows)), toString(sum(bytes_on_disk))";
    [
        "SELECT 'version', version(), '', ''".to_owned(),
        format!(
            "SELECT 'log', '', {summed} FROM system.parts \
             WHERE active AND database = {database} AND table = {table}"
        ),
        format!(
            "SELECT 'totals', '', {summed} FROM system.parts \
             WHERE active AND concat(database, '.', table) IN ({totals})"
        ),
        format!(
            "SELECT * FROM (SELECT 'projection', name, {summed} FROM system.projection_parts \
             WHERE active AND concat(database, '.', table) IN ({totals}) GROUP BY name ORDER BY name)"
        ),
    ]
    .join(" UNION ALL ")
        + " FORMAT JSONCompactEachRow"
}

/// Reads the answer.
///
/// # Errors
/// What became of the request instead.
pub fn read(answer: &Answer) -> Result<Sizes, Outcome> {
    let is_told = answer.status == 200 && answer.complete && !answer.body.is_empty();
    let sizes = is_told.then(|| parse(&answer.body)).flatten();
    sizes.ok_or_else(|| classify(answer))
}

fn parse(body: &[u8]) -> Option<Sizes> {
    let mut sizes = Sizes::default();
    for line in std::str::from_utf8(body).ok()?.lines() {
        let (what, name, rows, bytes): (String, String, String, String) =
            serde_json::from_str(line).ok()?;
        let stored = || {
            Some(Stored {
                rows: rows.parse().ok()?,
                bytes: bytes.parse().ok()?,
            })
        };
        match what.as_str() {
            "version" => sizes.version = name,
            "log" => sizes.log = stored()?,
            "totals" => sizes.totals = stored()?,
            "projection" => drop(sizes.projections.insert(name, stored()?)),
            _ => return None,
        }
    }
    // A part's bytes are those of its projections, too.
    let inside: u64 = sizes.projections.values().map(|stored| stored.bytes).sum();
    sizes.totals.bytes = sizes.totals.bytes.saturating_sub(inside);
    (!sizes.version.is_empty()).then_some(sizes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use url::Url;

    use super::*;

    fn answer(body: &str) -> Answer {
        Answer {
            status: 200,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            complete: true,
        }
    }

    #[test]
    fn a_tables_bytes_are_told_without_its_projections() {
        let sizes = read(&answer(
            "[\"version\",\"26.9\",\"\",\"\"]\n[\"log\",\"\",\"100\",\"2000\"]\n\
             [\"totals\",\"\",\"50\",\"1500\"]\n[\"projection\",\"by_address\",\"50\",\"600\"]\n\
             [\"projection\",\"mine\",\"5\",\"100\"]\n",
        ))
        .unwrap();
        assert_eq!(sizes.log.bytes_per_row(), Some(20.0));
        assert_eq!(sizes.totals.bytes_per_row(), Some(16.0));
        assert_eq!(sizes.projections["by_address"].bytes_per_row(), Some(12.0));
        assert_eq!(Stored::default().bytes_per_row(), None);
    }

    #[test]
    fn anything_else_is_classified() {
        for body in [
            "",
            "hello",
            "[\"log\",\"\",\"1\",\"2\"]",
            "[\"x\",\"\",\"\",\"\"]",
        ] {
            assert!(read(&answer(body)).is_err(), "{body}");
        }
    }

    #[test]
    fn a_hostile_name_stays_one_text() {
        let target = Target {
            url: Url::parse("http://x/").unwrap(),
            database: "d'; DROP".into(),
            table: r"t\".into(),
        };
        let sql = statement(&target);
        assert!(
            sql.contains(r"database = 'd\'; DROP' AND table = 't\\'"),
            "{sql}"
        );
    }
}
