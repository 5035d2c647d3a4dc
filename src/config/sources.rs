//! What was typed, by key, with the place it came from: the file, with the
//! environment laid over it. Knows which keys exist; doesn't know what a good
//! value is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::error::{ConfigError, Origin};

/// Every key, as `<section>.<name>`.
pub const KEYS: [&str; 28] = [
    "kafka.brokers",
    "kafka.topic",
    "kafka.group",
    "kafka.instance_id",
    "kafka.librdkafka",
    "spool.dir",
    "spool.roll_after",
    "spool.roll_bytes",
    "spool.max_bytes",
    "spool.min_free",
    "spool.undecodable_max_bytes",
    "spool.undecodable_max_age",
    "upload.url",
    "upload.database",
    "upload.table",
    "upload.user",
    "upload.password_file",
    "upload.auth",
    "upload.ca_file",
    "upload.interval",
    "upload.max_body",
    "upload.encoding",
    "upload.pack_effort",
    "upload.timeout",
    "upload.data_retries",
    "upload.settings",
    "observe.listen",
    "run.shutdown_after",
];

/// Keys that are tables of names that somebody else defines.
pub(super) const FREE: [&str; 2] = [LIBRDKAFKA, SETTINGS];
/// librdkafka's configuration properties: dotted names.
pub(super) const LIBRDKAFKA: &str = "kafka.librdkafka";
/// ClickHouse's settings: names with underscores.
pub(super) const SETTINGS: &str = "upload.settings";

/// What the names of our environment variables begin with.
const PREFIX: &str = "SPOOLHOUSE_";

/// Values by key. Names in a free table follow its key after a dot.
#[derive(Debug, Default)]
pub(super) struct Sources(BTreeMap<String, (Value, Origin)>);

impl Sources {
    /// Adds the values of a configuration file's `text`.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let place = |span: Option<std::ops::Range<usize>>| {
            let start = span.map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..start]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            Origin::File {
                path: path.to_owned(),
                line,
            }
        };
        let invalid = |error: toml::de::Error| {
            ConfigError::about(
                place(error.span()),
                format!("not valid TOML: {}", error.message()),
            )
        };
        let spans = DeTable::parse(text).map_err(invalid)?;
        let table: Table = toml::from_str(text).map_err(invalid)?;
        let mut lines = BTreeMap::new();
        find_lines(spans.get_ref(), "", &mut |key, span| {
            lines.insert(key, place(Some(span)));
        });
        let origin = |key: &str| lines.get(key).cloned().unwrap_or_else(|| place(None));

        for (section, values) in table {
            if !sections().any(|known| known == section) {
                let meant = suggest(&section, sections());
                return Err(ConfigError::at(
                    format!("[{section}]"),
                    origin(&section),
                    format!("there is no such section{meant}"),
                ));
            }
            let Value::Table(values) = values else {
                return Err(ConfigError::at(
                    &section,
                    origin(&section),
                    format!("this is a section: write [{section}]"),
                ));
            };
            for (name, value) in values {
                let key = format!("{section}.{name}");
                if !is_key(&key) {
                    return Err(unknown_key(key.clone(), origin(&key), &key));
                }
                match value {
                    Value::Table(free) if FREE.contains(&key.as_str()) => {
                        self.add_free(&key, free, &origin);
                    }
                    _ if FREE.contains(&key.as_str()) => {
                        let problem = format!("this is a table: write [{key}]");
                        return Err(ConfigError::at(&key, origin(&key), problem));
                    }
                    value => {
                        let origin = origin(&key);
                        self.0.insert(key, (value, origin));
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a free table. `fetch.min.bytes = 1` without quotes is a table in a
    /// table in TOML: it means the same as with quotes.
    fn add_free(&mut self, key: &str, table: Table, origin: &impl Fn(&str) -> Origin) {
        for (name, value) in table {
            let key = format!("{key}.{name}");
            match value {
                Value::Table(inner) => self.add_free(&key, inner, origin),
                value => {
                    let origin = origin(&key);
                    self.0.insert(key, (value, origin));
                }
            }
        }
    }

    /// Lays our variables of the environment over what is there.
    pub(super) fn add_environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        for (variable, value) in variables {
            let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let origin = Origin::Environment(variable.to_owned());
            let path = &variable[PREFIX.len()..];
            let key = match path.splitn(3, "__").collect::<Vec<_>>()[..] {
                [section, name] => format!("{section}.{name}").to_lowercase(),
                [section, table, name] if !name.is_empty() => {
                    let table = format!("{section}.{table}").to_lowercase();
                    let name = name.to_lowercase();
                    let name = if table == LIBRDKAFKA {
                        name.replace('_', ".")
                    } else {
                        name
                    };
                    if !FREE.contains(&table.as_str()) {
                        return Err(unknown_variable(variable));
                    }
                    format!("{table}.{name}")
                }
                _ => return Err(unknown_variable(variable)),
            };
            let in_free_table = FREE.iter().any(|table| {
                key.strip_prefix(table)
                    .is_some_and(|rest| rest.starts_with('.'))
            });
            if !in_free_table && (!is_key(&key) || FREE.contains(&key.as_str())) {
                return Err(unknown_variable(variable));
            }
            let Some(value) = value.to_str() else {
                return Err(ConfigError::at(key, origin, "its value is not UTF-8"));
            };
            self.0
                .insert(key, (Value::String(value.to_owned()), origin));
        }
        Ok(())
    }

    /// Everything as one table, shaped like the file.
    pub(super) fn table(&self) -> Table {
        let mut root = Table::new();
        for (key, (value, _)) in &self.0 {
            let free = FREE
                .iter()
                .find_map(|table| Some((*table, key.strip_prefix(table)?.strip_prefix('.')?)));
            let (key, name) = free.map_or((key.as_str(), None), |(key, name)| (key, Some(name)));
            let (section, key) = key.split_once('.').unwrap_or((key, ""));
            let section = subtable(&mut root, section);
            match name {
                Some(name) => subtable(section, key).insert(name.to_owned(), value.clone()),
                None => section.insert(key.to_owned(), value.clone()),
            };
        }
        root
    }

    /// Where each value that was typed came from.
    pub(super) fn origins(self) -> BTreeMap<String, Origin> {
        self.0
            .into_iter()
            .map(|(key, (_, origin))| (key, origin))
            .collect()
    }
}

fn subtable<'t>(table: &'t mut Table, key: &str) -> &'t mut Table {
    let entry = table
        .entry(key)
        .or_insert_with(|| Value::Table(Table::new()));
    if !entry.is_table() {
        *entry = Value::Table(Table::new());
    }
    match entry {
        Value::Table(table) => table,
        _ => unreachable!("made a table above"),
    }
}

