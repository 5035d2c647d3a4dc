//! Opens a spool: takes the lock, reads `spool.json` and the listing, carries
//! out what [`recovery`] plans, and only then hands out the doors.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use uuid::Uuid;

use super::recovery_plan::{self, Found, Listing, Place, Repair};
use crate::spool::disk::lock::{LockError, OwnerLock};
use crate::spool::disk::sync_order::SafeMoves;
use crate::spool::disk::{self, Disk, Entry, LocalDisk};
use crate::spool::format::error::Fault;
use crate::spool::format::footer;
use crate::spool::format::read;
use crate::spool::format::segment;
use crate::spool::layout::{Layout, Name, Room};
use crate::spool::outlet::fit;
use crate::spool::state::{State, StateError};
use crate::spool::undecodable_replay;
use crate::spool::{Access, Inner, Spool};
use crate::time::{Clock, SystemClock};

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

/// How many bytes at the end of a file are read in search of its footer.
const FOOTER_GUESS: u64 = 8 * 1024;

impl Spool {
    /// Opens the spool in `root` on the local disk, creating it if it is empty.
    ///
    /// # Errors
    /// [`OpenError`]; a bad file is none, it is set aside.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let layout = Layout::new(root);
        let disk = Arc::new(LocalDisk);
        create_dirs(&*disk, &layout)?;
        let path = layout.lock();
        let lock = OwnerLock::take(&path).map_err(|why| OpenError::Lock { path, why })?;
        Self::open_on(
            disk,
            layout,
            Some(lock),
            Uuid::new_v4(),
            Arc::new(SystemClock),
        )
    }

    /// Opens a spool on any disk, by any clock. `new_id` becomes the id of a new spool.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        layout: Layout,
        lock: Option<OwnerLock>,
        new_id: Uuid,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(SafeMoves::on(disk));
        create_dirs(&*disk, &layout)?;
        let written = read_state(&*disk, &layout)?;
        let mut state = written.clone().unwrap_or_else(|| State::new(new_id));
        let listing = list(&*disk, &layout, state.spool, &JUDGED)?;
        let next_segment = state.next_segment;
        learn(&mut state, &listing);
        let spool = Self {
            inner: Arc::new(Inner {
                id: state.spool,
                state: Mutex::new(state),
                handover: Mutex::new(()),
                arrivals: Notify::new(),
                bytes: AtomicI64::new(0),
                _lock: lock,
                disk,
                clock,
                layout,
            }),
        };
        let at = |path: PathBuf| move |why| OpenError::Io { path, why };
        spool
            .repair(listing, next_segment)
            .map_err(at(spool.layout().root().to_owned()))?;
        // A full disk has no room even for this: not if it says nothing new.
        if written.as_ref() != Some(&*spool.state()) {
            spool.write_state().map_err(at(spool.layout().state()))?;
        }
        Ok(spool)
    }

    /// Does for the outlet's rooms what a start does for all: after an error,
    /// only a look at the disk tells how far a hand-over came.
    pub(in crate::spool) fn mend(&self) -> io::Result<()> {
        let _guard = self.handover();
        let rooms = [Room::Rejected, Room::Sending, Room::Batches, Room::Ready];
        for room in rooms {
            self.disk().sync_dir(&self.layout().room(room))?;
        }
        let listing =
            list(self.disk(), self.layout(), self.id(), &rooms).map_err(io::Error::other)?;
        // Orphans are ingest's: no undecodable messages are in this listing.
        self.repair(listing, u64::MAX)
    }

    fn repair(&self, listing: Listing, next_segment: u64) -> io::Result<()> {
        for repair in recovery_plan::plan(listing, next_segment) {
            self.carry_out(&repair)?;
        }
        let held: u64 = self.holdings()?.values().map(|holding| holding.bytes).sum();
        self.count_bytes(held as i64 - self.inner.bytes.load(Ordering::Relaxed));
        Ok(())
    }

    pub(in crate::spool) fn write_state(&self) -> io::Result<()> {
        let bytes = self.state().to_bytes()?;
        disk::replace(self.disk(), &self.layout().state(), &bytes)
    }

    fn carry_out(&self, repair: &Repair) -> io::Result<()> {
        match repair {
            Repair::Discard(place) => {
                tracing::info!(file = %shown(place), "draft of an earlier run discarded; Kafka has its messages");
                self.remove(place.0, &place.1)
            }
            Repair::Redundant { place, by } => {
                tracing::info!(file = %shown(place), held_by = %by, "finished a hand-over that was cut short");
                self.remove(place.0, &place.1)
            }
            Repair::Release(place) => {
                tracing::info!(file = %shown(place), "finished a replay that was cut short");
                let ready = self.layout().file(Room::Ready, &place.1);
                disk::relocate(self.disk(), &self.layout().file(place.0, &place.1), &ready)
            }
            Repair::SetAside { place, fault } => self.set_aside(place.0, &place.1, fault),
            Repair::Remainder { place, from_row } => {
                tracing::info!(file = %shown(place), from_row, "finished packing that was cut short");
                self.write_rest(place, *from_row)
            }
        }
    }

    fn write_rest(&self, place: &Place, from_row: u64) -> io::Result<()> {
        let bytes = self.disk().read(&self.layout().file(place.0, &place.1))?;
        let read = Name::parse(&place.1)
            .ok_or(Fault::Foreign)
            .and_then(|name| read::segment(&name, bytes, self.id()));
        let segment = match read {
            Ok(segment) => segment,
            Err(fault) => return self.set_aside(place.0, &place.1, &fault),
        };
        let taken = from_row - segment.footer.first_row;
        let rest = fit::remainder(&segment, taken);
        let rows = segment.rows.slice(taken as usize, rest.rows as usize);
        let file = segment::encode(&rest, &rows).map_err(io::Error::other)?;
        let name = Name::Segment {
            number: rest.segment,
            first_row: rest.first_row,
        };
        self.publish(Room::Ready, &name, &file, Access::Shared)?;
        self.remove(place.0, &place.1)
    }
}

