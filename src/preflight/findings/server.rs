//! What is said about the proxy and the server behind it.

use super::{Finding, duration, key, size};
use crate::config::Loaded;
use crate::preflight::proxy::Seen;
use crate::upload::outcome::{Outcome, Reason, Refusal};
use crate::upload::query::server_info::{Server, Table};
use crate::upload::settings::{self, PINNED};

const ABOUT: &str = "proxy";

/// The types that a column of the log may have, by column: those that hold every
/// value of the contract (`sql/001_http_log.sql`).
const TYPES: [(&str, &[&str]); 9] = [
    ("timestamp", &["DateTime", "DateTime64", "UInt32", "UInt64"]),
    ("resource_id", &["UInt64"]),
    ("bytes_sent", &["UInt64"]),
    ("request_time_milli", &["UInt64"]),
    ("response_status", &["UInt16", "UInt32", "UInt64"]),
    ("cache_status", &["String"]),
    ("method", &["String"]),
    ("remote_addr", &["String"]),
    ("url", &["String"]),
];

/// ClickHouse's codes for a user that is unknown, or whose password is wrong, and
/// for one that may not do this.
const STRANGER: [u16; 4] = [192, 193, 194, 516];
const NOT_GRANTED: u16 = 497;

/// The body limit that the upload has learned.
pub(in crate::preflight) fn learned(body_bytes_max: u64, loaded: &Loaded) -> Option<Finding> {
    let configured = loaded.config.upload.max_body;
    (body_bytes_max < configured).then(|| {
        let max_body = key(loaded, "upload.max_body");
        Finding::problem(
            ABOUT,
            format!(
                "it has refused bodies of {max_body} = {}; now {} are tried",
                size(configured),
                size(body_bytes_max)
            ),
            format!("set {max_body} to the proxy's client_max_body_size, or raise that one"),
        )
    })
}

/// The proxy, and what the server behind it says.
pub(in crate::preflight) fn proxy(seen: &Seen, loaded: &Loaded) -> Vec<Finding> {
    let mut found = vec![slot(seen, took_slot(&seen.answer))];
    let max_body = key(loaded, "upload.max_body");
    if let Some(bytes) = seen.refused_bytes {
        found.push(Finding::problem(
            ABOUT,
            format!("it refuses a body of {max_body} = {} (413)", size(bytes)),
            format!(
                "set {max_body} to the proxy's client_max_body_size (1MiB in a stock nginx), or \
                 raise that one"
            ),
        ));
    }
    match &seen.answer {
        Ok(server) => {
            if seen.refused_bytes.is_none() {
                found.push(Finding::ok(
                    ABOUT,
                    format!("admits a body of {}", size(seen.bytes)),
                ));
            }
            found.extend(self::server(server, loaded));
        }
        Err(outcome) => found.push(no_answer(outcome, seen, loaded)),
    }
    found
}

/// Whether the proxy let the request through, or may have.
fn took_slot(answer: &Result<Server, Outcome>) -> bool {
    match answer {
        Err(Outcome::NotSent(_) | Outcome::Throttled { .. } | Outcome::TooLarge) => false,
        // It was us who refused, before a byte had left.
        Err(Outcome::Refused(Refusal::Operator(reason))) if reason.status.is_none() => false,
        Ok(_) | Err(Outcome::Stored | Outcome::Unknown(_) | Outcome::Refused(_)) => true,
    }
}

fn slot(seen: &Seen, is_taken: bool) -> Finding {
    if !is_taken {
        return Finding::ok(ABOUT, "no slot was used");
    }
    let what = format!(
        "one slot was used, after waiting {}",
        duration(whole(seen.waited))
    );
    match &seen.noted {
        Ok(()) => Finding::ok(ABOUT, format!("{what}, and noted in pace.json")),
        Err(why) => Finding::note(
            ABOUT,
            format!("{what}; it is not noted in pace.json: {why}"),
            "nothing: the next post of `run` may find its slot taken, once, and goes at the next",
        ),
    }
}

