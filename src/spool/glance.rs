//! What can be seen of a spool without owning it. Changes nothing; the owner may
//! be at work, so every answer is one of a moment ago.

use std::io;

use super::disk::Disk;
use super::footer::{self, Footer, SegmentFooter};
use super::layout::{Layout, Room};
use super::state::State;

/// How many bytes at the end of a file are read in search of its footer.
const FOOTER_GUESS: u64 = 8 * 1024;

/// What `spool.json` says.
///
/// # Errors
/// The disk's, or that the file can't be used.
pub fn state(disk: &dyn Disk, layout: &Layout) -> io::Result<State> {
    let bytes = disk.read(&layout.state())?;
    State::parse(&bytes).map_err(io::Error::other)
}

/// The segments in `sealed/`. A file that can't be read is passed over: the
/// owner sets it aside.
///
/// # Errors
/// The disk's.
pub fn sealed(disk: &dyn Disk, layout: &Layout) -> io::Result<Vec<SegmentFooter>> {
    let dir = layout.room(Room::Sealed);
    let footers = disk.list(&dir)?.into_iter().filter_map(|entry| {
        let metadata = footer::read_end(disk, &dir.join(&entry.name), FOOTER_GUESS);
        match Footer::from_metadata(&metadata.ok()?.ok()?) {
            Ok(Footer::Segment(footer)) => Some(footer),
            _ => None,
        }
    });
    Ok(footers.collect())
}
