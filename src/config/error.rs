//! What is wrong with a configuration: one line with the key and where its
//! value came from. Never shows a value that could be a secret.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the configuration file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => f.write_str(name),
        }
    }
}

/// A configuration that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    key: Option<String>,
    origin: Option<Origin>,
    problem: String,
}

impl ConfigError {
    /// `key` has a value that can't be used.
    pub fn at(key: impl Into<String>, origin: Origin, problem: impl Into<String>) -> Self {
        ConfigError {
            key: Some(key.into()),
            origin: Some(origin),
            problem: problem.into(),
        }
    }

    /// Something about `origin` as a whole.
    pub(super) fn about(origin: Origin, problem: impl Into<String>) -> Self {
        ConfigError {
            key: None,
            origin: Some(origin),
            problem: problem.into(),
        }
    }

    /// Something without a place.
    pub(super) fn plain(problem: impl Into<String>) -> Self {
        ConfigError {
            key: None,
            origin: None,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.origin) {
            (Some(key), Some(origin)) => write!(f, "{key} ({origin}): ")?,
            (Some(key), None) => write!(f, "{key}: ")?,
            (None, Some(origin)) => write!(f, "{origin}: ")?,
            (None, None) => {}
        }
        // One line, whatever a parser or the system had to say.
        for (i, line) in self.problem.lines().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(line.trim())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
