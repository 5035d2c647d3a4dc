//! Whether to read on. While the disk or the spool's budget has no room, partitions
//! are paused and polling goes on, so that the group keeps us; it resumes by itself.

use super::Ingest;
use crate::ingest::broker::Broker;

impl<B: Broker> Ingest<'_, B> {
    /// Pauses while the disk can't take more, resumes when it can.
    pub(super) fn pause_or_resume(&mut self) {
        let bytes = self.intake.bytes();
        metrics::gauge!("spoolhouse_spool_bytes").set(bytes as f64);
        let headroom = self.options.headroom;
        let free = self.free_bytes();
        metrics::gauge!("spoolhouse_spool_bytes_max").set(headroom.spool_bytes_max as f64);
        metrics::gauge!("spoolhouse_disk_free_bytes").set(free as f64);
        metrics::gauge!("spoolhouse_disk_free_bytes_min").set(headroom.free_bytes_floor() as f64);
        // A closed window that merely waits for its turn is no reason.
        let is_stuck = self.sealer.is_busy() && self.retry_at.is_some();
        let pause = is_stuck || headroom.is_full(bytes, free, self.paused);
        let Some(assignment) = &self.assignment else {
            return;
        };
        if pause == self.paused {
            return;
        }
        let partitions = assignment.partitions();
        let done = if pause {
            self.broker.pause(&partitions)
        } else {
            self.broker.resume(&partitions)
        };
        match done {
            Err(error) => self.log_retry("pausing", &error),
            Ok(()) => {
                self.paused = pause;
                if pause {
                    metrics::counter!("spoolhouse_pauses_total").increment(1);
                    tracing::warn!(
                        spool_bytes = bytes,
                        spool_bytes_max = headroom.spool_bytes_max,
                        free_bytes_min = headroom.free_bytes_floor(),
                        "consumption paused; from now on the broker's retention is the limit",
                    );
                } else {
                    tracing::info!(spool_bytes = bytes, "consumption resumed");
                }
            }
        }
    }

    /// What the file system has left; a great deal if it does not say.
    pub(super) fn free_bytes(&mut self) -> u64 {
        self.intake.free_bytes().unwrap_or_else(|error| {
            self.log_retry("asking for free space", &error);
            u64::MAX
        })
    }
}
