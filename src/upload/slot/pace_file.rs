//! `pace.json` as whoever is not the send loop reads and writes it.
//!
//! It belongs to the owner of the spool, so it is written only by a process that
//! owns the spool meanwhile.

use std::io;

use crate::spool::disk::{self, Disk, LocalDisk};
use crate::spool::layout::Layout;
use crate::upload::drain_estimate::Saved;

/// What the upload has written down for its next start, if that can be read.
pub fn read(layout: &Layout) -> Option<Saved> {
    let bytes = LocalDisk.read(&layout.pace()).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Replaces it.
///
/// # Errors
/// An I/O error from the spool's disk.
pub fn write(layout: &Layout, saved: &Saved) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(saved)?;
    disk::replace(&LocalDisk, &layout.pace(), &bytes)
}
