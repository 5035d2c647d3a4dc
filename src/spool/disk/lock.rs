//! One process mutates a spool: an advisory lock on `LOCK`, which holds the
//! owner's pid for people. The kernel drops the lock with the process, however
//! it ends, so a stale file never keeps anybody out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct OwnerLock {
    _file: File,
}

/// Why the lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another process owns this spool (pid {0})")]
    Owned(String),
    /// The file can't be opened, locked or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl LockError {
    /// An I/O error from the spool's disk trouble, if that is what it is.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Owned(_) => None,
            Self::Io(error) => Some(error),
        }
    }
}

impl OwnerLock {
    /// Takes the lock at `path`, creating the file if need be.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.take(32).read_to_string(&mut pid)?;
                return Err(LockError::Owned(match pid.trim() {
                    "" => "not yet written".to_owned(),
                    pid => pid.to_owned(),
                }));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}
