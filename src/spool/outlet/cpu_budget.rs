//! How much CPU time packing may take, turned into what is done.
//!
//! Reckoned in advance and never measured while packing: with a clock in it,
//! the same rows would give other bytes on another day.

use std::time::Duration;

use crate::spool::format::batch::recipe::Strength;

/// What strong compression takes per byte of the body, nanoseconds, with the
/// quick estimates before it.
const FULL_NANOS_PER_BYTE: u64 = 800;

/// What the search for the smallest recipe takes per byte of the body, nanoseconds.
const TRIAL_NANOS_PER_BYTE: u64 = 1_500;

/// A trial that is due less often than that is not made at all.
const TRIAL_EVERY_MAX: u64 = 1_000;

/// CPU time that packing a batch may take on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    nanos: u64,
}

impl Effort {
    /// So many parts of a million of one core, a batch being sent every `interval`.
    pub fn new(share_ppm: u32, interval: Duration) -> Self {
        let nanos = interval.as_nanos() * u128::from(share_ppm) / 1_000_000;
        Self {
            nanos: u64::try_from(nanos).unwrap_or(u64::MAX),
        }
    }

    /// How hard batches of `bytes_max` can be compressed.
    pub fn strength(self, bytes_max: u64) -> Strength {
        if self.nanos < bytes_max.saturating_mul(FULL_NANOS_PER_BYTE) {
            Strength::Quick
        } else {
            Strength::Full
        }
    }

    /// Every how many full batches there is time to look for a better recipe.
    pub fn trial_every(self, bytes_max: u64) -> Option<u64> {
        let left = self
            .nanos
            .checked_sub(bytes_max.saturating_mul(FULL_NANOS_PER_BYTE))
            .filter(|left| *left > 0)?;
        let trial = bytes_max.saturating_mul(TRIAL_NANOS_PER_BYTE);
        Some(trial.div_ceil(left).max(1)).filter(|every| *every <= TRIAL_EVERY_MAX)
    }
}

impl Default for Effort {
    /// Two percent of a core at one request a minute.
    fn default() -> Self {
        Self::new(20_000, Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn two_percent_are_strong_compression_and_a_trial_now_and_then() {
        let effort = Effort::default();
        assert_eq!(effort.strength(MIB), Strength::Full);
        assert!((2..=8).contains(&effort.trial_every(MIB).unwrap()));
        // A small body leaves time for a trial each time.
        assert_eq!(effort.trial_every(MIB / 16), Some(1));
    }

    #[test]
    fn what_a_slot_has_no_time_for_is_not_done() {
        for effort in [
            Effort::new(0, Duration::from_secs(60)),
            Effort::new(20_000, Duration::from_millis(100)),
        ] {
            assert_eq!(effort.strength(MIB), Strength::Quick);
            assert_eq!(effort.trial_every(MIB), None);
        }
    }
}
