//! One question to the server that tells all that an insert depends on: version,
//! columns, deduplication windows along the chain of views, known settings. One
//! statement in one request, because it takes a slot of the proxy.
//!
//! Builds the statement and reads the answer; no I/O.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::upload::outcome::{Answer, Outcome, classify};
use crate::upload::request::Target;
use crate::upload::settings::Settings;

/// The setting of a plain MergeTree table that makes it remember tokens.
const WINDOW: &str = "non_replicated_deduplication_window";

/// A table's name with its database.
pub type Named = String;

/// What the server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Its version.
    pub version: String,
    /// Columns of the table of the log: name and type, in order.
    pub columns: Vec<(String, String)>,
    /// The table of the log, if it is there.
    pub log: Option<Table>,
    /// Views that every insert feeds, and where each of them stores.
    pub views: BTreeMap<Named, Named>,
    /// Tables that the views store in.
    pub totals: BTreeMap<Named, Table>,
    /// The settings it knows of those that were asked for.
    pub settings: BTreeSet<String>,
    /// Tokens that a plain MergeTree table remembers without being told.
    pub window: u64,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its engine.
    pub engine: String,
    /// The engine with its settings.
    pub definition: String,
}

impl Table {
    /// How many tokens it remembers; `None` if it is no plain MergeTree table,
    /// whose memory is a matter of its own. `default` is the server's.
    pub fn window(&self, default: u64) -> Option<u64> {
        if !self.engine.ends_with("MergeTree")
            || self.engine.starts_with("Replicated")
            || self.engine.starts_with("Shared")
        {
            return None;
        }
        let said = self.definition.split(WINDOW).nth(1).map(|after| {
            let digits = after.trim_start_matches([' ', '=', '\'']);
            let end = digits
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(digits.len());
            digits[..end].parse().unwrap_or(0)
        });
        Some(said.unwrap_or(default))
    }
}

/// The statement for a target and the settings that its inserts carry.
pub fn statement(target: &Target, settings: &Settings) -> String {
    let database = text(&target.database);
    let table = text(&target.table);
    let names: Vec<String> = settings.keys().map(|name| text(name)).collect();
    let names = names.join(", ");
    let views = views_of(target);
    let totals = totals_of(target);
    [
        "SELECT 'version', version(), '', ''".to_owned(),
        format!(
            "SELECT 'column', name, type, '' FROM (SELECT name, type FROM system.columns \
             WHERE database = {database} AND table = {table} ORDER BY position)"
        ),
        format!(
            "SELECT 'log', name, engine, engine_full FROM system.tables \
             WHERE database = {database} AND name = {table}"
        ),
        format!("SELECT 'view', concat(database, '.', name), {STORES}, '' {views}"),
        format!(
            "SELECT 'totals', concat(database, '.', name), engine, engine_full FROM system.tables \
             WHERE concat(database, '.', name) IN ({totals})"
        ),
        format!("SELECT 'setting', name, '', '' FROM system.settings WHERE name IN ({names})"),
        format!(
            "SELECT 'window', value, '', '' FROM system.merge_tree_settings WHERE name = '{WINDOW}'"
        ),
    ]
    .join(" UNION ALL ")
        + " FORMAT JSONCompactEachRow"
}

/// Where a view stores, of its definition: `CREATE MATERIALIZED VIEW d.v TO d.t (…)
/// AS …`, names perhaps in back quotes.
const STORES: &str = "extract(replaceAll(create_table_query, '`', ''), \
                      '^CREATE MATERIALIZED VIEW \\\\S+ TO (\\\\S+)')";

/// The views that every insert into the target feeds, from `FROM` on.
fn views_of(target: &Target) -> String {
    let database = text(&target.database);
    let table = text(&target.table);
    format!(
        "FROM system.tables WHERE concat(database, '.', name) IN (\
         SELECT arrayJoin(arrayMap((d, t) -> concat(d, '.', t), dependencies_database, \
         dependencies_table)) FROM system.tables WHERE database = {database} AND name = {table})"
    )
}

