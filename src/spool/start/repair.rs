//! Lists what a spool holds, looks into every file of it, and carries out what
//! [`recovery_plan`] makes of that.
//!
//! Invariant: decides nothing; each step ends synced, and a crash among them leads to
//! the same end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::error::OpenError;
use super::recovery_plan::{self, Found, Listing, Place, Repair};
use crate::spool::disk::{self, Access, Disk, Entry};
use crate::spool::format::error::Fault;
use crate::spool::format::{metadata, read, segment};
use crate::spool::layout::{ByName, Directory, Layout, Name};
use crate::spool::{Spool, quarantine, undecodable_replay};

/// The directories whose content recovery judges. `doubtful/` is the operator's,
/// `inbox/` holds no data.
pub(super) const JUDGED: [Directory; 7] = [
    Directory::Open,
    Directory::Sealed,
    Directory::Ready,
    Directory::Batches,
    Directory::Sending,
    Directory::Rejected,
    Directory::Undecodable,
];

/// Lists these directories and looks into their files.
///
/// # Errors
/// [`OpenError::Io`]; a damaged file is listed as such.
pub(super) fn list(
    disk: &dyn Disk,
    layout: &Layout,
    spool: Uuid,
    directories: &[Directory],
) -> Result<Listing, OpenError> {
    let entries = |directory| {
        let path = layout.directory(directory);
        disk.list(&path).map_err(|why| OpenError::Io { path, why })
    };
    let aside: BTreeSet<String> = entries(Directory::Doubtful)?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let mut listing = BTreeMap::new();
    for &directory in directories {
        let dir = layout.directory(directory);
        for entry in entries(directory)? {
            if matches!(directory, Directory::Rejected | Directory::Undecodable)
                && Name::parse(&entry.name).is_none()
            {
                continue; // sidecars, and what operators keep beside them
            }
            let path = dir.join(&entry.name);
            let found = match is_aside(disk, layout, &path, &entry, &aside) {
                Ok(true) => Ok(Found::Aside),
                Ok(false) => examine(disk, &path, directory, &entry, spool),
                Err(error) => Err(error),
            };
            let found = found.map_err(|why| OpenError::Io { path, why })?;
            listing.insert((directory, entry.name), found);
        }
    }
    judge_replays(disk, layout, &mut listing)?;
    Ok(listing)
}

/// Finds out of every replayed segment in `sealed/` whether its source still
/// holds the messages.
fn judge_replays(disk: &dyn Disk, layout: &Layout, listing: &mut Listing) -> Result<(), OpenError> {
    for ((directory, _), found) in listing.iter_mut() {
        let Found::Segment(footer) = found else {
            continue;
        };
        let (Directory::Sealed, Some(from)) = (directory, &footer.replayed_from) else {
            continue;
        };
        let origin =
            undecodable_replay::origin(disk, layout, from).map_err(|why| OpenError::Io {
                path: layout.directory(Directory::Undecodable),
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
        let copy = layout.file(Directory::Doubtful, copy);
        if disk::size(disk, &copy) == Some(entry.bytes) && disk.read(&copy)? == disk.read(path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn examine(
    disk: &dyn Disk,
    path: &Path,
    directory: Directory,
    entry: &Entry,
    spool: Uuid,
) -> io::Result<Found> {
    let name = match directory.look_up(&entry.name) {
        _ if !entry.is_file => return Ok(Found::Faulty(Fault::Foreign)),
        ByName::Draft => return Ok(Found::Draft),
        ByName::Foreign => return Ok(Found::Faulty(Fault::Foreign)),
        ByName::Misplaced(name) => return Ok(Found::Faulty(Fault::misplaced(&name, directory))),
        ByName::Ours(name) => name,
    };
    let found = match &name {
        Name::Segment { .. } => metadata::read_end(disk, path)?
            .and_then(|metadata| read::segment_footer(&name, &metadata, spool))
            .map(Found::Segment),
        Name::Batch { .. } => read::batch(&name, &disk.read(path)?, spool).map(Found::Batch),
        Name::Undecodable { .. } => Ok(Found::Undecodable),
    };
    Ok(found.unwrap_or_else(Found::Faulty))
}

/// Does for the outlet's directories what a start does for all: after an error,
/// only a look at the disk tells how far a hand-over came.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(in crate::spool) fn mend(spool: &Spool) -> io::Result<()> {
    let _guard = spool.handover();
    let directories = [
        Directory::Rejected,
        Directory::Sending,
        Directory::Batches,
        Directory::Ready,
    ];
    for directory in directories {
        spool
            .disk()
            .sync_dir(&spool.layout().directory(directory))?;
    }
    let listing =
        list(spool.disk(), spool.layout(), spool.id(), &directories).map_err(io::Error::other)?;
    // Orphans are ingest's: no undecodable messages are in this listing.
    repair(spool, listing, u64::MAX)
}

/// Carries out what is planned for a listing.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(super) fn repair(spool: &Spool, listing: Listing, next_segment: u64) -> io::Result<()> {
    for repair in recovery_plan::plan(listing, next_segment) {
        carry_out(spool, &repair)?;
    }
    let held: u64 = spool
        .holdings()?
        .values()
        .map(|holding| holding.bytes)
        .sum();
    spool.count_bytes(held as i64 - spool.inner.bytes.load(Ordering::Relaxed));
    Ok(())
}

fn carry_out(spool: &Spool, repair: &Repair) -> io::Result<()> {
    match repair {
        Repair::Discard(place) => {
            tracing::info!(file = %shown(place), "draft of an earlier run discarded; Kafka has its messages");
            spool.remove(place.0, &place.1)
        }
        Repair::Redundant { place, by } => {
            tracing::info!(file = %shown(place), held_by = %by, "recovery: removed a redundant copy after an interrupted move");
            spool.remove(place.0, &place.1)
        }
        Repair::Release(place) => {
            tracing::info!(file = %shown(place), "finished a replay that was cut short");
            let ready = spool.layout().file(Directory::Ready, &place.1);
            disk::relocate(
                spool.disk(),
                &spool.layout().file(place.0, &place.1),
                &ready,
            )
        }
        Repair::SetAside { place, reason } => {
            quarantine::set_aside(spool, place.0, &place.1, reason.clone())
        }
        Repair::Remainder { place, from_row } => {
            tracing::info!(file = %shown(place), from_row, "finished packing that was cut short");
            write_rest(spool, place, *from_row)
        }
    }
}

fn write_rest(spool: &Spool, place: &Place, from_row: u64) -> io::Result<()> {
    let bytes = spool.disk().read(&spool.layout().file(place.0, &place.1))?;
    let read = Name::parse(&place.1)
        .ok_or(Fault::Foreign)
        .and_then(|name| read::segment(&name, bytes, spool.id()));
    let segment = match read {
        Ok(segment) => segment,
        Err(fault) => return quarantine::set_aside(spool, place.0, &place.1, fault),
    };
    let taken = from_row - segment.footer.first_row;
    let rest = segment.remainder(taken);
    let rows = segment.rows.slice(taken as usize, rest.rows as usize);
    let file = segment::encode(&rest, &rows).map_err(io::Error::other)?;
    let name = Name::Segment {
        number: rest.segment,
        first_row: rest.first_row,
    };
    spool.publish(Directory::Ready, &name, &file, Access::Shared)?;
    spool.remove(place.0, &place.1)
}

fn shown(place: &Place) -> String {
    format!("{}/{}", place.0.name(), place.1)
}