/// In whole seconds, as people read it.
fn whole(time: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(time.as_secs())
}

fn no_answer(outcome: &Outcome, seen: &Seen, loaded: &Loaded) -> Finding {
    let url = key(loaded, "upload.url");
    let problem = |what: String, cure: String| Finding::problem(ABOUT, what, cure);
    match outcome {
        Outcome::NotSent(reason) => problem(
            format!("nothing could be sent to {url}: {reason}"),
            "start the proxy, or correct upload.url (for TLS also upload.ca_file)".to_owned(),
        ),
        Outcome::Throttled { .. } => problem(
            format!(
                "it let no request through for {}",
                duration(whole(seen.waited))
            ),
            format!(
                "something else takes its slots: a `spoolhouse run`, another client of the same \
                 limiter, or a slot every {} is more than it gives ({})",
                duration(loaded.config.upload.interval),
                key(loaded, "upload.interval")
            ),
        ),
        Outcome::TooLarge => problem(
            format!("it refuses a body of {} (413)", size(seen.bytes)),
            "raise its client_max_body_size".to_owned(),
        ),
        Outcome::Stored => problem(
            format!("what answers at {url} says nothing to a question"),
            "correct upload.url: it must lead to ClickHouse's HTTP port (8123 by default)"
                .to_owned(),
        ),
        Outcome::Unknown(reason) => problem(
            format!("no usable answer: {reason}"),
            "look at the logs of the proxy and of ClickHouse; if that is not ClickHouse, correct \
             upload.url"
                .to_owned(),
        ),
        Outcome::Refused(
            Refusal::Operator(reason) | Refusal::Format(reason) | Refusal::Data(reason),
        ) => problem(format!("refused: {reason}"), refusal_cure(reason, loaded)),
    }
}

fn refusal_cure(reason: &Reason, loaded: &Loaded) -> String {
    let login = || {
        format!(
            "correct {} or the password in {}",
            key(loaded, "upload.user"),
            key(loaded, "upload.password_file")
        )
    };
    match (reason.code, reason.status) {
        (Some(code), _) if STRANGER.contains(&code) => login(),
        (Some(NOT_GRANTED), _) => "grant the user SELECT on system.tables, system.columns, \
                                   system.settings and system.merge_tree_settings, so that this can \
                                   be checked; and INSERT on the table"
            .to_owned(),
        (None, Some(401 | 403)) => format!(
            "{}, and set upload.auth = \"basic\" if it is the proxy that asks for it",
            login()
        ),
        (None, None) => format!(
            "mend what it names ({} is where it goes)",
            key(loaded, "upload.url")
        ),
        (None, _) => format!(
            "correct {}: it must lead to ClickHouse's HTTP port (8123 by default), through the proxy",
            key(loaded, "upload.url")
        ),
        _ => "mend what it names; `run` would be refused the same way".to_owned(),
    }
}

/// What the server says of itself, its tables and settings.
fn server(server: &Server, loaded: &Loaded) -> Vec<Finding> {
    let upload = &loaded.config.upload;
    let log = format!("{}.{}", upload.database, upload.table);
    let mut found = vec![Finding::ok(ABOUT, format!("ClickHouse {}", server.version))];
    let Some(table) = &server.log else {
        found.push(Finding::problem(
            ABOUT,
            format!("there is no table {log}, or this user may not see it"),
            format!(
                "apply the files of sql/ directly on ClickHouse, or correct {} and {}",
                key(loaded, "upload.database"),
                key(loaded, "upload.table")
            ),
        ));
        found.extend(unknown_settings(server, loaded));
        return found;
    };
    found.extend(columns(server, &log));
    found.push(window(&log, table, server.window));
    found.extend(views(server, &log));
    found.extend(unknown_settings(server, loaded));
    found
}

