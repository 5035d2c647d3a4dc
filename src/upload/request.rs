//! Builds the request that posts one batch: a URL and nothing else, since the
//! body is the batch as it lies on disk.
//!
//! The same batch always gives the same URL: the token, the query id and the
//! frozen settings are functions of the batch, never of the attempt. No I/O.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::settings::Settings;
use crate::spool::format::schema::LOG_COLUMNS;

/// What a query string may carry unescaped: RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Where batches go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The proxy, or ClickHouse itself: `http` or `https`, no query of its own.
    pub url: Url,
    /// The database of the table.
    pub database: String,
    /// The table with the nine columns of the contract.
    pub table: String,
}

/// One insert, ready to be posted with a batch as its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Statement, settings and token, in the query string.
    pub url: Url,
    /// The id under which ClickHouse lists the insert: find it in
    /// `system.query_log`.
    pub query_id: String,
}

/// The insert of the batch with this `digest` under its frozen `settings`.
///
/// The digest (lower-case hex of the SHA-256 of the bytes) is the
/// deduplication token: the server drops a second batch under one token even
/// when its rows differ, so nothing but the content may name it.
pub fn insert(target: &Target, digest: &str, settings: &Settings) -> Request {
    let query_id = format!("spoolhouse-{digest}");
    let statement = statement(target);
    let fixed = [
        ("query", statement.as_str()),
        ("query_id", &query_id),
        ("insert_deduplication_token", digest),
    ];
    let settings = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let query = fixed
        .into_iter()
        .chain(settings)
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect::<Vec<_>>()
        .join("&");
    let mut url = target.url.clone();
    url.set_query(Some(&query));
    Request { url, query_id }
}

/// `INSERT INTO <database>.<table> (<nine columns>) FORMAT Parquet`.
fn statement(target: &Target) -> String {
    format!(
        "INSERT INTO {}.{} ({}) FORMAT Parquet",
        identifier(&target.database),
        identifier(&target.table),
        LOG_COLUMNS.join(", "),
    )
}

/// A name in back quotes, as ClickHouse's lexer reads it: a back quote or a
/// backslash inside is escaped by a backslash.
fn identifier(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('`');
    for c in name.chars() {
        if matches!(c, '`' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('`');
    quoted
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::settings;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn target(database: &str, table: &str) -> Target {
        Target {
            url: Url::parse("http://127.0.0.1:8124/clickhouse/").unwrap(),
            database: database.into(),
            table: table.into(),
        }
    }

    fn parameter(request: &Request, name: &str) -> Vec<String> {
        let pairs = request.url.query_pairs().filter(|(key, _)| key == name);
        pairs.map(|(_, value)| value.into_owned()).collect()
    }

    #[test]
    fn the_url_carries_statement_token_query_id_and_every_setting_once() {
        let settings = settings::effective(&Settings::new());
        let request = insert(&target("default", "http_log"), DIGEST, &settings);
        assert_eq!(request.url.path(), "/clickhouse/");
        assert_eq!(
            parameter(&request, "query"),
            [
                "INSERT INTO `default`.`http_log` (timestamp, resource_id, bytes_sent, \
              request_time_milli, response_status, cache_status, method, remote_addr, url) \
              FORMAT Parquet"
            ]
        );
        assert_eq!(parameter(&request, "insert_deduplication_token"), [DIGEST]);
        assert_eq!(
            parameter(&request, "query_id"),
            [format!("spoolhouse-{DIGEST}")]
        );
        for (name, value) in &settings {
            assert_eq!(&parameter(&request, name), std::slice::from_ref(value));
        }
        assert_eq!(request.url.query_pairs().count(), 3 + settings.len());
    }

    #[test]
    fn the_same_batch_gives_the_same_url_every_time() {
        let settings = settings::effective(&Settings::new());
        let once = insert(&target("d", "t"), DIGEST, &settings);
        assert_eq!(once, insert(&target("d", "t"), DIGEST, &settings));
    }

    #[test]
    fn a_hostile_name_stays_one_identifier() {
        let request = insert(
            &target("a`b", r"t\` FORMAT CSV & x=1#"),
            DIGEST,
            &Settings::new(),
        );
        let statement = &parameter(&request, "query")[0];
        assert!(statement.starts_with(r"INSERT INTO `a\`b`.`t\\\` FORMAT CSV & x=1#` ("));
        assert_eq!(request.url.query_pairs().count(), 3);
        assert_eq!(request.url.fragment(), None);
    }

    #[test]
    fn a_space_is_escaped_as_percent_twenty_not_as_plus() {
        let request = insert(&target("d", "t"), DIGEST, &Settings::new());
        let query = request.url.query().unwrap();
        assert!(query.contains("INSERT%20INTO"), "{query}");
        assert!(!query.contains('+'));
    }
}
