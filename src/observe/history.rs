//! The last hours, in memory: a bounded ring of samples at a fixed distance, so
//! that a page opened later shows the past. Lost with the process; Prometheus is
//! for what has to be kept. No clock of its own.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::time::epoch_ms;

/// The distance of two samples.
pub const EVERY: Duration = Duration::from_secs(30);

/// How many are kept: six hours.
pub const SAMPLES_MAX: usize = 720;

/// The state at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// When, milliseconds since 1970. Set by [`History::add`].
    pub at_ms: u64,
    /// Size of the spool, bytes.
    pub spool_bytes: u64,
    /// Rows that wait for ClickHouse.
    pub waiting_rows: u64,
    /// Messages that Kafka has and that are not read; `None` while not known.
    pub lag: Option<u64>,
    /// Messages read per second.
    pub read_per_s: f64,
    /// Latency of the last batch stored since the sample before, median and
    /// longest, seconds.
    pub latency_s: Option<(f64, f64)>,
}

/// The samples, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
}

impl History {
    /// Adds a sample if it is time for one; whether it was.
    pub fn add(&mut self, sample: Sample, now: SystemTime) -> bool {
        let now_ms = epoch_ms(now);
        if let Some(last) = self.samples.back() {
            let every = u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX);
            // A clock that was set back must not stop the samples.
            if now_ms >= last.at_ms && now_ms - last.at_ms < every {
                return false;
            }
        }
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at_ms: now_ms,
            ..sample
        });
        true
    }

    /// The samples after this moment, milliseconds since 1970.
    pub fn since(&self, ms: u64) -> Vec<Sample> {
        let newer = self.samples.iter().filter(|sample| sample.at_ms > ms);
        newer.copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn samples_keep_their_distance_and_the_oldest_makes_room() {
        let mut history = History::default();
        assert!(history.add(Sample::default(), at(100)));
        assert!(!history.add(Sample::default(), at(129)));
        for place in 1..=SAMPLES_MAX as u64 {
            assert!(history.add(Sample::default(), at(100 + 30 * place)));
        }
        let all = history.since(0);
        assert_eq!(all.len(), SAMPLES_MAX);
        assert_eq!(all[0].at_ms, 130_000);
    }

    #[test]
    fn who_has_seen_some_gets_the_rest() {
        let mut history = History::default();
        for place in 0..4 {
            history.add(Sample::default(), at(1_000 + 30 * place));
        }
        let times = |ms| -> Vec<u64> { history.since(ms).iter().map(|s| s.at_ms).collect() };
        assert_eq!(times(1_030_000), [1_060_000, 1_090_000]);
        assert!(times(1_090_000).is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_them() {
        let mut history = History::default();
        history.add(Sample::default(), at(5_000));
        assert!(history.add(Sample::default(), at(1_000)));
    }
}
