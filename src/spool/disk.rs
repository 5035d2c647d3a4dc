//! The one place where the spool's files change.
//!
//! Invariant: every durable change is one of the steps below, and each step ends synced:
//! [`publish`] bundles write, file sync, rename and directory sync, so that no
//! caller can forget one. An operation that returned `Ok` survives a power cut;
//! one that returned an error may have happened or not, and every caller is
//! written so that doing it again is right. Nothing here decides what to keep.

#![allow(
    clippy::disallowed_methods,
    reason = "the one place where files change"
)]

pub mod lock;
pub mod sync_order;

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use bytes::Bytes;

use crate::failpoint;

/// Who may read a file: its permission bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Owner writes, group and others read (0644).
    Shared,
    /// Owner only (0600): for what may hold raw client addresses.
    Private,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Shared => 0o644,
            Self::Private => 0o600,
        }
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The entry's name; one that is not UTF-8 has its odd bytes replaced.
    pub name: String,
    /// Size in bytes; 0 for what is no regular file.
    pub bytes: u64,
    /// Whether it is a regular file.
    pub is_file: bool,
}

/// The operations on a disk that the spool is built from.
///
/// The real one is [`LocalDisk`]; crash tests put a disk in its place that
/// forgets what was not synced.
pub trait Disk: Debug + Send + Sync {
    /// Writes a whole file, replacing one of that name, and syncs its bytes
    /// (not the directory entry).
    fn write(&self, path: &Path, bytes: &[u8], access: Access) -> io::Result<()>;
    /// Appends to a file, creating it if absent, and syncs its bytes.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Renames within the spool, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and its parents; an existing one is fine.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes that the file system of `path` has left for us.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Lists a directory, in no particular order.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Bytes>;
    /// Reads a file's size and up to `length` of its last bytes.
    fn read_end(&self, path: &Path, length: u64) -> io::Result<(u64, Bytes)>;
    /// Lets the others of a simulated world run while one of them holds a lock that
    /// the caller wants; false where waiting for a lock is the system's business.
    fn let_others_run(&self) -> bool {
        false
    }
}

/// Takes a lock that is held over operations of `disk`.
pub fn lock<'m, T>(disk: &dyn Disk, mutex: &'m Mutex<T>) -> MutexGuard<'m, T> {
    loop {
        // What panicked under a lock of ours has left nothing half changed: each of
        // them says why where it is declared.
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if disk.let_others_run() => {}
            Err(TryLockError::WouldBlock) => {
                return mutex.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Makes `bytes` appear at `path`, whole or not at all, and durably.
///
/// The bytes are written and synced under `draft`, which must lie on the same
/// file system; both directories are synced.
pub fn publish(
    disk: &dyn Disk,
    draft: &Path,
    path: &Path,
    bytes: &[u8],
    access: Access,
) -> io::Result<()> {
    let published = disk.write(draft, bytes, access).and_then(|()| {
        failpoint::hit_moving(draft, path, "written");
        relocate(disk, draft, path)
    });
    if published.is_err() {
        // Half a draft on a full disk would keep it full; what can't be removed
        // now is discarded at the next start.
        let _ = disk.remove(draft);
    }
    published
}

/// Moves a file durably. Target first: a crash in between leaves the file under
/// at least one of its names. One that was moved before is only synced, so that
/// a move whose sync failed can be tried again.
pub fn relocate(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    match disk.rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && exists(disk, to) => {}
        done => done?,
    }
    failpoint::hit_moving(from, to, "renamed");
    disk.sync_dir(parent(to))?;
    if parent(from) != parent(to) {
        failpoint::hit_moving(from, to, "target-synced");
        disk.sync_dir(parent(from))?;
    }
    failpoint::hit_moving(from, to, "synced");
    Ok(())
}

/// Appends a line to a journal, durably.
pub fn append_line(disk: &dyn Disk, path: &Path, line: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(line.len() + 2);
    // A line that a crash tore must not spoil this one.
    if matches!(disk.read_end(path, 1), Ok((_, end)) if !end.is_empty() && end != "\n") {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(line);
    bytes.push(b'\n');
    disk.append(path, &bytes)?;
    disk.sync_dir(parent(path))
}

/// Replaces a small file in one step: readers see the old or the new content.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    publish(disk, &PathBuf::from(draft), path, bytes, Access::Shared)
}

/// Size of a file that is there.
pub fn size(disk: &dyn Disk, path: &Path) -> Option<u64> {
    Some(disk.read_end(path, 0).ok()?.0)
}

fn exists(disk: &dyn Disk, path: &Path) -> bool {
    size(disk, path).is_some()
}

/// The directory that holds the entry of `path`.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The local file system.
#[derive(Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn write(&self, path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(access.mode())
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let statistics = rustix::fs::statvfs(path)?;
        Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        walkdir::WalkDir::new(path)
            .min_depth(1)
            .max_depth(1)
            .into_iter()
            .filter_map(|entry| match entry {
                // Another thread of ours may have moved the file since the directory was read.
                Err(error) if is_gone(&error) => None,
                Err(error) => Some(Err(error.into())),
                Ok(entry) => match entry.metadata() {
                    Err(error) if is_gone(&error) => None,
                    Err(error) => Some(Err(error.into())),
                    Ok(metadata) => Some(Ok(Entry {
                        name: entry.file_name().to_string_lossy().into_owned(),
                        bytes: if metadata.is_file() {
                            metadata.len()
                        } else {
                            0
                        },
                        is_file: metadata.is_file(),
                    })),
                },
            })
            .collect()
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        fs::read(path).map(Bytes::from)
    }

    fn read_end(&self, path: &Path, length: u64) -> io::Result<(u64, Bytes)> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(length)))?;
        let mut end = Vec::new();
        file.take(length).read_to_end(&mut end)?;
        Ok((size, Bytes::from(end)))
    }
}

fn is_gone(error: &walkdir::Error) -> bool {
    error
        .io_error()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        && error.depth() > 0
}
