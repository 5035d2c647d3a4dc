//! Says what is wrong, but not every second: trouble that is being retried is
//! logged at once when it is new, then every half minute.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How often the same trouble is logged.
const REPEAT: Duration = Duration::from_secs(30);

/// Remembers what was said last.
#[derive(Debug, Default)]
pub struct RetryLog {
    last: Option<(String, Instant)>,
}

impl RetryLog {
    /// Logs that `what` failed and is tried again, unless that was just said.
    pub fn say(&mut self, what: &str, trouble: &dyn Display, now: Instant) {
        let text = format!("{what}: {trouble}");
        let is_old = self
            .last
            .as_ref()
            .is_some_and(|(last, at)| *last == text && now < *at + REPEAT);
        if !is_old {
            tracing::warn!("{text}; trying again");
            self.last = Some((text, now));
        }
    }
}
