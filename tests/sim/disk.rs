//! The disk of a life: the simulated one, with a touch before each operation.
//!
//! A process that dies in a change leaves it made, half made or not made. Reads are
//! touched, too, but only changes are counted, so that a number hits one of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use spoolhouse::spool::disk::{Access, Disk, Entry};

use crate::scheduler::{self, die_if_killed, draw, touch, touch_lightly, touch_to_the_last};
use crate::support::sim_disk::{Op, SimDisk};

/// Where the spool lies.
pub const SPOOL: &str = "/var/spool";

/// Told of every change just before it is made, and whether it was made just after.
pub trait Observer: Send + Sync {
    /// This is about to be tried.
    fn before(&self, disk: &LifeDisk, op: &Op);
    /// It was made, or failed and may have been made.
    fn after(&self, disk: &LifeDisk, op: &Op, done: &io::Result<()>);
}

struct Inner {
    disk: SimDisk,
    observer: Option<Arc<dyn Observer>>,
    /// Bytes left, if there is an end to them.
    free: Option<u64>,
    /// So many reads still fail.
    bad_reads: u32,
    /// Segments that were ready once.
    segments: BTreeMap<PathBuf, Bytes>,
}

/// The disk of a life. Clones are the same one.
#[derive(Clone)]
pub struct LifeDisk(Arc<Mutex<Inner>>);

impl fmt::Debug for LifeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LifeDisk")
    }
}

impl Default for LifeDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl LifeDisk {
    /// An empty one.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            disk: SimDisk::new(),
            observer: None,
            free: None,
            bad_reads: 0,
            segments: BTreeMap::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The simulated disk as it is now.
    fn disk(&self) -> SimDisk {
        self.inner().disk.clone()
    }

