//! The upload, as it is seen from outside: the last attempts. The loop writes,
//! whoever looks reads; nothing here decides. Bounded: the oldest attempt makes
//! room for the newest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::latency::Latency;
use crate::heartbeat::Heartbeat;

/// The outcome of a batch that ClickHouse has.
pub(super) const STORED: &str = "stored";

/// How many attempts are kept.
pub const ATTEMPTS_MAX: usize = 50;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    /// When its answer was there, milliseconds since 1970.
    pub at_ms: u64,
    /// The outcome, as the metrics name it.
    pub outcome: &'static str,
    /// The batch.
    pub batch: String,
    /// How often the batch was posted by now.
    pub attempt: u32,
    /// Its rows.
    pub rows: u64,
    /// Its size, bytes.
    pub bytes: u64,
    /// Its size as a share of the body limit, 0 to 1.
    pub fill: f64,
    /// Seconds from sending to the end of the answer.
    pub took_s: f64,
    /// What was answered, if it wasn't stored. Text from outside.
    pub message: Option<String>,
    /// How old its records were when it was stored.
    pub latency: Option<Latency>,
}

/// What is known of the upload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The last attempts, oldest first.
    pub attempts: VecDeque<Attempt>,
    /// Attempts since the last that was stored.
    pub since_success: u32,
}

/// The upload; clones see the same.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Beats at every turn of the loop.
    pub heartbeat: Heartbeat,
    seen: Arc<Mutex<Seen>>,
}

impl View {
    /// What is known right now.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Notes an attempt on the way that everything takes, and gives out how many
    /// there were since the last success.
    pub(super) fn note(&self, attempt: Attempt) -> u32 {
        let mut seen = self.lock();
        seen.since_success = match attempt.outcome == STORED {
            true => 0,
            false => seen.since_success.saturating_add(1),
        };
        push(&mut seen.attempts, attempt);
        seen.since_success
    }

    /// Notes an attempt at another server, which says nothing about this one.
    pub(super) fn note_elsewhere(&self, attempt: Attempt) {
        push(&mut self.lock().attempts, attempt);
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Replaced field by field: nothing is left half changed.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push(attempts: &mut VecDeque<Attempt>, attempt: Attempt) {
    if attempts.len() >= ATTEMPTS_MAX {
        attempts.pop_front();
    }
    attempts.push_back(attempt);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(outcome: &'static str, attempt: u32) -> Attempt {
        Attempt {
            at_ms: 0,
            outcome,
            batch: "batch".to_owned(),
            attempt,
            rows: 1,
            bytes: 1,
            fill: 0.5,
            took_s: 0.1,
            message: None,
            latency: None,
        }
    }

    #[test]
    fn the_oldest_attempt_makes_room() {
        let view = View::default();
        for number in 0..ATTEMPTS_MAX as u32 + 3 {
            view.note(attempt("throttled", number));
        }
        let seen = view.seen();
        assert_eq!(seen.attempts.len(), ATTEMPTS_MAX);
        assert_eq!(seen.attempts[0].attempt, 3);
    }

    #[test]
    fn attempts_count_since_the_last_success_on_the_usual_way() {
        let view = View::default();
        assert_eq!(view.note(attempt("unknown", 1)), 1);
        view.note_elsewhere(attempt("stored", 1));
        assert_eq!(view.note(attempt("unknown", 2)), 2);
        assert_eq!(view.note(attempt("stored", 3)), 0);
    }
}
