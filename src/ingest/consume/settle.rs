//! The end of an assignment, by a revocation or a stop: what was taken in is sealed
//! and committed while there is still time.
//!
//! Never hands over what was not acknowledged: that stays in `sealed/`.

use std::time::{Duration, Instant};

use super::{Commits, Event, Ingest, IngestError, POLL, Window};

/// How long a revocation or a shutdown waits for the last commit.
const LAST_COMMIT: Duration = Duration::from_secs(5);

impl Ingest<'_> {
    /// Seals what was taken in and waits a little for the commit. What is not
    /// acknowledged by then stays in `sealed/` for the next assignment to judge.
    pub(super) fn settle(&mut self) -> Result<(), IngestError> {
        let deadline = Instant::now() + LAST_COMMIT;
        if self.unsaved.is_none() && !self.window.is_empty() {
            self.close_window()?;
        }
        self.save(Instant::now());
        if let Some(finished) = self.unsaved.take() {
            tracing::warn!(
                "the last segment can't be written; Kafka will hand its messages out again"
            );
            if let Err(error) = self.intake.abandon(&finished) {
                self.complaint.say("giving up a segment", &error);
            }
        }
        while self.commits.any_waiting() && Instant::now() < deadline {
            // Messages that arrive now are read again after the next assignment.
            self.consumer.poll(POLL)?;
            while let Some(event) = self.consumer.event() {
                match event {
                    Event::Committed(offsets) => {
                        let released = self.commits.acknowledged(&offsets);
                        self.released.extend(released);
                    }
                    Event::CommitFailed(code) => {
                        self.complaint.say("last commit", &code);
                        self.commits = Commits::default();
                    }
                    Event::Assigned(partitions) => self.to_take_up = Some(partitions),
                    Event::Revoked => {}
                }
            }
        }
        self.hand_over(Instant::now());
        self.released.clear();
        self.commits = Commits::default();
        self.window = Window::new()?;
        Ok(())
    }
}