fn shown(place: &Place) -> String {
    format!("{}/{}", place.0.name(), place.1)
}

fn create_dirs(disk: &dyn Disk, layout: &Layout) -> Result<(), OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |why| OpenError::Io { path, why }
    };
    for room in Room::ALL {
        let dir = layout.room(room);
        disk.create_dir(&dir).map_err(at(&dir))?;
    }
    // A process that was killed may have left changes that only it saw: what is
    // acted on from here on is durable. Where files move to before where they
    // come from, or the sync itself could lose one.
    let rooms = Room::ALL.iter().rev().map(|room| layout.room(*room));
    for dir in rooms.chain([layout.root().to_owned()]) {
        disk.sync_dir(&dir).map_err(at(&dir))?;
    }
    // The spool's own entry; whoever may not read the directory above did not
    // create it just now.
    let above = disk::parent(layout.root());
    match disk.sync_dir(above) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done.map_err(at(above)),
    }
}

/// What `spool.json` says; `None` for a spool that is yet to begin.
fn read_state(disk: &dyn Disk, layout: &Layout) -> Result<Option<State>, OpenError> {
    let path = layout.state();
    match disk.read(&path) {
        Ok(bytes) => State::parse(&bytes)
            .map(Some)
            .map_err(|why| OpenError::State { path, why }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            for room in Room::ALL {
                let dir = layout.room(room);
                let entries = disk
                    .list(&dir)
                    .map_err(|why| OpenError::Io { path: dir, why })?;
                if entries
                    .iter()
                    .any(|entry| Name::parse(&entry.name).is_some())
                {
                    return Err(OpenError::NoState(layout.root().to_owned()));
                }
            }
            Ok(None)
        }
        Err(why) => Err(OpenError::Io { path, why }),
    }
}

/// The rooms whose content recovery judges. `doubtful/` is the operator's,
/// `inbox/` holds no data.
const JUDGED: [Room; 7] = [
    Room::Open,
    Room::Sealed,
    Room::Ready,
    Room::Batches,
    Room::Sending,
    Room::Rejected,
    Room::Undecodable,
];

