//! A disk in memory that forgets what was not synced.
//!
//! It keeps two images, *live* (what a running process sees) and *durable*
//! (what is certain after a power cut), and between them the changes of
//! directory entries that no `sync_dir` has made durable yet. What it assumes
//! of the medium, which is what POSIX leaves to ext4-like file systems:
//!
//! - bytes are durable when `write` or `append` returns; a crash inside leaves
//!   nothing, an empty file, a torn one or all of it;
//! - an entry is durable after `sync_dir` of its directory; of those that were
//!   not synced any survive, names independently of each other, the changes of
//!   one name in their order;
//! - a rename within a directory survives whole or not at all; one across
//!   directories may survive in the target, or in both (the file has two
//!   names), and is undone if it survives in none. Only a source that was synced
//!   before its target loses the file;
//! - a killed process leaves the live image as it is.
//!
//! A fault is an error that either happened all the same or did not. Every
//! choice is drawn from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use spoolhouse::spool::disk::{Access, Disk, Entry};

type Inode = u64;
const ROOT: Inode = 0;

/// A change that was asked of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Write(PathBuf, Bytes),
    Append(PathBuf, Bytes),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    CreateDir(PathBuf),
    SyncDir(PathBuf),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(path, _) => write!(f, "write {}", path.display()),
            Self::Append(path, _) => write!(f, "append {}", path.display()),
            Self::Rename(from, to) => write!(f, "rename {} {}", from.display(), to.display()),
            Self::Remove(path) => write!(f, "remove {}", path.display()),
            Self::CreateDir(path) => write!(f, "create_dir {}", path.display()),
            Self::SyncDir(path) => write!(f, "sync_dir {}", path.display()),
        }
    }
}

/// Files and directories by inode.
#[derive(Clone, Debug, Default)]
struct Image {
    files: BTreeMap<Inode, Bytes>,
    dirs: BTreeMap<Inode, BTreeMap<String, Inode>>,
}

/// A change of an entry that is not durable yet.
#[derive(Clone, Debug)]
struct Change {
    dir: Inode,
    name: String,
    to: Option<Inode>,
    /// The change without which this one does not survive: the other half of a rename.
    after: Option<usize>,
    /// Both halves lie in one directory and survive together.
    whole: bool,
    durable: bool,
}

/// Both images at one moment.
#[derive(Clone, Debug)]
struct State {
    live: Image,
    durable: Image,
    changes: Vec<Change>,
    next_inode: Inode,
}

/// The disk just before a change: where a crash may strike.
#[derive(Clone, Debug)]
pub struct Moment {
    state: State,
    /// The change that was about to be made.
    pub op: Op,
    /// How many changes were made before it.
    pub number: usize,
}

type Watch = Box<dyn FnMut(Moment) + Send>;

/// Errors to come: those of the changes `from..until`, by number.
#[derive(Debug)]
struct Faults {
    from: usize,
    until: usize,
    kind: ErrorKind,
    draw: ChaCha8Rng,
}

