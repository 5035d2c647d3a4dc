//! The ClickHouse settings that go with every insert.
//!
//! A retry deduplicates only if the server cuts the file into the same blocks
//! again, so the settings are frozen with a batch: what is *effective* when the
//! batch is published is posted on every attempt, whatever the configuration
//! says later. Nothing here knows a batch; it only makes the table.

use std::collections::BTreeMap;

/// Settings by name, as they are posted.
pub type Settings = BTreeMap<String, String>;

/// A setting that Spoolhouse pins, and what is lost without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pinned {
    /// The setting's name.
    pub name: &'static str,
    /// The value that is posted unless the configuration overrides it.
    pub value: &'static str,
    /// What no longer holds when an operator removes it for an old server.
    pub without: &'static str,
}

/// What is pinned by default. Together these made one file one block and one
/// part per partition on ClickHouse 26.9, the version that was tried.
pub const PINNED: [Pinned; 10] = [
    Pinned {
        name: "async_insert",
        value: "0",
        without: "new servers (26.2 and later) queue the insert and deduplicate by other rules: a retry may duplicate",
    },
    Pinned {
        name: "deduplicate_blocks_in_dependent_materialized_views",
        value: "1",
        without: "servers from 24.7 to 26.1 feed a retried batch to the totals a second time",
    },
    Pinned {
        name: "input_format_parquet_allow_missing_columns",
        value: "0",
        without: "a column that the file lacks is filled with defaults instead of refused",
    },
    Pinned {
        name: "input_format_parquet_preserve_order",
        value: "1",
        without: "the blocks of a retry may hold other rows than those of the first attempt: a retry may duplicate",
    },
    Pinned {
        name: "max_insert_block_size",
        value: "100000000",
        without: "a file of very many rows becomes several blocks, and a change of the server's default between two attempts duplicates",
    },
    Pinned {
        name: "max_insert_threads",
        value: "1",
        without: "blocks are numbered in the order threads finish: a retry may duplicate",
    },
    Pinned {
        name: "max_partitions_per_insert_block",
        value: "0",
        without: "a batch with rows of more than 100 table partitions is refused (code 252)",
    },
    Pinned {
        name: "min_insert_block_size_bytes",
        value: "0",
        without: "a large batch becomes several blocks, and a change of the server's default between two attempts duplicates",
    },
    Pinned {
        name: "min_insert_block_size_rows",
        value: "100000000",
        without: "a batch of more than a million rows becomes several blocks",
    },
    Pinned {
        name: "wait_end_of_query",
        value: "1",
        without: "the answer may begin before the insert ends, and an error then follows a status of 200",
    },
];

/// The parameter that carries the identity of a batch.
const TOKEN: &str = "insert_deduplication_token";

/// URL parameters that are Spoolhouse's own. As a "setting" they would replace
/// the statement, the identity of a batch or the way it is read.
const RESERVED: [&str; 14] = [
    "buffer_size",
    "compress",
    "database",
    "decompress",
    "default_format",
    "insert_deduplicate",
    TOKEN,
    "param",
    "password",
    "query",
    "query_id",
    "send_progress_in_http_headers",
    "session_id",
    "user",
];

/// Parameters of ClickHouse's HTTP interface (its `HTTPHandler`) that may stand
/// among the settings, though the server does not list them as such.
pub const OF_HTTP: [&str; 8] = [
    "client_protocol_version",
    "close_session",
    "quota_key",
    "role",
    "session_check",
    "session_timeout",
    "stacktrace",
    "wait_end_of_query",
];

/// Why an override is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The name belongs to Spoolhouse.
    #[error("is not for the configuration to set: Spoolhouse decides it")]
    Reserved,
    /// The name can't be a setting's.
    #[error("is not the name of a ClickHouse setting (letters, digits and `_`)")]
    NotAName,
}

/// Whether `name` may stand in the configuration's table of settings.
pub fn check_name(name: &str) -> Result<(), SettingError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(word) {
        return Err(SettingError::NotAName);
    }
    if RESERVED.contains(&name) {
        return Err(SettingError::Reserved);
    }
    Ok(())
}

