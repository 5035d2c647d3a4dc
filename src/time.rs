//! The clocks that everything else is handed: nothing in the loops, or in what
//! they call, asks the system for the time by itself, so that they run whole in a
//! simulator on a time of its own.

#![allow(
    clippy::disallowed_methods,
    reason = "the system's clocks, for whoever is handed no other"
)]

use std::fmt;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A wait that a [`Clock`] gives out.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Both clocks of a machine, and waiting by the monotonic one.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The monotonic clock: for distances.
    fn now(&self) -> Instant;
    /// The wall clock: for people and for what outlives the process. It may jump.
    fn wall(&self) -> SystemTime;
    /// Ends after `time` by the monotonic clock.
    fn sleep(&self, time: Duration) -> Sleep;
}

/// The system's clocks. Sleeping needs a Tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, time: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(time))
    }
}

/// Milliseconds since 1970; 0 before.
pub fn epoch_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
