//! The subcommands, one file each: each parses its arguments, calls what does the
//! work, and prints what came of it.
//!
//! Invariant: nothing is decided here that another part could decide, and nobody
//! below knows the command line, the terminal or (but for `config`) the
//! configuration. May use everything below it.

#![allow(
    clippy::disallowed_methods,
    reason = "commands run by the system's clocks; files that produce writes are the user's"
)]

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
pub mod terminal;
pub mod upload;
pub mod verify;
mod wiring;

use std::path::PathBuf;

use crate::config::{self, ConfigError, Loaded};

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
