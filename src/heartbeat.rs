//! A loop's sign of life: the loop beats at every turn, and whoever watches asks
//! how long ago that was. Says that a loop turns, never that it gets anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::time::Clock;

/// How often a long wait for somebody else counts as a beat.
const DURING_WAIT: Duration = Duration::from_secs(1);

/// A heartbeat; clones are the same one.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    since: Instant,
    /// Milliseconds from `since` to the last beat.
    last_ms: Arc<AtomicU64>,
}

impl Default for Heartbeat {
    #[expect(
        clippy::disallowed_methods,
        reason = "watched by the system's clock, beyond the loops"
    )]
    /// One that beats now.
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl Heartbeat {
    /// A heartbeat whose first beat was at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            last_ms: Arc::default(),
        }
    }

    /// The loop has come round.
    pub fn beat(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.since).as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        self.last_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// How long ago the last beat was.
    pub fn age(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.since)
            .saturating_sub(last)
    }

    /// Waits for something that has a time limit of its own, beating meanwhile.
    pub async fn during<T>(&self, wait: impl Future<Output = T>, clock: &dyn Clock) -> T {
        let mut wait = std::pin::pin!(wait);
        loop {
            self.beat(clock.now());
            tokio::select! {
                biased;
                done = &mut wait => return done,
                () = clock.sleep(DURING_WAIT) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_age_is_that_of_the_last_beat() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let heartbeat = Heartbeat::new(start);
        assert_eq!(heartbeat.age(after(5)), Duration::from_secs(5));
        heartbeat.clone().beat(after(7));
        assert_eq!(heartbeat.age(after(7)), Duration::ZERO);
        // A look at the clock that was overtaken doesn't set it back.
        heartbeat.beat(after(6));
        assert_eq!(heartbeat.age(after(10)), Duration::from_secs(3));
    }
}
