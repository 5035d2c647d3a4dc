//! A small file of the spool that is read and replaced as a whole.
//!
//! Whoever holds one may write that file and no other, so that its content can
//! belong to a part of the program that the spool does not know.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::{self, Disk};

/// One file that is replaced as a whole.
#[derive(Clone, Debug)]
pub struct StateFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl StateFile {
    /// The file at `path`, which need not be there.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Its content; a missing file gives `Ok(None)`.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn read(&self) -> io::Result<Option<Bytes>> {
        match self.disk.read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it in one step, durably. Only for the owner of the spool.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; the old content or the new one is there.
    pub fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        disk::replace(&*self.disk, &self.path, bytes)
    }
}