/// A `SELECT` of the tables, with their databases, that those views store in.
pub(super) fn totals_of(target: &Target) -> String {
    format!("SELECT {STORES} {}", views_of(target))
}

/// The statement as a request's body, filled with blanks up to `bytes`, so that
/// the proxy sees a body as large as a batch.
pub fn body(statement: &str, bytes: u64) -> Bytes {
    let mut body = statement.as_bytes().to_vec();
    let bytes = usize::try_from(bytes).unwrap_or(body.len());
    body.resize(body.len().max(bytes), b' ');
    body.into()
}

/// Reads the answer.
///
/// # Errors
/// What became of the request instead.
pub fn read(answer: &Answer) -> Result<Server, Outcome> {
    let is_told = answer.status == 200 && answer.complete && !answer.body.is_empty();
    let server = is_told.then(|| parse(&answer.body)).flatten();
    server.ok_or_else(|| classify(answer))
}

fn parse(body: &[u8]) -> Option<Server> {
    let mut server = Server::default();
    for line in std::str::from_utf8(body).ok()?.lines() {
        let (what, name, second, third): (String, String, String, String) =
            serde_json::from_str(line).ok()?;
        let table = || Table {
            engine: second.clone(),
            definition: third.clone(),
        };
        match what.as_str() {
            "version" => server.version = name,
            "column" => server.columns.push((name, second)),
            "log" => server.log = Some(table()),
            "view" => drop(server.views.insert(name, second)),
            "totals" => drop(server.totals.insert(name, table())),
            "setting" => drop(server.settings.insert(name)),
            "window" => server.window = name.parse().unwrap_or(0),
            _ => return None,
        }
    }
    (!server.version.is_empty()).then_some(server)
}

/// A text as ClickHouse's lexer reads it.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use url::Url;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            complete: true,
        }
    }

    #[test]
    fn an_answer_is_read_line_by_line_and_anything_else_is_classified() {
        let server = read(&answer(
            200,
            "[\"version\",\"26.9\",\"\",\"\"]\n[\"column\",\"url\",\"String\",\"\"]\n\
             [\"log\",\"t\",\"MergeTree\",\"MergeTree SETTINGS x = 1\"]\n\
             [\"view\",\"d.v\",\"d.s\",\"\"]\n[\"window\",\"7\",\"\",\"\"]\n",
        ))
        .unwrap();
        assert_eq!((server.version.as_str(), server.window), ("26.9", 7));
        assert_eq!(server.columns, [("url".to_owned(), "String".to_owned())]);
        assert_eq!(server.views["d.v"], "d.s");
        assert!(matches!(
            read(&answer(503, "busy")),
            Err(Outcome::Throttled { .. })
        ));
        assert_eq!(read(&answer(413, "")), Err(Outcome::TooLarge));
        assert!(matches!(
            read(&answer(200, "hello")),
            Err(Outcome::Unknown(_))
        ));
    }

    #[test]
    fn a_window_is_read_from_the_definition_or_is_the_servers() {
        let table = |engine: &str, definition: &str| Table {
            engine: engine.into(),
            definition: definition.into(),
        };
        let told =
            "MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 10000, i = 1";
        assert_eq!(table("MergeTree", told).window(0), Some(10_000));
        assert_eq!(
            table("SummingMergeTree", "SummingMergeTree ORDER BY a").window(3),
            Some(3)
        );
        assert_eq!(table("ReplicatedMergeTree", told).window(0), None);
        assert_eq!(table("Null", "Null").window(0), None);
    }

    #[test]
    fn a_hostile_name_stays_one_text() {
        let target = Target {
            url: Url::parse("http://x/").unwrap(),
            database: "d'; DROP".into(),
            table: r"t\".into(),
        };
        let sql = statement(&target, &Settings::from([("a".into(), "1".into())]));
        assert!(
            sql.contains(r"database = 'd\'; DROP' AND name = 't\\'"),
            "{sql}"
        );
        assert!(sql.contains("name IN ('a')"), "{sql}");
        assert_eq!(body("SELECT 1", 20).len(), 20);
        assert_eq!(body("SELECT 1", 3).as_ref(), b"SELECT 1");
    }
}