fn is_key(key: &str) -> bool {
    KEYS.contains(&key)
}

fn sections() -> impl Iterator<Item = &'static str> {
    ["kafka", "spool", "upload", "observe", "run"].into_iter()
}

fn unknown_key(shown: String, origin: Origin, key: &str) -> ConfigError {
    let meant = suggest(key, KEYS.into_iter());
    ConfigError::at(shown, origin, format!("there is no such key{meant}"))
}

fn unknown_variable(variable: &str) -> ConfigError {
    let names = KEYS.iter().map(|key| variable_of(key));
    let names: Vec<String> = names.collect();
    let meant = suggest(variable, names.iter().map(String::as_str));
    ConfigError::about(
        Origin::Environment(variable.to_owned()),
        format!("no key belongs to this environment variable{meant}"),
    )
}

/// The environment variable that overrides `key`.
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// `, did you mean …?` if one of `known` is close to `typed`: a few letters
/// away, or the same name in another section.
fn suggest<'k>(typed: &str, known: impl Iterator<Item = &'k str>) -> String {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |key: &str| match strsim::damerau_levenshtein(typed, key) {
        _ if typed.contains('.') && name(typed) == name(key) => 1,
        distance => distance,
    };
    let nearest = known.map(|key| (distance(key), key)).min();
    match nearest {
        Some((distance, key)) if distance <= 3 => format!(", did you mean {key}?"),
        _ => String::new(),
    }
}

/// Calls `found` with every dotted key of a document and where it stands.
fn find_lines(
    table: &DeTable<'_>,
    above: &str,
    found: &mut impl FnMut(String, std::ops::Range<usize>),
) {
    for (key, value) in table {
        let dotted = match above {
            "" => key.get_ref().to_string(),
            above => format!("{above}.{}", key.get_ref()),
        };
        found(dotted.clone(), Spanned::span(key));
        if let DeValue::Table(inner) = value.get_ref() {
            find_lines(inner, &dotted, found);
        }
    }
}