/// The settings to freeze with the next batch: the pinned ones, with
/// `overrides` laid over them. An empty value removes a setting, so that a
/// server that doesn't know it can be served.
pub fn effective(overrides: &Settings) -> Settings {
    let mut settings: Settings = PINNED
        .iter()
        .map(|pinned| (pinned.name.to_owned(), pinned.value.to_owned()))
        .collect();
    for (name, value) in overrides {
        if value.is_empty() {
            settings.remove(name);
        } else {
            settings.insert(name.clone(), value.clone());
        }
    }
    settings
}

/// What an operator can do about a server that does not know a setting: how to
/// remove it, and what goes with it. `message` is the server's; a name in there
/// is only advice, never a decision.
pub fn advice(message: &str, frozen: &Settings) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: Vec<&str> = message.split(|c| !word(c)).collect();
    if words.contains(&TOKEN) {
        return format!(
            "the server does not know {TOKEN}, without which a retry would duplicate: it is older \
             than 22.2 and can't be used; set upload.url to a newer one and start again"
        );
    }
    let Some(name) = words.into_iter().find(|word| frozen.contains_key(*word)) else {
        return "the server does not know a setting: remove it by an empty value in \
                [upload.settings] and start again"
            .to_owned();
    };
    let pinned = PINNED.iter().find(|pinned| pinned.name == name);
    let without = pinned.map_or_else(String::new, |pinned| {
        format!("; without it: {}", pinned.without)
    });
    format!(
        "the server does not know the setting {name}: write {name} = \"\" in [upload.settings] \
         to remove it, and start again{without}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, &str)]) -> Settings {
        pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn without_overrides_every_pinned_setting_is_posted() {
        let settings = effective(&Settings::new());
        assert_eq!(settings.len(), PINNED.len());
        assert_eq!(settings["async_insert"], "0");
        assert_eq!(settings["min_insert_block_size_rows"], "100000000");
    }

    #[test]
    fn an_override_replaces_and_an_empty_one_removes() {
        let settings = effective(&table(&[
            ("max_insert_threads", "2"),
            ("input_format_parquet_preserve_order", ""),
            ("max_memory_usage", "1000000000"),
        ]));
        assert_eq!(settings["max_insert_threads"], "2");
        assert_eq!(settings["max_memory_usage"], "1000000000");
        assert!(!settings.contains_key("input_format_parquet_preserve_order"));
    }

    #[test]
    fn a_parameter_that_carries_the_statement_or_the_token_is_no_setting() {
        for name in [
            "query",
            "insert_deduplication_token",
            "query_id",
            "password",
        ] {
            assert_eq!(check_name(name), Err(SettingError::Reserved), "{name}");
        }
        for name in ["", "a b", "a&query", "max.insert"] {
            assert_eq!(check_name(name), Err(SettingError::NotAName), "{name}");
        }
        assert_eq!(check_name("async_insert"), Ok(()));
    }

    #[test]
    fn an_unknown_setting_is_named_with_its_way_out_and_its_price() {
        let frozen = effective(&table(&[("my_own_setting", "1")]));
        // As 26.9 and as 18.16 say it.
        let new = advice(
            "Setting input_format_parquet_preserve_order is neither a builtin setting nor",
            &frozen,
        );
        assert!(
            new.contains("input_format_parquet_preserve_order = \"\" in [upload.settings]"),
            "{new}"
        );
        assert!(new.contains("a retry may duplicate"), "{new}");
        let own = advice("Unknown setting my_own_setting, e.what() =", &frozen);
        assert!(own.contains("my_own_setting = \"\""), "{own}");
        assert!(!own.contains("without it"), "{own}");
        let token = advice("Unknown setting insert_deduplication_token", &frozen);
        assert!(token.contains("older than 22.2"), "{token}");
        assert!(advice("no name at all", &frozen).contains("[upload.settings]"));
    }
}