struct Inner {
    state: State,
    made: usize,
    watch: Option<Watch>,
    faults: Option<Faults>,
    dies_at: Option<usize>,
    died: Option<Moment>,
}

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    /// A disk with nothing but `/var`.
    pub fn new() -> Self {
        const VAR: Inode = ROOT + 1;
        let mut image = Image::default();
        image.dirs.insert(ROOT, BTreeMap::new());
        image.dirs.insert(VAR, BTreeMap::new());
        image.link(ROOT, "var", Some(VAR));
        Self::from_state(State {
            live: image.clone(),
            durable: image,
            changes: Vec::new(),
            next_inode: VAR + 1,
        })
    }

    fn from_state(state: State) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            state,
            made: 0,
            watch: None,
            faults: None,
            dies_at: None,
            died: None,
        })))
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|error| error.into_inner())
    }

    /// Shows every moment before a change to `watch`.
    pub fn watch(&self, watch: impl FnMut(Moment) + Send + 'static) {
        self.inner().watch = Some(Box::new(watch));
    }

    /// Changes made so far, failed ones included.
    pub fn made(&self) -> usize {
        self.inner().made
    }

    /// After `wait` more changes the next `count` fail, each of which happens
    /// all the same or not, as `seed` says.
    pub fn fail(&self, wait: usize, count: usize, kind: ErrorKind, seed: u64) {
        let mut inner = self.inner();
        let from = inner.made + wait;
        inner.faults = Some(Faults {
            from,
            until: from + count,
            kind,
            draw: ChaCha8Rng::seed_from_u64(seed),
        });
    }

    /// Whether errors are still to come.
    pub fn is_failing(&self) -> bool {
        let inner = self.inner();
        inner
            .faults
            .as_ref()
            .is_some_and(|faults| inner.made < faults.until)
    }

    /// No more errors.
    pub fn heal(&self) {
        self.inner().faults = None;
    }

    /// After `wait` more changes the disk goes dead: see [`Self::died`].
    pub fn die(&self, wait: usize) {
        let mut inner = self.inner();
        inner.dies_at = Some(inner.made + wait);
    }

    /// The moment at which the disk went dead.
    pub fn died(&self) -> Option<Moment> {
        self.inner().died.clone()
    }

    /// This very moment, between two changes.
    pub fn now(&self) -> Moment {
        let inner = self.inner();
        Moment {
            state: inner.state.clone(),
            op: Op::SyncDir(PathBuf::from("/nowhere")),
            number: inner.made,
        }
    }

    /// Puts a file there by hand, durably and unnoticed.
    pub fn plant(&self, path: &Path, bytes: Bytes) {
        let mut inner = self.inner();
        let state = &mut inner.state;
        let (dir, name) = state.live.parent(path).expect("the directory is there");
        let inode = state.new_inode();
        for image in [&mut state.live, &mut state.durable] {
            image.files.insert(inode, bytes.clone());
            if let Some(entries) = image.dirs.get_mut(&dir) {
                entries.insert(name.clone(), inode);
            }
        }
    }

    /// Every file under `path`, by path, as a running process sees it.
    pub fn files(&self, path: &Path) -> BTreeMap<PathBuf, Bytes> {
        let inner = self.inner();
        let mut files = BTreeMap::new();
        if let Some(inode) = inner.state.live.find(path) {
            inner.state.live.walk(inode, path, &mut files);
        }
        files
    }

    /// Every file under `path` that a power cut now would leave for certain, as it would
    /// leave it.
    pub fn certain_files(&self, path: &Path) -> BTreeMap<PathBuf, Bytes> {
        let inner = self.inner();
        let mut certain = inner.state.durable.clone();
        let changes = &inner.state.changes;
        for change in changes.iter().filter(|change| change.durable) {
            certain.link(change.dir, &change.name, change.to);
        }
        let mut files = BTreeMap::new();
        if let Some(inode) = certain.find(path) {
            certain.walk(inode, path, &mut files);
        }
        files
    }

    /// How many files a room of the spool holds.
    pub fn count(&self, directory: &str) -> usize {
        self.files(&Path::new(super::world::SPOOL).join(directory))
            .len()
    }

    fn change(&self, op: Op) -> io::Result<()> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        if inner.died.is_some() {
            return Err(io::Error::other("crashed"));
        }
        let moment = || Moment {
            state: inner.state.clone(),
            op: op.clone(),
            number: inner.made,
        };
        if inner.dies_at.is_some_and(|at| inner.made >= at) {
            inner.died = Some(moment());
            return Err(io::Error::other("crashed"));
        }
        if let Some(watch) = &mut inner.watch {
            watch(Moment {
                state: inner.state.clone(),
                op: op.clone(),
                number: inner.made,
            });
        }
        let number = inner.made;
        inner.made += 1;
        if let Some(faults) = &mut inner.faults
            && (faults.from..faults.until).contains(&number)
        {
            inner.state.maybe(&op, &mut faults.draw);
            return Err(faults.kind.into());
        }
        inner.state.apply(&op)
    }
}

impl Moment {
    /// What a killed process leaves: the live image, the change made or not.
    pub fn kill(&self, seed: u64) -> SimDisk {
        let mut state = self.state.clone();
        state.maybe(&self.op, &mut ChaCha8Rng::seed_from_u64(seed));
        SimDisk::from_state(state)
    }

