//! Moves between directories that no order of syncs can lose a file by.
//!
//! A move is two changes, a new name in one directory and the end of the old one in
//! another, and POSIX promises nothing of their order: if the old directory is synced
//! first, a power cut may leave neither name. Every move syncs in the right order, but
//! one that failed half way, or that another thread is making, leaves the directory it
//! came from to whoever syncs it next.
//!
//! Invariant: a directory is synced only after those that files have left it for.
//! Moves must not run in circles: against the way that files go, a file is written
//! anew (`Outlet::move_back`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::{Access, Disk, Entry, lock, parent};

/// Per directory those that files have left it for and that were not synced since.
type Pending = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

/// A disk on which directories may be synced in any order, by any thread.
#[derive(Debug)]
pub struct SafeMoves {
    disk: Arc<dyn Disk>,
    /// Held while a directory is synced: no file leaves it meanwhile. A step that
    /// panicked has left out none: each is noted before it is made.
    pending: Mutex<Pending>,
}

impl SafeMoves {
    /// Keeps the invariant for what is changed through the returned disk; what was
    /// moved before, by an earlier process, it does not know.
    pub fn on(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            pending: Mutex::default(),
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        lock(&*self.disk, &self.pending)
    }

    fn sync_after_targets(&self, pending: &mut Pending, dir: &Path) -> io::Result<()> {
        // Taken out, so that a circle would end.
        let mut targets = pending.remove(dir).unwrap_or_default();
        while let Some(target) = targets.pop_first() {
            match self.sync_after_targets(pending, &target) {
                // Somebody removed it, with all that it held.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    targets.insert(target);
                    pending.entry(dir.to_owned()).or_default().extend(targets);
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        self.disk.sync_dir(dir)?;
        pending.retain(|_, targets| {
            targets.remove(dir);
            !targets.is_empty()
        });
        Ok(())
    }
}

impl Disk for SafeMoves {
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut pending = self.pending();
        let (source, target) = (parent(from), parent(to));
        if source != target {
            // Also of one that fails: it may have happened.
            let targets = pending.entry(source.to_owned()).or_default();
            targets.insert(target.to_owned());
        }
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync_after_targets(&mut self.pending(), path)
    }

    fn write(&self, path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
        self.disk.write(path, bytes, access)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.append(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_bytes(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        self.disk.read(path)
    }

    fn read_end(&self, path: &Path, length: u64) -> io::Result<(u64, Bytes)> {
        self.disk.read_end(path, length)
    }

    fn let_others_run(&self) -> bool {
        self.disk.let_others_run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    /// Notes which directories are synced, and fails as it is told.
    #[derive(Debug, Default)]
    struct Told {
        synced: Mutex<Vec<String>>,
        /// Syncs take their time, and moves are noted among them.
        is_slow: AtomicBool,
        failing: Mutex<BTreeMap<&'static str, ErrorKind>>,
    }

    impl Told {
        fn note(&self, what: &str) {
            self.synced.lock().unwrap().push(what.to_owned());
        }

        fn fails(&self, path: &Path) -> io::Result<()> {
            let failing = self.failing.lock().unwrap();
            match failing.get(path.to_str().unwrap()) {
                Some(kind) => Err((*kind).into()),
                None => Ok(()),
            }
        }
    }

    #[rustfmt::skip]
    impl Disk for Told {
        fn rename(&self, _: &Path, to: &Path) -> io::Result<()> {
            if self.is_slow.load(Ordering::Relaxed) {
                self.note("moved");
            }
            self.fails(to)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.fails(path)?;
            if self.is_slow.load(Ordering::Relaxed) {
                self.note("begun");
                thread::sleep(Duration::from_millis(100));
            }
            self.note(&path.display().to_string());
            Ok(())
        }
        fn write(&self, _: &Path, _: &[u8], _: Access) -> io::Result<()> { Ok(()) }
        fn append(&self, _: &Path, _: &[u8]) -> io::Result<()> { Ok(()) }
        fn remove(&self, _: &Path) -> io::Result<()> { Ok(()) }
        fn create_dir(&self, _: &Path) -> io::Result<()> { Ok(()) }
        fn free_bytes(&self, _: &Path) -> io::Result<u64> { Ok(0) }
        fn list(&self, _: &Path) -> io::Result<Vec<Entry>> { Ok(Vec::new()) }
        fn read(&self, _: &Path) -> io::Result<Bytes> { Ok(Bytes::new()) }
        fn read_end(&self, _: &Path, _: u64) -> io::Result<(u64, Bytes)> { Ok((0, Bytes::new())) }
    }

    struct Case {
        told: Arc<Told>,
        disk: SafeMoves,
    }

    impl Case {
        fn new() -> Self {
            let told = Arc::new(Told::default());
            let disk = SafeMoves::on(told.clone());
            Self { told, disk }
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.disk.rename(Path::new(from), Path::new(to))
        }

        /// What is synced for this.
        fn sync(&self, dir: &str) -> Vec<String> {
            let _ = self.disk.sync_dir(Path::new(dir));
            std::mem::take(&mut *self.told.synced.lock().unwrap())
        }

        fn fail(&self, path: &'static str, kind: ErrorKind) {
            self.told.failing.lock().unwrap().insert(path, kind);
        }

        fn heal(&self) {
            self.told.failing.lock().unwrap().clear();
        }
    }

    #[test]
    fn a_directory_is_synced_after_those_that_files_left_it_for_and_once() {
        let case = Case::new();
        case.rename("a/1", "b/1").unwrap();
        case.rename("b/2", "c/2").unwrap();
        case.rename("a/3", "a/4").unwrap();
        assert_eq!(case.sync("a"), ["c", "b", "a"]);
        assert_eq!(case.sync("a"), ["a"]);
        case.rename("a/5", "b/5").unwrap();
        assert_eq!(case.sync("b"), ["b"]);
        assert_eq!(case.sync("a"), ["a"], "where it went is synced already");
    }

    #[test]
    fn a_rename_that_failed_may_have_happened() {
        let case = Case::new();
        case.fail("b/1", ErrorKind::Other);
        assert!(case.rename("a/1", "b/1").is_err());
        assert_eq!(case.sync("a"), ["b", "a"]);
    }

    #[test]
    fn what_can_not_be_synced_holds_up_what_comes_after_it_until_it_can() {
        let case = Case::new();
        case.rename("a/1", "b/1").unwrap();
        case.rename("a/2", "c/2").unwrap();
        case.fail("b", ErrorKind::Other);
        assert!(case.sync("a").is_empty());
        case.heal();
        assert_eq!(case.sync("a"), ["b", "c", "a"]);
    }

    #[test]
    fn a_directory_that_was_removed_holds_up_nothing() {
        let case = Case::new();
        case.rename("a/1", "b/1").unwrap();
        case.fail("b", ErrorKind::NotFound);
        assert_eq!(case.sync("a"), ["a"]);
    }

    #[test]
    fn no_file_leaves_a_directory_that_is_being_synced() {
        let case = Case::new();
        case.told.is_slow.store(true, Ordering::Relaxed);
        thread::scope(|threads| {
            threads.spawn(|| case.disk.sync_dir(Path::new("a")));
            while case.told.synced.lock().unwrap().is_empty() {
                thread::yield_now();
            }
            case.rename("a/1", "b/1").unwrap();
        });
        assert_eq!(
            *case.told.synced.lock().unwrap(),
            ["begun", "a", "moved"].map(str::to_owned)
        );
    }

    #[test]
    fn moves_in_a_circle_come_to_an_end() {
        let case = Case::new();
        case.rename("a/1", "b/1").unwrap();
        case.rename("b/2", "a/2").unwrap();
        assert_eq!(case.sync("a"), ["a", "b", "a"]);
    }
}
