//! Sends undecodable messages through again, once whatever kept them from being
//! decoded is mended.
//!
//! What decodes becomes a segment in `sealed/` that names its source and the
//! source's digest; then the source is replaced by what is left of it; only then
//! does the segment move to `ready/`. A start can tell from names and footers
//! how far that came: the source unchanged means that the segment is removed
//! again, anything else that it moves on. Positions and commits never learn of it.

use std::io;

use arrow_array::RecordBatch;
use uuid::Uuid;

use super::Spool;
use super::disk::{self, Access, Disk};
use super::format::error::Fault;
use super::format::footer::ReplayedFrom;
use super::format::undecodable::{self, Kept, Undecodable};
use super::format::{digest, segment};
use super::layout::{Directory, Layout, Name};
use super::quarantine;
use crate::spool::format::metadata;

/// What became of the messages of one file.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Those that are records now, as rows of [`segment`](crate::spool::format::schema::segment).
    pub rows: Vec<RecordBatch>,
    /// Those that are not, in their order.
    pub left: Vec<Kept>,
}

impl Decoded {
    fn rows(&self) -> u64 {
        self.rows.iter().map(|rows| rows.num_rows() as u64).sum()
    }
}

/// What a replay made of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// So many messages became rows of a segment.
    Rows(u64),
    /// Nothing decodes; the file is as it was.
    Nothing,
    /// Its segment is in `sealed/` or `doubtful/`: another consumer may have
    /// the same messages, so they stay until that is settled.
    Undecided,
    /// The file is damaged and was set aside.
    SetAside,
}

/// Whether the file of undecodable messages that rows were replayed from
/// still holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It does: it was not replaced yet.
    Still,
    /// It was replaced or removed.
    NoLonger,
    /// It can't be read.
    Unknown,
}

impl Origin {
    /// By the digests of the files in `undecodable/`, `None` for one that
    /// can't be read.
    pub fn find(from: &ReplayedFrom, digest: Option<Option<&str>>) -> Self {
        match digest {
            None => Self::NoLonger,
            Some(None) => Self::Unknown,
            Some(Some(digest)) if digest == from.digest => Self::Still,
            Some(Some(_)) => Self::NoLonger,
        }
    }
}

/// A file of undecodable messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    name: Name,
    /// Its size, bytes.
    pub bytes: u64,
}

impl Source {
    /// The file's name.
    pub fn name(&self) -> String {
        self.name.to_string()
    }
}

/// Lists the files of undecodable messages, oldest first.
///
/// # Errors
/// An I/O error from the spool's disk.
pub fn sources(disk: &dyn Disk, layout: &Layout) -> io::Result<Vec<Source>> {
    let files = layout.files(disk, Directory::Undecodable)?.into_iter();
    let ours = files.filter(|(name, _)| matches!(name, Name::Undecodable { .. }));
    Ok(ours.map(|(name, bytes)| Source { name, bytes }).collect())
}

/// Reads one file, checked; for a look that changes nothing.
///
/// # Errors
/// An I/O error from the spool's disk; what is wrong with the file comes as the inner result.
pub fn read(
    disk: &dyn Disk,
    layout: &Layout,
    source: &Source,
    spool: Uuid,
) -> io::Result<Result<Undecodable, Fault>> {
    let bytes = disk.read(&layout.file(Directory::Undecodable, &source.name()))?;
    Ok(undecodable::read(&source.name, bytes, spool))
}

/// Whether a spool's own files say that a segment's fate is settled: it is
/// neither in `sealed/` nor in `doubtful/`.
///
/// # Errors
/// An I/O error from the spool's disk.
pub fn is_settled(disk: &dyn Disk, layout: &Layout, source: &Source) -> io::Result<bool> {
    let segment = Name::segment(source.name.number()).to_string();
    for directory in [Directory::Sealed, Directory::Doubtful] {
        let entries = disk.list(&layout.directory(directory))?;
        if entries.iter().any(|entry| entry.name.starts_with(&segment)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the source of a replay still holds the messages.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(super) fn origin(disk: &dyn Disk, layout: &Layout, from: &ReplayedFrom) -> io::Result<Origin> {
    let name = Name::Undecodable {
        number: from.undecodable,
    };
    let path = layout.file(Directory::Undecodable, &name.to_string());
    let metadata = match metadata::read_end(disk, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Origin::NoLonger),
        read => read?,
    };
    let digest = metadata
        .as_ref()
        .ok()
        .and_then(|metadata| digest::in_footer(metadata));
    Ok(Origin::find(from, Some(digest)))
}

/// Replays one file: `decode` says what its messages are now. Every step ends
/// synced, and a crash between two of them stores nothing twice.
///
/// # Errors
/// An I/O error from the spool's disk; the next start undoes or finishes what was begun.
pub fn replay(
    spool: &Spool,
    source: &Source,
    decode: impl FnOnce(Vec<Kept>) -> Result<Decoded, Fault>,
) -> io::Result<Replayed> {
    if !is_settled(spool.disk(), spool.layout(), source)? {
        return Ok(Replayed::Undecided);
    }
    let file = match read(spool.disk(), spool.layout(), source, spool.id())? {
        Ok(file) => file,
        Err(fault) => {
            quarantine::set_aside(spool, Directory::Undecodable, &source.name(), fault)?;
            return Ok(Replayed::SetAside);
        }
    };
    let decoded = decode(file.messages).map_err(io::Error::other)?;
    let rows = decoded.rows();
    if rows == 0 {
        return Ok(Replayed::Nothing);
    }
    let number = spool.state().next_segment;
    let from = ReplayedFrom {
        undecodable: file.footer.segment,
        digest: file.digest,
    };
    let (footer, bytes) = segment::encode_replayed(&decoded.rows, number, &file.footer, from)
        .map_err(io::Error::other)?;
    let left = match &decoded.left[..] {
        [] => None,
        left => Some(undecodable::encode(left, &file.footer).map_err(io::Error::other)?),
    };
    let segment = Name::segment(number);
    spool.publish(Directory::Sealed, &segment, &bytes, Access::Shared)?;
    spool.state().note_sealed(&footer);
    spool.write_state()?;

    match left {
        Some(left) => {
            spool.publish(Directory::Undecodable, &source.name, &left, Access::Private)?
        }
        None => spool.remove(Directory::Undecodable, &source.name())?,
    }
    let segment = segment.to_string();
    disk::relocate(
        spool.disk(),
        &spool.layout().file(Directory::Sealed, &segment),
        &spool.layout().file(Directory::Ready, &segment),
    )?;
    Ok(Replayed::Rows(rows))
}
