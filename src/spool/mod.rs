//! The spool: a directory that holds every record until ClickHouse has it.
//!
//! ```text
//! LOCK          one owner process
//! spool.json    format, spool id, next number, positions
//! pace.json     what the upload learned about the proxy
//! gaps.jsonl    offsets that were lost upstream, one line each
//! open/         drafts; discarded at start
//! sealed/       segments: durable, their commit not yet acknowledged
//! ready/        segments: committed, waiting to be packed
//! batches/      frozen inserts
//! sending/      the batch that may have been posted
//! rejected/     batches whose data ClickHouse refused
//! undecodable/  messages that could not be decoded
//! doubtful/     what no rule decides
//! inbox/        requests of the command line
//! ```
//!
//! [`Intake`] takes segments in, [`Outlet`] gives batches out; [`start`] opens the
//! directory and repairs what a crash left; [`read_only`] looks at it without owning
//! it. What the files hold is in [`mod@format`], what they are called and where they may
//! lie in [`layout`], and why one is quarantined in [`quarantine`].
//!
//! Invariant: state is a file's place and name, and nothing else; a start reads the
//! listing and no private index. Nothing unsent is ever deleted, and files change
//! only through [`disk`]. May touch its own directory and nothing else: it knows
//! neither Kafka's client nor HTTP, and nobody above it.

pub mod disk;
pub mod format;
pub mod inbox;
pub mod intake;
pub mod layout;
pub mod outlet;
pub mod quarantine;
pub mod read_only;
pub mod start;
pub mod state;
pub mod state_file;
pub mod undecodable_replay;
pub mod undecodable_retention;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::failpoint;
use crate::time::Clock;

pub use intake::Intake;
pub use outlet::Outlet;

use disk::lock::OwnerLock;
use disk::{Access, Disk};
use layout::{Directory, Layout, Name};
use state::State;

/// A spool that this process owns. Clones are the same spool.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    layout: Layout,
    id: Uuid,
    state: Mutex<State>,
    /// Held while a segment moves into `ready/` and while `ready/` is listed, so
    /// that only what is there durably is packed.
    handover: Mutex<()>,
    /// Notified when there is something new to pack.
    arrivals: Notify,
    /// Bytes of Parquet files in all directories; signed, since a file may be removed
    /// by hand.
    bytes: AtomicI64,
    _lock: Option<OwnerLock>,
}

/// Files and bytes of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Files that carry one of our names.
    pub files: u64,
    /// Their size, bytes.
    pub bytes: u64,
}

impl Spool {
    /// Identity of this spool, drawn at its creation.
    pub fn id(&self) -> Uuid {
        self.inner.id
    }

    /// The spool's directory.
    pub fn root(&self) -> PathBuf {
        self.inner.layout.root().to_owned()
    }

    /// Bytes that the spool's files take.
    pub fn bytes(&self) -> u64 {
        self.inner.bytes.load(Ordering::Relaxed).max(0) as u64
    }

    /// Files and bytes per directory, by listing.
    pub fn holdings(&self) -> io::Result<BTreeMap<Directory, Holding>> {
        let mut holdings = BTreeMap::new();
        for directory in Directory::ALL {
            let mut holding = Holding::default();
            for (_, bytes) in self.layout().files(self.disk(), directory)? {
                holding.files += 1;
                holding.bytes += bytes;
            }
            holdings.insert(directory, holding);
        }
        Ok(holdings)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is replaced as a whole, never left half changed.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn handover(&self) -> MutexGuard<'_, ()> {
        disk::lock(self.disk(), &self.inner.handover)
    }

    fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    fn write_state(&self) -> io::Result<()> {
        let bytes = self.state().to_bytes()?;
        disk::replace(self.disk(), &self.layout().state(), &bytes)
    }

    fn disk(&self) -> &dyn Disk {
        &*self.inner.disk
    }

    fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    fn publish(
        &self,
        directory: Directory,
        name: &Name,
        bytes: &[u8],
        access: Access,
    ) -> io::Result<()> {
        let path = self.layout().file(directory, &name.to_string());
        let draft = self.layout().draft(name);
        self.counting(&path, || {
            disk::publish(self.disk(), &draft, &path, bytes, access)
        })
    }

    /// Removes a file durably; one that is gone already is fine.
    fn remove(&self, directory: Directory, name: &str) -> io::Result<()> {
        let path = self.layout().file(directory, name);
        let removed = self.counting(&path, || self.disk().remove(&path));
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => {
                done?;
                if matches!(directory, Directory::Sending | Directory::Batches) {
                    failpoint::hit("batch.unlinked");
                }
            }
        }
        self.disk().sync_dir(&self.layout().directory(directory))
    }

    /// Makes a change to the file at `path` and counts by how much it grew or
    /// shrank: what failed may have happened all the same, and what is tried
    /// again replaces a file that is there.
    fn counting(&self, path: &Path, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let size = || disk::size(self.disk(), path).unwrap_or(0) as i64;
        let before = size();
        let done = change();
        self.count_bytes(size() - before);
        done
    }

    fn count_bytes(&self, change: i64) {
        self.inner.bytes.fetch_add(change, Ordering::Relaxed);
    }

    fn write_sidecar(
        &self,
        directory: Directory,
        name: &str,
        content: &serde_json::Value,
    ) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(content)?;
        text.push(b'\n');
        disk::replace(self.disk(), &self.layout().file(directory, name), &text)
    }
}
