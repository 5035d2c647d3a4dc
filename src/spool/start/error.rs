//! Why a spool can't be opened, in words for an operator.

use std::io;
use std::path::PathBuf;

use crate::spool::disk::lock::LockError;
use crate::spool::state::StateError;

/// Why a spool can't be opened. Nothing that it holds is lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it, or the lock file can't be written.
    #[error("{}: {why}{}", path.display(), advice(why.io()))]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What happened.
        why: LockError,
    },
    /// `spool.json` can't be used.
    #[error("{}: {why}; nothing was changed", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        why: StateError,
    },
    /// Files without the `spool.json` that says whose they are.
    #[error(
        "{}: spool.json is missing, but there are spool files; \
         put it back, or move the files away to start an empty spool",
        .0.display()
    )]
    NoState(PathBuf),
    /// The disk said no.
    #[error("{}: {why}{}", path.display(), advice(Some(why)))]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
}

impl OpenError {
    /// Whether it is the place that is wrong, and not the disk's state, which
    /// may be another one next time.
    pub fn is_bad_place(&self) -> bool {
        let Self::Io { why, .. } = self else {
            return false;
        };
        matches!(
            why.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::InvalidFilename
                | io::ErrorKind::PermissionDenied
        )
    }
}

/// What to do about trouble with the disk.
fn advice(trouble: Option<&io::Error>) -> &'static str {
    match trouble.map(io::Error::kind) {
        None => "",
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            "; nothing is lost: make room on this file system, then start again"
        }
        Some(io::ErrorKind::ReadOnlyFilesystem) => {
            "; nothing is lost: mount it writable, then start again"
        }
        Some(io::ErrorKind::PermissionDenied) => {
            "; nothing is lost: let this user write there, then start again"
        }
        Some(_) => "; nothing is lost: mend it, then start again",
    }
}