    /// Shows every change to `observer` from now on.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner().observer = Some(observer);
    }

    /// Every file below `path`, as a running process sees it.
    pub fn files(&self, path: &Path) -> BTreeMap<PathBuf, Bytes> {
        self.disk().files(path)
    }

    /// Every file below `path` that a power cut now would leave for certain.
    pub fn certain_files(&self, path: &Path) -> BTreeMap<PathBuf, Bytes> {
        self.disk().certain_files(path)
    }

    /// Every segment that was ready once, as it was then.
    pub fn segments_once_ready(&self) -> BTreeMap<PathBuf, Bytes> {
        self.inner().segments.clone()
    }

    /// Names of the files in a directory of the spool, in order.
    pub fn names_in(&self, directory: &str) -> Vec<String> {
        let files = self.files(&Path::new(SPOOL).join(directory));
        let names = files.into_keys().filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            Some(name.to_owned())
        });
        names.collect()
    }

    /// How many files each directory of the spool holds, and their bytes.
    pub fn listing(&self) -> String {
        let mut held: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (path, bytes) in self.files(Path::new(SPOOL)) {
            let directory = path.parent().and_then(Path::file_name).unwrap_or_default();
            let held = held
                .entry(directory.to_string_lossy().into_owned())
                .or_default();
            *held = (held.0 + 1, held.1 + bytes.len() as u64);
        }
        let held = held.iter();
        let held = held.map(|(directory, (files, bytes))| {
            format!("{directory}: {files} files, {bytes} bytes")
        });
        held.collect::<Vec<_>>().join("; ")
    }

    /// What was not synced may be gone.
    pub fn cut_power(&self) {
        let mut inner = self.inner();
        inner.disk = inner.disk.now().power_cut(draw(u64::MAX));
    }

    /// The next `count` changes fail with `kind`, and happened all the same or not.
    pub fn fail(&self, count: usize, kind: ErrorKind) {
        self.disk().fail(0, count, kind, draw(u64::MAX));
    }

    /// The next `count` reads fail.
    pub fn fail_reads(&self, count: u32) {
        self.inner().bad_reads = count;
    }

    /// So many bytes are left, however many are written; `None`: no end to them. While
    /// there are none, nothing can be written.
    pub fn set_free(&self, free: Option<u64>) {
        self.inner().free = free;
    }

    /// Puts a file there by hand, durably and unnoticed.
    pub fn plant(&self, path: &Path, bytes: Bytes) {
        self.disk().plant(path, bytes);
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut inner = self.inner();
        inner.disk.heal();
        inner.free = None;
        inner.bad_reads = 0;
    }

    fn change(&self, op: Op) -> io::Result<()> {
        if touch_to_the_last(kind_of(&op), format_args!("{op}")).is_some() {
            self.half_do(&op);
            die_if_killed();
        }
        // No turn is given away from here on: the change is one step for everybody.
        let (disk, observer) = {
            let inner = self.inner();
            (inner.disk.clone(), inner.observer.clone())
        };
        if let Some(observer) = &observer {
            observer.before(self, &op);
        }
        let is_write = matches!(op, Op::Write(..) | Op::Append(..) | Op::CreateDir(_));
        let is_full = is_write && self.inner().free == Some(0);
        let was_failing = disk.is_failing();
        let done = match is_full {
            true => Err(ErrorKind::StorageFull.into()),
            false => make(&disk, &op),
        };
        match &done {
            Err(_) if is_full => scheduler::fault("disk full"),
            Err(error) if was_failing => scheduler::fault(match error.kind() {
                ErrorKind::StorageFull => "no space",
                _ => "I/O error",
            }),
            _ => {}
        }
        if let Err(error) = &done {
            scheduler::note("failed:", format_args!("{op}: {error}"));
        }
        if let Some(observer) = &observer {
            observer.after(self, &op, &done);
        }
        if let Op::Rename(_, to) = &op
            && to.starts_with(Path::new(SPOOL).join("ready"))
            && let Ok(bytes) = disk.read(to)
        {
            self.inner().segments.insert(to.clone(), bytes);
        }
        done
    }

    /// What is left of a change that its process died in. If the power went, it goes once
    /// everybody is gone.
    fn half_do(&self, op: &Op) {
        let mut inner = self.inner();
        inner.disk.die(0);
        // It answers that it crashed.
        let _ = make(&inner.disk, op);
        if let Some(moment) = inner.disk.died() {
            inner.disk = moment.kill(draw(u64::MAX));
        }
    }

    fn read_error(&self) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.bad_reads == 0 {
            return Ok(());
        }
        inner.bad_reads -= 1;
        drop(inner);
        scheduler::fault("read error");
        Err(io::Error::other("input/output error"))
    }
}

/// Makes a change, or fails.
fn make(disk: &SimDisk, op: &Op) -> io::Result<()> {
    match op {
        Op::Write(path, bytes) => disk.write(path, bytes, Access::Shared),
        Op::Append(path, bytes) => disk.append(path, bytes),
        Op::Rename(from, to) => disk.rename(from, to),
        Op::Remove(path) => disk.remove(path),
        Op::CreateDir(path) => disk.create_dir(path),
        Op::SyncDir(path) => disk.sync_dir(path),
    }
}

/// Operation and directories: "disk.rename sealed ready". Files beside the directories
/// stand for themselves.
fn kind_of(op: &Op) -> &'static str {
    let name = |path: &Path| match path.strip_prefix(SPOOL) {
        Err(_) => "above".to_owned(),
        Ok(path) => {
            let first = path.components().next();
            first.map_or("spool".to_owned(), |first| {
                first.as_os_str().to_string_lossy().into_owned()
            })
        }
    };
    intern(match op {
        Op::Write(path, _) => format!("disk.write {}", name(path)),
        Op::Append(path, _) => format!("disk.append {}", name(path)),
        Op::Rename(from, to) => format!("disk.rename {} {}", name(from), name(to)),
        Op::Remove(path) => format!("disk.remove {}", name(path)),
        Op::CreateDir(path) => format!("disk.create_dir {}", name(path)),
        Op::SyncDir(path) => format!("disk.sync_dir {}", name(path)),
    })
}

