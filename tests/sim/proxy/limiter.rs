//! nginx's `limit_req` without a burst, in its integers (`ngx_http_limit_req_lookup`).
//!
//! A request that is refused changes nothing; the clock is when the headers were read.

use std::time::Duration;

/// One request, in the module's unit.
const ONE: u64 = 1_000;

#[derive(Clone, Debug)]
pub(super) struct Limiter {
    /// Thousandths of a request per second, as nginx rounds them: `1r/m` is 16.
    pub(super) rate: u64,
    last: Option<Duration>,
}

impl Limiter {
    pub(super) fn new(rate: u64) -> Self {
        Self { rate, last: None }
    }

    /// Whether a request at this time is admitted.
    pub(super) fn admit(&mut self, now: Duration) -> bool {
        let is_open = self.last.is_none_or(|last| {
            let ms = now.saturating_sub(last).as_millis() as u64;
            // An admitted request leaves no excess behind where there is no burst.
            self.rate * ms / 1_000 >= ONE
        });
        if is_open {
            self.last = Some(now);
        }
        is_open
    }

    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_a_minute_is_one_per_62_and_a_half_seconds_and_a_refusal_costs_nothing() {
        let mut limiter = Limiter::new(16);
        assert!(limiter.admit(at(1_000)));
        assert!(!limiter.admit(at(1_001)));
        assert!(!limiter.admit(at(61_000)));
        assert!(!limiter.admit(at(63_499)));
        assert!(limiter.admit(at(63_500)));
    }

    #[test]
    fn a_restart_opens_it() {
        let mut limiter = Limiter::new(1_000);
        assert!(limiter.admit(at(0)) && !limiter.admit(at(999)) && limiter.admit(at(1_000)));
        limiter.forget();
        assert!(limiter.admit(at(1_001)));
    }
}
