//! The clocks of a life: virtual time, and a wall clock that jumps when it is told to.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spoolhouse::time::{Clock, Sleep};

use crate::scheduler::{now, sleep_until};

/// The wall clock at the beginning of every life, seconds since 1970: messages of the topic
/// are a little older.
const WALL_AT_FIRST: Duration = Duration::from_secs(1_767_225_600);

/// The clocks of one machine. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct LifeClock {
    /// By how much the wall clock was set forward, milliseconds.
    jumped_ms: Arc<AtomicI64>,
}

impl LifeClock {
    /// Sets the wall clock forward or back.
    pub fn jump(&self, ms: i64) {
        self.jumped_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// The moment of virtual time zero: any one will do, if it is always the same.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

impl Clock for LifeClock {
    fn now(&self) -> Instant {
        start() + now()
    }

    fn wall(&self) -> SystemTime {
        let jumped = self.jumped_ms.load(Ordering::Relaxed);
        let size = Duration::from_millis(jumped.unsigned_abs());
        let steady = UNIX_EPOCH + WALL_AT_FIRST + now();
        match jumped >= 0 {
            true => steady + size,
            false => steady - size,
        }
    }

    fn sleep(&self, time: Duration) -> Sleep {
        Box::pin(sleep_until(now() + time))
    }
}
