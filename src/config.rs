//! The configuration: what was typed becomes a [`Config`] that is always valid,
//! or one line that says which key is wrong and where it was set.
//!
//! A TOML file, and over it environment variables named
//! `SPOOLHOUSE_<SECTION>__<KEY>` (`SPOOLHOUSE_UPLOAD__MAX_BODY`; for the free
//! tables `SPOOLHOUSE_KAFKA__LIBRDKAFKA__FETCH_MIN_BYTES` is
//! `fetch.min.bytes`).
//!
//! Invariant: a [`Config`] is valid, and every key and variable that doesn't exist is
//! refused. Knows `ingest` and `upload` for what they admit; they never see this type:
//! commands hand each part what it needs.

mod error;
mod show;
mod sources;
mod typed;
mod validate;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

pub use error::{ConfigError, Origin};
pub use show::Shown;
use sources::Sources;
pub use sources::{KEYS, variable_of};
use typed::Typed;
pub use validate::target;

use crate::spool::format::encoding::Encoding;
use crate::upload::transport::Auth;

/// The file that is read when none is named, if it exists.
pub const DEFAULT_FILE: &str = "spoolhouse.toml";

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where records come from.
    pub kafka: Kafka,
    /// Where they wait.
    pub spool: Spool,
    /// Where they go.
    pub upload: Upload,
    /// How to look inside.
    pub observe: Observe,
    /// How the process itself behaves.
    pub run: Run,
}

/// `[kafka]`
#[derive(Clone, PartialEq, Eq)]
pub struct Kafka {
    /// Brokers to start from: `host:port`, separated by commas.
    pub brokers: String,
    /// The topic with the access logs.
    pub topic: String,
    /// The consumer group whose offsets are committed.
    pub group: String,
    /// The name of this member of the group over restarts. Without one it is
    /// made from the spool's id.
    pub instance_id: Option<String>,
    /// Further properties of librdkafka, none of those that the promise
    /// depends on.
    pub librdkafka: BTreeMap<String, String>,
}

impl fmt::Debug for Kafka {
    /// Names librdkafka's properties only: `sasl.password` is one of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("instance_id", &self.instance_id)
            .field("librdkafka", &self.librdkafka.keys())
            .finish()
    }
}

/// `[spool]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// The spool's directory.
    pub dir: PathBuf,
    /// Age at which a segment is sealed.
    pub roll_after: Duration,
    /// Size at which a segment is sealed, in bytes.
    pub roll_bytes: u64,
    /// The spool's budget, in bytes: before it is exceeded consumption pauses.
    pub max_bytes: u64,
    /// Free space that is left to others on the spool's file system, in bytes:
    /// below it consumption pauses.
    pub min_free: u64,
    /// Budget of undecodable messages, in bytes: past it the oldest payloads go.
    pub undecodable_max_bytes: u64,
    /// Age at which an undecodable message loses its payload, if ever.
    pub undecodable_max_age: Option<Duration>,
}

/// `[upload]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The proxy, or ClickHouse itself: no user, query or fragment.
    pub url: Url,
    /// The table's database.
    pub database: String,
    /// The table.
    pub table: String,
    /// ClickHouse's user. Without one, no credentials are sent.
    pub user: Option<String>,
    /// The file with the user's password: readable when it was checked.
    pub password_file: Option<PathBuf>,
    /// How user and password are sent.
    pub auth: Auth,
    /// Certificates of authorities to trust besides the system's, in PEM:
    /// readable when they were checked.
    pub ca_file: Option<PathBuf>,
    /// The expected distance between two requests that the proxy admits.
    pub interval: Duration,
    /// The largest body that the proxy admits, in bytes.
    pub max_body: u64,
    /// Which encodings a batch may use.
    pub encoding: Encoding,
    /// CPU time that packing may take, in parts of a million of one core.
    pub pack_effort_ppm: u32,
    /// The longest wait for an answer.
    pub timeout: Duration,
    /// How often a batch is posted that ClickHouse refuses for its data.
    pub data_retries: u32,
    /// ClickHouse settings over those that Spoolhouse pins; an empty value
    /// removes one.
    pub settings: BTreeMap<String, String>,
}

/// `[observe]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observe {
    /// Where metrics and status are served.
    pub listen: SocketAddr,
}

/// `[run]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// How long a stop waits for the rooms before it leaves without them.
    pub shutdown_after: Duration,
}

/// A configuration and where its values came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Where the value of `key` (`<section>.<name>`) came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// The error for a value that turns out to be unusable only when it is
    /// used, such as a directory that can't be opened or an address in use.
    pub fn blame(&self, key: &str, problem: impl fmt::Display) -> ConfigError {
        ConfigError::at(key, self.origin(key), problem.to_string())
    }
}

/// Reads the configuration: from `file`, or from [`DEFAULT_FILE`] in the working
/// directory if it exists, then from the `environment`.
///
/// # Errors
/// Anything that can't be used; a `file` that was named must exist.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            let problem = format!(
                "can't read the configuration file {}: {error}",
                path.display()
            );
            return Err(ConfigError::plain(problem));
        }
    };
    parse(text.as_deref().map(|text| (path, text)), environment)
}

/// Makes a configuration of a file's text and the environment.
///
/// # Errors
/// Anything that can't be used.
pub fn parse(
    file: Option<(&Path, &str)>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let mut sources = Sources::default();
    if let Some((path, text)) = file {
        sources.add_file(path, text)?;
    }
    sources.add_environment(environment)?;
    let typed: Result<Typed, _> =
        serde_path_to_error::deserialize(toml::Value::Table(sources.table()));
    let origins = sources.origins();
    let typed = typed.map_err(|error| {
        let key = error.path().to_string();
        let origin = origins.get(&key).cloned().unwrap_or(Origin::Default);
        ConfigError::at(key, origin, error.inner().message())
    })?;
    let config = validate::config(typed, &origins)?;
    Ok(Loaded { config, origins })
}

#[cfg(test)]
mod tests;
