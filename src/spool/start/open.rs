//! Opens a spool: takes the lock, reads `spool.json` and the listing, has repaired
//! what a crash left, and only then gives the spool out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use uuid::Uuid;

use super::error::OpenError;
use super::recovery_plan::{Found, Listing};
use super::repair;
use crate::spool::disk::lock::OwnerLock;
use crate::spool::disk::sync_order::SafeMoves;
use crate::spool::disk::{self, Disk, LocalDisk};
use crate::spool::format::footer;
use crate::spool::layout::{Directory, Layout, Name};
use crate::spool::state::State;
use crate::spool::{Inner, Spool};
use crate::time::{Clock, SystemClock};

impl Spool {
    /// Opens the spool in `root` on the local disk, creating it if it is empty.
    ///
    /// # Errors
    /// [`OpenError`]; a damaged file is quarantined, which is not an error.
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
        let listing = repair::list(&*disk, &layout, state.spool, &repair::JUDGED)?;
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
        repair::repair(&spool, listing, next_segment)
            .map_err(at(spool.layout().root().to_owned()))?;
        // A full disk has no room even for this: not if it says nothing new.
        if written.as_ref() != Some(&*spool.state()) {
            spool.write_state().map_err(at(spool.layout().state()))?;
        }
        Ok(spool)
    }
}

fn create_dirs(disk: &dyn Disk, layout: &Layout) -> Result<(), OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |why| OpenError::Io { path, why }
    };
    for directory in Directory::ALL {
        let dir = layout.directory(directory);
        disk.create_dir(&dir).map_err(at(&dir))?;
    }
    // A process that was killed may have left changes that only it saw: what is
    // acted on from here on is durable. Where files move to before where they
    // come from, or the sync itself could lose one.
    let directories = Directory::ALL
        .iter()
        .rev()
        .map(|directory| layout.directory(*directory));
    for dir in directories.chain([layout.root().to_owned()]) {
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
            for directory in Directory::ALL {
                let path = layout.directory(directory);
                let files = layout.files(disk, directory);
                let files = files.map_err(|why| OpenError::Io { path, why })?;
                if !files.is_empty() {
                    return Err(OpenError::NoState(layout.root().to_owned()));
                }
            }
            Ok(None)
        }
        Err(why) => Err(OpenError::Io { path, why }),
    }
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
