//! From what was typed to what is valid: ranges, names, and whether files and
//! directories can be reached. Looks at the disk, changes nothing there.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use url::Url;

use super::error::{ConfigError, Origin};
use super::sources::{LIBRDKAFKA, SETTINGS};
use super::typed::{self, Scalar, Typed};
use super::{Config, Kafka, Observe, Run, Spool, Upload};
use crate::ingest::kafka::pinned::PINNED;
use crate::upload::{settings, transport};

/// The age a segment may reach. Kafka may keep its data for a minute only, and
/// what is not sealed is not yet safe.
const ROLL_AFTER: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// The size of a segment, in bytes.
const ROLL_BYTES: RangeInclusive<u64> = 64 * bytesize::KIB..=bytesize::GIB;
/// How many full segments the spool must have room for.
const MAX_BYTES_SEGMENTS: u64 = 4;
/// The budget of undecodable messages, in bytes.
const UNDECODABLE_MAX_BYTES: RangeInclusive<u64> = 64 * bytesize::KIB..=bytesize::TIB;
/// The least age at which undecodable messages lose their payload.
const UNDECODABLE_MAX_AGE_LEAST: Duration = Duration::from_secs(60);
/// The distance between two requests.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);
/// How long a stop may take.
const SHUTDOWN_AFTER: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
/// The size of a request's body, in bytes.
const MAX_BODY: RangeInclusive<u64> = bytesize::KIB..=bytesize::GIB;
/// How long an answer may take. The proxy's own 504 should come first, after 60 s
/// in a stock nginx; a shorter wait is for a proxy that gives up earlier.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// How often a batch is posted that is refused for its data.
const DATA_RETRIES: RangeInclusive<u32> = 1..=1_000;
/// Longest name of a topic, and of a static member, that Kafka accepts.
const KAFKA_NAME_CHARS_MAX: usize = 249;

/// librdkafka's properties that keys of ours set.
const OTHERWISE_SET: [(&str, &str); 4] = [
    ("bootstrap.servers", "set kafka.brokers instead"),
    ("group.id", "set kafka.group instead"),
    ("group.instance.id", "set kafka.instance_id instead"),
    ("metadata.broker.list", "set kafka.brokers instead"),
];

/// Why a property of librdkafka is not for the configuration to set, if so.
fn why_not_set(property: &str) -> Option<&'static str> {
    let pinned = PINNED.iter().map(|pinned| (pinned.name, pinned.why));
    pinned
        .chain(OTHERWISE_SET)
        .find(|(name, _)| *name == property)
        .map(|(_, why)| why)
}

/// Tells where a key was set.
struct Blame<'a>(&'a BTreeMap<String, Origin>);

impl Blame<'_> {
    fn at(&self, key: &str, problem: impl Display) -> ConfigError {
        let origin = self.0.get(key).cloned().unwrap_or(Origin::Default);
        ConfigError::at(key, origin, problem.to_string())
    }

    fn within<T: PartialOrd>(
        &self,
        key: &str,
        value: &T,
        range: RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> Result<(), ConfigError> {
        if range.contains(value) {
            return Ok(());
        }
        let (from, to) = (show(range.start()), show(range.end()));
        Err(self.at(
            key,
            format!("{} is not between {from} and {to}", show(value)),
        ))
    }

    fn filled(&self, key: &str, value: &str) -> Result<(), ConfigError> {
        if value.trim().is_empty() {
            return Err(self.at(key, "must not be empty"));
        }
        Ok(())
    }
}

pub(super) fn config(
    typed: Typed,
    origins: &BTreeMap<String, Origin>,
) -> Result<Config, ConfigError> {
    let blame = Blame(origins);
    Ok(Config {
        kafka: kafka(typed.kafka, &blame)?,
        spool: spool(typed.spool, &blame)?,
        upload: upload(typed.upload, &blame)?,
        observe: observe(&typed.observe, &blame)?,
        run: run(typed.run, &blame)?,
    })
}