    /// What a power cut leaves: the durable image and, of what was not synced,
    /// whatever `seed` lets survive.
    pub fn power_cut(&self, seed: u64) -> SimDisk {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let mut state = self.state.clone();
        state.maybe(&self.op, &mut draw);
        state.cut(&mut draw);
        SimDisk::from_state(state)
    }
}

impl State {
    fn new_inode(&mut self) -> Inode {
        self.next_inode += 1;
        self.next_inode - 1
    }

    /// Makes a change, part of it, or nothing.
    fn maybe(&mut self, op: &Op, draw: &mut ChaCha8Rng) {
        let (path, bytes, before) = match op {
            Op::Write(path, bytes) => (path, bytes, Bytes::new()),
            Op::Append(path, bytes) => (path, bytes, self.live.read(path).unwrap_or_default()),
            _ => {
                if coin(draw) {
                    let _ = self.apply(op);
                }
                return;
            }
        };
        // A write that was cut short: absent, empty, torn, or whole but unsynced.
        let kept = match draw.next_u32() % 4 {
            0 => return,
            1 => 0,
            2 => draw.next_u32() as usize % bytes.len().max(1),
            _ => bytes.len(),
        };
        let mut content = before.to_vec();
        content.extend_from_slice(&bytes[..kept]);
        if let Ok(inode) = self.put(path, content.into()) {
            let torn = draw.next_u32() as usize % (bytes.len() + 1);
            let mut content = before.to_vec();
            content.extend_from_slice(&bytes[..torn.min(kept)]);
            self.durable.files.insert(inode, content.into());
        }
    }

    fn apply(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Write(path, bytes) => self.put_durably(path, bytes.clone()),
            Op::Append(path, bytes) => {
                let mut content = self.live.read(path).unwrap_or_default().to_vec();
                content.extend_from_slice(bytes);
                self.put_durably(path, content.into())
            }
            Op::Rename(from, to) => self.rename(from, to),
            Op::Remove(path) => {
                let (dir, name) = self.live.parent(path)?;
                self.live.file(path)?;
                self.set(dir, &name, None, None, false);
                Ok(())
            }
            Op::CreateDir(path) => self.create_dir(path),
            Op::SyncDir(path) => self.sync_dir(path),
        }
    }

    fn put(&mut self, path: &Path, bytes: Bytes) -> io::Result<Inode> {
        let (dir, name) = self.live.parent(path)?;
        let inode = match self.live.find(path) {
            Some(inode) if self.live.dirs.contains_key(&inode) => {
                return Err(ErrorKind::IsADirectory.into());
            }
            Some(inode) => inode,
            None => {
                let inode = self.new_inode();
                self.set(dir, &name, Some(inode), None, false);
                inode
            }
        };
        self.live.files.insert(inode, bytes);
        Ok(inode)
    }

    fn put_durably(&mut self, path: &Path, bytes: Bytes) -> io::Result<()> {
        let inode = self.put(path, bytes.clone())?;
        self.durable.files.insert(inode, bytes);
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.live.find(from).ok_or(ErrorKind::NotFound)?;
        let (from_dir, from_name) = self.live.parent(from)?;
        let (to_dir, to_name) = self.live.parent(to)?;
        let whole = from_dir == to_dir;
        let target = self.changes.len();
        self.set(to_dir, &to_name, Some(inode), None, whole);
        self.set(from_dir, &from_name, None, Some(target), whole);
        Ok(())
    }

    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let mut so_far = PathBuf::new();
        for part in path.components() {
            so_far.push(part);
            if part == Component::RootDir || self.live.find(&so_far).is_some() {
                continue;
            }
            let (dir, name) = self.live.parent(&so_far)?;
            let inode = self.new_inode();
            self.live.dirs.insert(inode, BTreeMap::new());
            self.durable.dirs.insert(inode, BTreeMap::new());
            self.set(dir, &name, Some(inode), None, false);
        }
        Ok(())
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let synced = self.live.find(path).ok_or(ErrorKind::NotFound)?;
        for change in &mut self.changes {
            change.durable |= change.dir == synced;
        }
        if self.changes.iter().all(|change| change.durable) {
            for change in self.changes.drain(..) {
                self.durable.link(change.dir, &change.name, change.to);
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        dir: Inode,
        name: &str,
        to: Option<Inode>,
        after: Option<usize>,
        whole: bool,
    ) {
        self.live.link(dir, name, to);
        self.changes.push(Change {
            dir,
            name: name.to_owned(),
            to,
            after,
            whole,
            durable: false,
        });
    }

    /// Loses what was not synced, as far as the draw has it.
    fn cut(&mut self, draw: &mut ChaCha8Rng) {
        let changes = std::mem::take(&mut self.changes);
        let mut survived = vec![false; changes.len()];
        // Of one name, nothing survives behind a change that did not, unless it was synced.
        let mut stuck: BTreeSet<(Inode, &str)> = BTreeSet::new();
        // The draw's mood: everything, nothing, or each for itself.
        let mood = draw.next_u32() % 4;
        for (index, change) in changes.iter().enumerate() {
            let name = (change.dir, change.name.as_str());
            let lucky = match mood {
                0 => true,
                1 => false,
                _ => coin(draw),
            };
            survived[index] = change.durable
                || !stuck.contains(&name)
                    && match change.after {
                        Some(target) if change.whole => survived[target],
                        Some(target) => survived[target] && lucky,
                        None => lucky,
                    };
            if survived[index] {
                self.durable.link(change.dir, &change.name, change.to);
            } else {
                stuck.insert(name);
            }
        }
        self.live = self.durable.clone();
    }
}

