//! The subcommands, one file each: they read the configuration, hand each room
//! its options and put the rooms together.

pub mod check;
pub mod completions;
pub mod estimate;
pub mod inspect;
pub mod man;
pub mod positions;
pub mod produce;
pub mod replay_undecodable;
pub mod run;
pub mod status;
pub(crate) mod terminal;
pub mod upload;
pub mod verify;

use std::path::PathBuf;

use uuid::Uuid;

use crate::config::{self, Config, ConfigError, Loaded};
use crate::ingest::kafka;
use crate::spool::Spool;

/// The command can't be done as it was asked for: it will not go well until
/// it is asked for otherwise.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

/// Where a command finds its configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration file [default: spoolhouse.toml in the working
    /// directory, if it exists]
    #[arg(long = "config", value_name = "FILE")]
    pub path: Option<PathBuf>,
}

impl ConfigFile {
    /// Reads it, with the environment laid over it.
    ///
    /// # Errors
    /// What can't be used, and where it was set.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        config::load(self.path.as_deref(), std::env::vars_os())
    }
}

/// Opens the configured spool and owns it.
///
/// # Errors
/// A [`crate::config::ConfigError`] if there can be no spool in that directory,
/// an [`OpenError`](crate::spool::opening::OpenError) if the disk has trouble that may pass, or that names the
/// owner's pid if there is one.
pub(crate) fn open_spool(loaded: &Loaded) -> anyhow::Result<Spool> {
    Spool::open(&loaded.config.spool.dir).map_err(|error| {
        if error.is_bad_place() {
            anyhow::Error::new(loaded.blame("spool.dir", error))
        } else {
            error.into()
        }
    })
}

/// How to reach Kafka on behalf of a spool.
pub(crate) fn kafka_options(config: &Config, spool: Uuid) -> kafka::Options {
    let kafka = &config.kafka;
    kafka::Options {
        brokers: kafka.brokers.clone(),
        topic: kafka.topic.clone(),
        group: kafka.group.clone(),
        instance_id: kafka
            .instance_id
            .clone()
            .unwrap_or_else(|| format!("spoolhouse-{spool}")),
        librdkafka: kafka.librdkafka.clone(),
    }
}

/// A number and what it counts: `1 file`, `2 files`.
pub(crate) fn plural(count: u64, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// Text from outside with nothing in it that a terminal obeys.
pub(crate) fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}