fn columns(server: &Server, log: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, types) in TYPES {
        let there = server.columns.iter().find(|(column, _)| column == name);
        let wanted = types.join(" or ");
        match there {
            None => found.push(Finding::problem(
                ABOUT,
                format!("{log} has no column {name}"),
                format!("ALTER TABLE {log} ADD COLUMN {name} {}", types[0]),
            )),
            Some((_, of_type)) if !types.contains(&plain(of_type)) => found.push(Finding::problem(
                ABOUT,
                format!("{log}.{name} is {of_type}, which can't hold what is sent: {wanted}"),
                format!("ALTER TABLE {log} MODIFY COLUMN {name} {}", types[0]),
            )),
            Some(_) => {}
        }
    }
    if found.is_empty() {
        found.push(Finding::ok(ABOUT, format!("{log} has the nine columns")));
    }
    found
}

/// A type without what only changes how it is stored.
fn plain(of_type: &str) -> &str {
    let mut plain = of_type;
    for around in ["LowCardinality(", "Nullable("] {
        plain = plain
            .strip_prefix(around)
            .and_then(|inner| inner.strip_suffix(')'))
            .unwrap_or(plain);
    }
    // `DateTime('UTC')`, `DateTime64(3)`.
    plain.split('(').next().unwrap_or(plain)
}

/// Whether a table remembers what was inserted.
fn window(name: &str, table: &Table, default: u64) -> Finding {
    match table.window(default) {
        Some(0) => Finding::problem(
            ABOUT,
            format!("{name} remembers no tokens: a batch that is sent again is stored twice"),
            format!(
                "ALTER TABLE {name} MODIFY SETTING non_replicated_deduplication_window = 10000"
            ),
        ),
        Some(window) => Finding::ok(ABOUT, format!("{name} remembers {window} tokens")),
        None => Finding::note(
            ABOUT,
            format!(
                "{name} is {}: what it remembers is not known here",
                table.engine
            ),
            "see to it that it deduplicates inserts for longer than an outage may take (for a \
             replicated table: replicated_deduplication_window, …_seconds)",
        ),
    }
}

fn views(server: &Server, log: &str) -> Vec<Finding> {
    if server.views.is_empty() {
        return vec![Finding::note(
            ABOUT,
            format!("no view reads from {log}: nothing fills the totals"),
            "apply sql/002 and sql/003 directly on ClickHouse, unless you want none",
        )];
    }
    let finding = |(view, target): (&String, &String)| match server.totals.get(target) {
        Some(table) => window(target, table, server.window),
        None => Finding::note(
            ABOUT,
            format!("the view {view} stores in a table that can't be seen from here"),
            "see to it that this table has a deduplication window like the log's",
        ),
    };
    server.views.iter().map(finding).collect()
}

fn unknown_settings(server: &Server, loaded: &Loaded) -> Vec<Finding> {
    let overrides = &loaded.config.upload.settings;
    let mut wanted: Vec<String> = settings::effective(overrides).into_keys().collect();
    wanted.push("insert_deduplication_token".to_owned());
    wanted.retain(|name| !settings::OF_HTTP.contains(&name.as_str()));
    let unknown = wanted
        .iter()
        .filter(|name| !server.settings.contains(*name));
    let mut found: Vec<Finding> = unknown
        .map(|name| {
            let what =
                format!("the server does not know the setting {name}: it refuses every insert");
            let pinned = PINNED.iter().find(|pinned| pinned.name == name);
            let is_typed = overrides.contains_key(name);
            let cure = match (pinned, is_typed) {
                (_, true) => {
                    let key = key(loaded, &format!("upload.settings.{name}"));
                    format!("remove {key}, or correct its name")
                }
                (Some(pinned), false) => format!(
                    "write {name} = \"\" in [upload.settings]; without it: {}",
                    pinned.without
                ),
                (None, false) => "use ClickHouse 22.2 or newer".to_owned(),
            };
            Finding::problem(ABOUT, what, cure)
        })
        .collect();
    if found.is_empty() {
        found.push(Finding::ok(
            ABOUT,
            format!("knows all {} settings", wanted.len()),
        ));
    }
    found
}

#[cfg(test)]
mod tests;