impl Image {
    fn find(&self, path: &Path) -> Option<Inode> {
        let mut inode = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                inode = *self.dirs.get(&inode)?.get(name.to_str()?)?;
            }
        }
        Some(inode)
    }

    fn parent(&self, path: &Path) -> io::Result<(Inode, String)> {
        let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
        let dir = self.find(parent).ok_or(ErrorKind::NotFound)?;
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        Ok((dir, name.to_string_lossy().into_owned()))
    }

    fn file(&self, path: &Path) -> io::Result<&Bytes> {
        let inode = self.find(path).ok_or(ErrorKind::NotFound)?;
        self.files
            .get(&inode)
            .ok_or_else(|| ErrorKind::IsADirectory.into())
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        self.file(path).cloned()
    }

    fn link(&mut self, dir: Inode, name: &str, to: Option<Inode>) {
        let Some(entries) = self.dirs.get_mut(&dir) else {
            return;
        };
        match to {
            Some(inode) => entries.insert(name.to_owned(), inode),
            None => entries.remove(name),
        };
    }

    fn walk(&self, inode: Inode, path: &Path, files: &mut BTreeMap<PathBuf, Bytes>) {
        if let Some(bytes) = self.files.get(&inode) {
            files.insert(path.to_owned(), bytes.clone());
        }
        for (name, inode) in self.dirs.get(&inode).into_iter().flatten() {
            self.walk(*inode, &path.join(name), files);
        }
    }
}

fn coin(draw: &mut ChaCha8Rng) -> bool {
    draw.next_u32().is_multiple_of(2)
}

impl Disk for SimDisk {
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
        if self.inner().state.live.find(path).is_some() {
            return Ok(());
        }
        self.change(Op::CreateDir(path.into()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(Op::SyncDir(path.into()))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let inner = self.inner();
        let live = &inner.state.live;
        let inode = live.find(path).ok_or(ErrorKind::NotFound)?;
        let entries = live.dirs.get(&inode).ok_or(ErrorKind::NotADirectory)?;
        let entry = |(name, inode): (&String, &Inode)| Entry {
            name: name.clone(),
            bytes: live.files.get(inode).map_or(0, |bytes| bytes.len() as u64),
            is_file: live.files.contains_key(inode),
        };
        Ok(entries.iter().map(entry).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        self.inner().state.live.read(path)
    }

    fn read_end(&self, path: &Path, length: u64) -> io::Result<(u64, Bytes)> {
        let bytes = self.inner().state.live.read(path)?;
        let from = bytes.len().saturating_sub(length as usize);
        Ok((bytes.len() as u64, bytes.slice(from..)))
    }
}