fn kafka(typed: typed::Kafka, blame: &Blame<'_>) -> Result<Kafka, ConfigError> {
    for broker in typed.brokers.split(',') {
        let (host, port) = broker
            .trim()
            .rsplit_once(':')
            .unwrap_or((broker.trim(), "9092"));
        if host.is_empty() || port.parse::<u16>().is_err() {
            let problem = format!("{broker:?} is no broker such as \"kafka1:9092\"");
            return Err(blame.at("kafka.brokers", problem));
        }
    }
    kafka_name(blame, "kafka.topic", &typed.topic)?;
    blame.filled("kafka.group", &typed.group)?;
    if let Some(instance_id) = &typed.instance_id {
        kafka_name(blame, "kafka.instance_id", instance_id)?;
    }
    let mut librdkafka = BTreeMap::new();
    for (name, value) in typed.librdkafka {
        if let Some(why) = why_not_set(&name) {
            let key = format!("{LIBRDKAFKA}.{name}");
            return Err(blame.at(&key, format!("is not for the configuration to set: {why}")));
        }
        let value = match value {
            Scalar::Boolean(value) => value.to_string(),
            Scalar::Text(text) => text,
        };
        librdkafka.insert(name, value);
    }
    Ok(Kafka {
        brokers: typed.brokers,
        topic: typed.topic,
        group: typed.group,
        instance_id: typed.instance_id,
        librdkafka,
    })
}

/// Kafka's rule for topics, which it applies to static members too.
fn kafka_name(blame: &Blame<'_>, key: &str, name: &str) -> Result<(), ConfigError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty()
        || name.len() > KAFKA_NAME_CHARS_MAX
        || matches!(name, "." | "..")
        || !name.chars().all(legal)
    {
        return Err(blame.at(
            key,
            format!("{name:?} is no name that Kafka accepts: letters, digits, `.`, `_` and `-`, at most {KAFKA_NAME_CHARS_MAX}"),
        ));
    }
    Ok(())
}

fn spool(typed: typed::Spool, blame: &Blame<'_>) -> Result<Spool, ConfigError> {
    directory(blame, "spool.dir", &typed.dir)?;
    blame.within(
        "spool.roll_after",
        &typed.roll_after,
        ROLL_AFTER,
        show_duration,
    )?;
    blame.within("spool.roll_bytes", &typed.roll_bytes, ROLL_BYTES, show_size)?;
    if typed.max_bytes < MAX_BYTES_SEGMENTS * typed.roll_bytes {
        let problem = format!(
            "{} has no room for {MAX_BYTES_SEGMENTS} segments of spool.roll_bytes = {}",
            show_size(&typed.max_bytes),
            show_size(&typed.roll_bytes),
        );
        return Err(blame.at("spool.max_bytes", problem));
    }
    blame.within(
        "spool.undecodable_max_bytes",
        &typed.undecodable_max_bytes,
        UNDECODABLE_MAX_BYTES,
        show_size,
    )?;
    if let Some(age) = typed.undecodable_max_age
        && age < UNDECODABLE_MAX_AGE_LEAST
    {
        let problem = format!(
            "{} is less than {}: leave it out to keep payloads whatever their age",
            show_duration(&age),
            show_duration(&UNDECODABLE_MAX_AGE_LEAST),
        );
        return Err(blame.at("spool.undecodable_max_age", problem));
    }
    Ok(Spool {
        dir: typed.dir,
        roll_after: typed.roll_after,
        roll_bytes: typed.roll_bytes,
        max_bytes: typed.max_bytes,
        min_free: typed.min_free,
        undecodable_max_bytes: typed.undecodable_max_bytes,
        undecodable_max_age: typed.undecodable_max_age,
    })
}

/// A directory that exists and can be listed, or that can be made: the nearest
/// ancestor that exists must be a directory.
fn directory(blame: &Blame<'_>, key: &str, dir: &Path) -> Result<(), ConfigError> {
    if dir.as_os_str().is_empty() {
        return Err(blame.at(key, "must not be empty"));
    }
    for path in dir.ancestors() {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        match std::fs::read_dir(path) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let problem = format!("can't use the directory {}: {error}", path.display());
                return Err(blame.at(key, problem));
            }
        }
    }
    Ok(())
}