fn list(
    disk: &dyn Disk,
    layout: &Layout,
    spool: Uuid,
    rooms: &[Room],
) -> Result<Listing, OpenError> {
    let entries = |room| {
        let path = layout.room(room);
        disk.list(&path).map_err(|why| OpenError::Io { path, why })
    };
    let aside: BTreeSet<String> = entries(Room::Doubtful)?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let mut listing = BTreeMap::new();
    for &room in rooms {
        let dir = layout.room(room);
        for entry in entries(room)? {
            if matches!(room, Room::Rejected | Room::Undecodable)
                && Name::parse(&entry.name).is_none()
            {
                continue; // sidecars, and what operators keep beside them
            }
            let path = dir.join(&entry.name);
            let found = match is_aside(disk, layout, &path, &entry, &aside) {
                Ok(true) => Ok(Found::Aside),
                Ok(false) => examine(disk, &path, room, &entry, spool),
                Err(error) => Err(error),
            };
            let found = found.map_err(|why| OpenError::Io { path, why })?;
            listing.insert((room, entry.name), found);
        }
    }
    judge_replays(disk, layout, &mut listing)?;
    Ok(listing)
}

/// Finds out of every replayed segment in `sealed/` whether its source still
/// holds the messages.
fn judge_replays(disk: &dyn Disk, layout: &Layout, listing: &mut Listing) -> Result<(), OpenError> {
    for ((room, _), found) in listing.iter_mut() {
        let Found::Segment(footer) = found else {
            continue;
        };
        let (Room::Sealed, Some(from)) = (room, &footer.replayed_from) else {
            continue;
        };
        let origin =
            undecodable_replay::origin(disk, layout, from).map_err(|why| OpenError::Io {
                path: layout.room(Room::Undecodable),
                why,
            })?;
        *found = Found::Replayed(footer.clone(), origin);
    }
    Ok(())
}

/// Whether `doubtful/` holds the same bytes under the same name: a move there
/// that a power cut left half done.
fn is_aside(
    disk: &dyn Disk,
    layout: &Layout,
    path: &Path,
    entry: &Entry,
    aside: &BTreeSet<String>,
) -> io::Result<bool> {
    let copies = aside.range(entry.name.clone()..).take_while(|name| {
        let rest = name.strip_prefix(&entry.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    for copy in copies.filter(|_| entry.is_file) {
        let copy = layout.file(Room::Doubtful, copy);
        if disk::size(disk, &copy) == Some(entry.bytes) && disk.read(&copy)? == disk.read(path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn examine(
    disk: &dyn Disk,
    path: &Path,
    room: Room,
    entry: &Entry,
    spool: Uuid,
) -> io::Result<Found> {
    let draft_of = entry.name.strip_suffix(".part").and_then(Name::parse);
    if room == Room::Open && entry.is_file && draft_of.is_some() {
        return Ok(Found::Draft);
    }
    let Some(name) = Name::parse(&entry.name).filter(|_| entry.is_file) else {
        return Ok(Found::Faulty(Fault::Foreign));
    };
    let found = match (room, &name) {
        (Room::Sealed | Room::Ready, Name::Segment { .. }) => {
            footer::read_end(disk, path, FOOTER_GUESS)?
                .and_then(|metadata| read::segment_footer(&name, &metadata, spool))
                .map(Found::Segment)
        }
        (Room::Batches | Room::Sending | Room::Rejected, Name::Batch { .. }) => {
            read::batch(&name, &disk.read(path)?, spool).map(Found::Batch)
        }
        (Room::Undecodable, Name::Undecodable { .. }) => Ok(Found::Undecodable),
        _ => Err(Fault::Name(format!(
            "{name} has no place in {}",
            room.name()
        ))),
    };
    Ok(found.unwrap_or_else(Found::Faulty))
}

/// Takes over what the files know and `spool.json` does not yet: a crash may
/// fall between publishing a segment and noting it.
fn learn(state: &mut State, listing: &Listing) {
    let mut footers: Vec<&footer::SegmentFooter> = listing
        .values()
        .filter_map(|found| match found {
            Found::Segment(footer) => Some(footer),
            _ => None,
        })
        .collect();
    footers.sort_by_key(|footer| footer.segment);
    for footer in footers {
        state.note_sealed(footer);
    }
    let named = listing.keys().filter_map(|(_, name)| Name::parse(name));
    let covered = listing.values().filter_map(|found| match found {
        Found::Batch(footer) => footer.covers.iter().map(|cover| cover.last).max(),
        _ => None,
    });
    if let Some(largest) = named.map(|name| name.number()).chain(covered).max() {
        state.next_segment = state.next_segment.max(largest.saturating_add(1));
    }
}