/// There are few kinds, and each is kept for good.
fn intern(kind: String) -> &'static str {
    thread_local!(static KINDS: RefCell<HashSet<&'static str>> = RefCell::default());
    KINDS.with_borrow_mut(|kinds| match kinds.get(kind.as_str()) {
        Some(known) => known,
        None => {
            let kind: &'static str = kind.leak();
            kinds.insert(kind);
            kind
        }
    })
}

impl Disk for LifeDisk {
    fn write(&self, path: &Path, bytes: &[u8], _: Access) -> io::Result<()> {
        self.change(Op::Write(path.into(), Bytes::copy_from_slice(bytes)))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.change(Op::Append(path.into(), Bytes::copy_from_slice(bytes)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Op::Rename(from.into(), to.into()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(Op::Remove(path.into()))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.disk().list(path).is_ok() {
            return Ok(());
        }
        self.change(Op::CreateDir(path.into()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(Op::SyncDir(path.into()))
    }

    fn let_others_run(&self) -> bool {
        scheduler::let_others_run()
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        touch_lightly();
        Ok(self.inner().free.unwrap_or(u64::MAX))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        touch_lightly();
        self.read_error()?;
        self.disk().list(path)
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        touch("read", format_args!("{}", path.display()));
        self.read_error()?;
        self.disk().read(path)
    }

    fn read_end(&self, path: &Path, length: u64) -> io::Result<(u64, Bytes)> {
        touch_lightly();
        self.read_error()?;
        self.disk().read_end(path, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{
        Class, Death, Process, at_touch, is_dead, kill, on_death, simulate, spawn, wait_for,
    };
    use std::collections::BTreeSet;
    use std::time::Duration;

    /// What a process leaves that dies in a write.
    fn left(seed: u64, death: Death) -> String {
        simulate(seed, move || {
            let disk = LifeDisk::new();
            let process = Process(1);
            let (writes, cuts) = (disk.clone(), disk.clone());
            on_death(process, move |death| {
                if death == Death::PowerCut {
                    cuts.cut_power();
                }
            });
            at_touch(Class::Disk, 2, move || kill(process, death));
            spawn("writer", process, move || {
                writes.create_dir(Path::new(SPOOL)).unwrap();
                writes.sync_dir(Path::new("/var")).unwrap();
                let file = Path::new(SPOOL).join("x");
                let _ = writes.write(&file, b"12", Access::Shared);
                unreachable!("it died in the write");
            });
            assert!(wait_for(Duration::MAX, || is_dead(process)));
            let files = disk.files(Path::new("/"));
            files.values().map(|bytes| format!("{:?}", bytes)).collect()
        })
    }

    #[test]
    fn a_process_that_dies_in_a_change_leaves_it_made_half_made_or_not_made() {
        let all = |death| {
            (0..100)
                .map(|seed| left(seed, death))
                .collect::<BTreeSet<_>>()
        };
        let any: BTreeSet<_> = ["", "b\"\"", "b\"1\"", "b\"12\""].map(str::to_owned).into();
        assert_eq!(all(Death::Kill), any);
        assert_eq!(all(Death::PowerCut), any);
    }

    #[test]
    fn a_full_disk_takes_no_write_and_lets_files_go() {
        let disk = LifeDisk::new();
        let file = Path::new("/var/x");
        disk.write(file, b"1", Access::Shared).unwrap();
        disk.set_free(Some(0));
        let error = disk.write(file, b"2", Access::Shared).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        disk.remove(file).unwrap();
        disk.heal();
        disk.write(file, b"2", Access::Shared).unwrap();
    }

    #[test]
    fn kinds_name_the_directories() {
        let path = |name: &str| Path::new(SPOOL).join(name);
        let rename = Op::Rename(path("sealed/a"), path("ready/a"));
        assert_eq!(kind_of(&rename), "disk.rename sealed ready");
        assert_eq!(kind_of(&Op::SyncDir(SPOOL.into())), "disk.sync_dir spool");
        assert_eq!(
            kind_of(&Op::Append(path("gaps.jsonl"), Bytes::new())),
            "disk.append gaps.jsonl"
        );
    }
}