fn upload(typed: typed::Upload, blame: &Blame<'_>) -> Result<Upload, ConfigError> {
    let url = target(&typed.url).map_err(|problem| blame.at("upload.url", problem))?;
    blame.filled("upload.database", &typed.database)?;
    blame.filled("upload.table", &typed.table)?;
    if let Some(user) = &typed.user {
        blame.filled("upload.user", user)?;
    }
    if let Some(file) = &typed.password_file {
        if typed.user.is_none() {
            return Err(blame.at("upload.password_file", "is set, but upload.user is not"));
        }
        std::fs::read_to_string(file).map_err(|error| {
            blame.at(
                "upload.password_file",
                format!("can't read {}: {error}", file.display()),
            )
        })?;
    }
    if let Some(file) = &typed.ca_file {
        certificates(file).map_err(|problem| blame.at("upload.ca_file", problem))?;
    }
    blame.within("upload.timeout", &typed.timeout, TIMEOUT, show_duration)?;
    blame.within(
        "upload.data_retries",
        &typed.data_retries,
        DATA_RETRIES,
        u32::to_string,
    )?;
    blame.within("upload.interval", &typed.interval, INTERVAL, show_duration)?;
    blame.within("upload.max_body", &typed.max_body, MAX_BODY, show_size)?;
    let mut overrides = BTreeMap::new();
    for (name, value) in typed.settings {
        settings::check_name(&name)
            .map_err(|error| blame.at(&format!("{SETTINGS}.{name}"), error))?;
        let value = match value {
            Scalar::Boolean(value) => u8::from(value).to_string(),
            Scalar::Text(text) => text,
        };
        overrides.insert(name, value);
    }
    Ok(Upload {
        url,
        database: typed.database,
        table: typed.table,
        user: typed.user,
        password_file: typed.password_file,
        auth: typed.auth,
        ca_file: typed.ca_file,
        interval: typed.interval,
        max_body: typed.max_body,
        encoding: typed.encoding,
        pack_effort_ppm: typed.pack_effort_ppm,
        timeout: typed.timeout,
        data_retries: typed.data_retries,
        settings: overrides,
    })
}

/// Whether a file holds certificates, and nothing that only looks like them.
fn certificates(file: &Path) -> Result<(), String> {
    transport::certificates(file)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// The URL of the proxy, or of ClickHouse itself. An error never shows it: it could
/// hold a password.
///
/// # Errors
/// What is wrong with it.
pub fn target(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("not a URL such as \"http://proxy:8124/\" ({error})"))?;
    let problem = if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        "must begin with http:// or https:// and name a host"
    } else if !url.username().is_empty() || url.password().is_some() {
        "must not hold a user or password: set upload.user and upload.password_file"
    } else if url.query().is_some() || url.fragment().is_some() {
        "must not hold a query: ClickHouse's settings belong to [upload.settings]"
    } else {
        return Ok(url);
    };
    Err(problem.to_owned())
}

fn observe(typed: &typed::Observe, blame: &Blame<'_>) -> Result<Observe, ConfigError> {
    let listen = typed.listen.parse().map_err(|_| {
        let problem = format!(
            "{:?} is no address such as \"127.0.0.1:9464\"",
            typed.listen
        );
        blame.at("observe.listen", problem)
    })?;
    Ok(Observe { listen })
}

fn run(typed: typed::Run, blame: &Blame<'_>) -> Result<Run, ConfigError> {
    let shutdown_after = typed.shutdown_after;
    blame.within(
        "run.shutdown_after",
        &shutdown_after,
        SHUTDOWN_AFTER,
        show_duration,
    )?;
    Ok(Run { shutdown_after })
}

pub(super) fn show_duration(duration: &Duration) -> String {
    humantime::format_duration(*duration).to_string()
}

pub(super) fn show_size(bytes: &u64) -> String {
    ByteSize(*bytes).display().iec().to_string()
}
