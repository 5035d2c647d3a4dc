//! How much room ingest leaves on the disk, and when it pauses for that.
//!
//! Invariant: what packing writes before it removes anything always finds room,
//! whatever the settings say; a disk that is full of segments could not be
//! emptied any more. No I/O.

use super::window::Limits;

/// How many full segments the budget keeps room for when consumption pauses: the
/// window that is open then, and what packing writes before it unlinks anything.
const RESERVED_SEGMENTS: u64 = 2;

/// A full spool is filled again below this share of its budget, in percent.
const RESUME_PERCENT: u64 = 95;

/// A full disk is filled again once it has this share more than the floor, one
/// in so many.
const RESUME_SHARE: u64 = 20;

/// What the spool may take.
#[derive(Clone, Copy, Debug)]
pub struct Headroom {
    /// Budget of the spool, bytes: consumption pauses before it is exceeded.
    pub spool_bytes_max: u64,
    /// Floor of the file system's free space, bytes: below it consumption pauses.
    pub free_bytes_min: u64,
    /// The largest batch that is packed, bytes.
    pub batch_bytes_max: u64,
    /// When a window is sealed, which bounds a segment.
    pub window: Limits,
}

impl Headroom {
    /// Whether a segment of `bytes` may be written with `free` bytes left.
    pub fn admits(&self, bytes: u64, free: u64) -> bool {
        free >= self.packing_bytes().saturating_add(bytes)
    }

    /// Whether the spool, which takes `used` bytes, or its file system, which has
    /// `free` left, is full. Once `paused`, filling starts again a little below
    /// the limits, so that it doesn't flutter.
    pub fn is_full(&self, used: u64, free: u64, paused: bool) -> bool {
        let reserved = RESERVED_SEGMENTS.saturating_mul(self.window.roll_bytes);
        let budget = self.spool_bytes_max.saturating_sub(reserved);
        let floor = self.free_bytes_floor();
        if paused {
            used >= budget / 100 * RESUME_PERCENT
                || free < floor.saturating_add(floor / RESUME_SHARE)
        } else {
            used >= budget || free < floor
        }
    }

    /// Free space below which consumption pauses. The window that is open then
    /// is still to be written.
    pub fn free_bytes_floor(&self) -> u64 {
        let segment = self.window.segment_bytes_max();
        let reserved = self.packing_bytes().saturating_add(segment);
        self.free_bytes_min.max(reserved)
    }

    /// What packing may write before it removes anything: a batch, and what is
    /// left of a segment.
    fn packing_bytes(&self) -> u64 {
        let segment = self.window.segment_bytes_max();
        self.batch_bytes_max.saturating_add(segment)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn headroom(free_bytes_min: u64) -> Headroom {
        Headroom {
            spool_bytes_max: 100 * MIB,
            free_bytes_min,
            batch_bytes_max: MIB,
            window: Limits {
                roll_after: Duration::from_secs(5),
                roll_bytes: 4 * MIB,
            },
        }
    }

    #[test]
    fn the_budget_keeps_room_for_two_segments_and_filling_starts_again_below_it() {
        let headroom = headroom(0);
        let full = |used, paused| headroom.is_full(used, u64::MAX, paused);
        assert!(!full(92 * MIB - 1, false));
        assert!(full(92 * MIB, false));
        assert!(full(88 * MIB, true));
        assert!(!full(87 * MIB, true));
    }

    #[test]
    fn packing_finds_room_even_where_no_floor_is_set() {
        // A batch and what is left of a segment of four MiB and one run of rows.
        let headroom = headroom(0);
        assert!(!headroom.admits(1, 6 * MIB));
        assert!(headroom.admits(1, 6 * MIB + 1));
        // The open window has to find room as well.
        assert_eq!(headroom.free_bytes_floor(), 11 * MIB);
        assert!(headroom.is_full(0, 11 * MIB - 1, false));
        assert!(!headroom.is_full(0, 11 * MIB, false));
    }

    #[test]
    fn a_floor_that_is_set_higher_counts() {
        let headroom = headroom(200 * MIB);
        assert!(headroom.is_full(0, 200 * MIB - 1, false));
        assert!(headroom.is_full(0, 209 * MIB, true));
        assert!(!headroom.is_full(0, 210 * MIB, true));
    }
}
