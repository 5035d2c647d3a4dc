//! The end of an assignment, by a revocation or a stop: what was taken in is sealed
//! and committed while there is still time.
//!
//! Never hands over what was not acknowledged: that stays in `sealed/`.

use std::time::Duration;

use super::{Commits, Ingest, IngestError, POLL, Window};
use crate::ingest::broker::{Broker, Event};

/// How long a revocation or a shutdown waits for the last commit.
const LAST_COMMIT: Duration = Duration::from_secs(5);

impl<B: Broker> Ingest<'_, B> {
    /// Seals what was taken in and waits a little for the commit. What is not
    /// acknowledged by then stays in `sealed/` for the next assignment to judge.
    pub(super) fn settle(&mut self) -> Result<(), IngestError> {
        let deadline = self.clock.now() + LAST_COMMIT;
        if !self.sealer.is_busy() && !self.window.is_empty() {
            self.close_window()?;
        }
        self.save(self.clock.now());
        if self.sealer.is_busy() {
            tracing::warn!(
                "the last segment can't be written; Kafka will hand its messages out again"
            );
            if let Err(error) = self.sealer.give_up() {
                self.log_retry("giving up a segment", &error);
            }
        }
        while self.commits.any_waiting() && self.clock.now() < deadline {
            // Messages that arrive now are read again after the next assignment.
            self.broker.poll(POLL)?;
            while let Some(event) = self.broker.event() {
                match event {
                    Event::Committed(offsets) => {
                        let released = self.commits.acknowledged(&offsets);
                        self.released.extend(released);
                    }
                    Event::CommitFailed(error) => {
                        self.log_retry("last commit", &error);
                        self.commits = Commits::default();
                    }
                    Event::Assigned(partitions) => self.to_assign = Some(partitions),
                    Event::Revoked => {}
                }
            }
        }
        self.hand_over(self.clock.now());
        self.released.clear();
        self.commits = Commits::default();
        self.window = Window::new()?;
        Ok(())
    }
}
