//! Puts closed windows into `sealed/`, one at a time.
//!
//! An actor of its own: what goes in is a closed window, what comes out is the footer
//! of a segment that is durable. It keeps a window that the disk has not taken, and
//! tries it again at each turn, so nothing moves past it. It knows no broker, commits
//! nothing, and never makes a segment ready.

use std::io;

use super::backpressure::Headroom;
use super::window::Window;
use crate::spool::Intake;
use crate::spool::format::error::Fault;
use crate::spool::format::footer::{SegmentFooter, Source};
use crate::spool::format::segment::Finished;

/// Seals windows.
#[derive(Debug)]
pub struct Sealer {
    intake: Intake,
    headroom: Headroom,
    /// A closed window that the disk has not taken yet.
    unsaved: Option<Finished>,
}

impl Sealer {
    /// One with nothing to do.
    pub fn new(intake: Intake, headroom: Headroom) -> Self {
        Self {
            intake,
            headroom,
            unsaved: None,
        }
    }

    /// Whether a window waits for the disk: no other may be submitted then.
    pub fn is_busy(&self) -> bool {
        self.unsaved.is_some()
    }

    /// Takes a window of `source` to be sealed. Nothing reaches the disk yet.
    ///
    /// # Errors
    /// An error from Parquet's writer; nothing was committed for the window.
    pub fn submit(&mut self, window: Window, source: &Source) -> Result<(), Fault> {
        let (segment, counts) = window.close()?;
        self.unsaved = Some(self.intake.finish(segment, source)?);
        metrics::counter!("spoolhouse_records_total").increment(counts.records);
        metrics::counter!("spoolhouse_texts_replaced_total").increment(counts.texts_replaced);
        Ok(())
    }

    /// Publishes what was submitted, if there is something, with `free` bytes left
    /// on the disk. Only what this gives out may be committed.
    ///
    /// # Errors
    /// An I/O error from the spool's disk, or no room; the next turn tries again.
    pub fn turn(&mut self, free: u64) -> io::Result<Option<SegmentFooter>> {
        let Some(finished) = &self.unsaved else {
            return Ok(None);
        };
        if !self.headroom.admits(finished.bytes.len() as u64, free) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.intake.seal(finished)?;
        let sealed = self.unsaved.take().map(|finished| finished.footer);
        if let Some(footer) = &sealed {
            metrics::counter!("spoolhouse_segments_sealed_total").increment(1);
            tracing::debug!(
                segment = footer.segment,
                rows = footer.rows,
                undecodable = footer.undecodable,
                "segment sealed",
            );
        }
        Ok(sealed)
    }

    /// Gives up what could not be published; Kafka hands its messages out again.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; the next seal sees to what is left of it.
    pub fn give_up(&mut self) -> io::Result<()> {
        match self.unsaved.take() {
            Some(finished) => self.intake.abandon(&finished),
            None => Ok(()),
        }
    }
}
