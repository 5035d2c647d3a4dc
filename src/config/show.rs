//! The configuration as it is shown: every key with its value and where that
//! came from. Values of librdkafka's properties are kept back: passwords are
//! among them.

use std::fmt::Display;
use std::path::Path;

use super::error::Origin;
use super::sources::{LIBRDKAFKA, SETTINGS};
use super::validate::{show_duration, show_size};
use super::{Config, Loaded};
use crate::spool::format::encoding::Encoding;
use crate::upload::transport::Auth;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `<section>.<name>`; a name of a free table follows its key after a dot.
    pub key: String,
    /// The value, as it may be written in the file.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Loaded {
    /// Every key, in the order of the file's sections.
    pub fn shown(&self) -> Vec<Shown> {
        values(&self.config)
            .into_iter()
            .map(|(key, value)| Shown {
                origin: self.origin(&key),
                key,
                value,
            })
            .collect()
    }
}

fn values(config: &Config) -> Vec<(String, String)> {
    let Config {
        kafka,
        spool,
        upload,
        observe,
        run,
    } = config;
    let mut values = Vec::new();
    let mut add = |key: &str, value: String| values.push((key.to_owned(), value));
    add("kafka.brokers", kafka.brokers.clone());
    add("kafka.topic", kafka.topic.clone());
    add("kafka.group", kafka.group.clone());
    add("kafka.instance_id", optional(kafka.instance_id.as_ref()));
    table(
        &mut add,
        LIBRDKAFKA,
        kafka.librdkafka.keys().map(|name| (name, "(not shown)")),
    );
    add("spool.dir", path(&spool.dir));
    add("spool.roll_after", show_duration(&spool.roll_after));
    add("spool.roll_bytes", show_size(&spool.roll_bytes));
    add("spool.max_bytes", show_size(&spool.max_bytes));
    add("spool.min_free", show_size(&spool.min_free));
    let undecodable = show_size(&spool.undecodable_max_bytes);
    add("spool.undecodable_max_bytes", undecodable);
    let age = spool.undecodable_max_age.as_ref().map(show_duration);
    add("spool.undecodable_max_age", optional(age.as_ref()));
    add("upload.url", upload.url.to_string());
    add("upload.database", upload.database.clone());
    add("upload.table", upload.table.clone());
    add("upload.user", optional(upload.user.as_ref()));
    let password_file = upload.password_file.as_deref().map(path);
    add("upload.password_file", optional(password_file.as_ref()));
    let auth = match upload.auth {
        Auth::Headers => "headers",
        Auth::Basic => "basic",
    };
    add("upload.auth", auth.to_owned());
    let ca_file = upload.ca_file.as_deref().map(path);
    add("upload.ca_file", optional(ca_file.as_ref()));
    add("upload.interval", show_duration(&upload.interval));
    add("upload.max_body", show_size(&upload.max_body));
    let encoding = match upload.encoding {
        Encoding::Compact => "compact",
        Encoding::Compatible => "compatible",
    };
    add("upload.encoding", encoding.to_owned());
    let percent = f64::from(upload.pack_effort_ppm) / 10_000.0;
    add("upload.pack_effort", format!("{percent}%"));
    add("upload.timeout", show_duration(&upload.timeout));
    add("upload.data_retries", upload.data_retries.to_string());
    table(&mut add, SETTINGS, &upload.settings);
    add("observe.listen", observe.listen.to_string());
    add("run.shutdown_after", show_duration(&run.shutdown_after));
    values
}

/// The names of a free table; the table itself if it has none.
fn table<V: Display>(
    add: &mut impl FnMut(&str, String),
    key: &str,
    entries: impl IntoIterator<Item = (impl Display, V)>,
) {
    let mut entries = entries.into_iter().peekable();
    if entries.peek().is_none() {
        add(key, "-".to_owned());
    }
    for (name, value) in entries {
        add(&format!("{key}.{name}"), value.to_string());
    }
}

fn optional(value: Option<&String>) -> String {
    value.map_or_else(|| "-".to_owned(), Clone::clone)
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::sources::KEYS;
    use super::*;

    #[test]
    fn every_key_is_shown_once_and_in_order() {
        let shown = parse(None, []).unwrap().shown();
        let keys: Vec<&str> = shown.iter().map(|shown| shown.key.as_str()).collect();
        assert_eq!(keys, KEYS);
        assert!(shown.iter().all(|shown| shown.origin == Origin::Default));
    }

    #[test]
    fn a_secret_is_not_shown_and_an_origin_is() {
        let text = "[upload]\ninterval = \"62s\"\n\
                    [kafka.librdkafka]\n\"sasl.password\" = \"hunter2\"\n";
        let loaded = parse(Some((Path::new("a.toml"), text)), []).unwrap();
        let shown = loaded.shown();
        let find = |key: &str| shown.iter().find(|shown| shown.key == key).unwrap();
        assert_eq!(find("upload.interval").value, "1m 2s");
        assert_eq!(find("upload.interval").origin.to_string(), "a.toml:2");
        let secret = find("kafka.librdkafka.sasl.password");
        assert_eq!(secret.origin.to_string(), "a.toml:4");
        assert!(!format!("{shown:?}").contains("hunter2"));
    }
}
