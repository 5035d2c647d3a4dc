//! What distance the proxy really keeps between two requests, learned from
//! which it admits and which it refuses.
//!
//! A refusal costs nothing but is counted, so few are spent: the distance that
//! works is kept, one that stopped working is searched for upwards in growing
//! steps, the gap between the longest refused and the shortest admitted one is
//! halved until it is small, and now and then a shorter one is tried, should the
//! proxy have become faster. nginx keeps its rate as whole thousandths of a
//! request per second, rounded down, so that `1r/m` becomes 62.5 s: what its
//! rounding makes of the configured interval is tried before anything else.
//!
//! All distances are in milliseconds, from the request that was admitted last.
//! Values in, values out: no clock, no I/O.

use serde::{Deserialize, Serialize};

/// A learned distance is at most so many configured ones.
const CONFIGURED_MAX: u64 = 4;
/// A distance that stopped working is tried again so much longer each time, in
/// thousandths of it. The first step is for a request that was merely early.
const STEPS_UP: [u64; 6] = [5, 250, 600, 1_200, 2_200, 3_000];
/// A next attempt is at least so many thousandths longer than the refused one.
const STEP_UP_MIN: u64 = 2;
/// After a success at a shorter distance the next one is so much of it, in percent.
const STEP_DOWN_PERCENT: u64 = 80;
/// The shorter distance that is tried now and then, in percent.
const PROBE_PERCENT: u64 = 95;
/// Admitted requests between two such trials, and before the first one after a
/// change to a distance that was not to be expected: it may well not last.
const PROBE_AFTER: u32 = 160;
const PROBE_AFTER_CHANGE: u32 = 64;
/// A gap between refused and admitted of so many thousandths is small enough.
const GAP_PER_MILLE: u64 = 20;
/// A single early request within so many admitted ones is noise and no news.
const NOISE_APART: u32 = 50;
/// What is added to a distance that follows from nginx's rounding, as a share
/// (one in so many), at least and at most: requests don't all travel equally fast.
const GUARD_SHARE: u64 = 500;
const GUARD_MS_MIN: u64 = 2;
const GUARD_MS_MAX: u64 = 20;

/// The distance between requests, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interval {
    configured_ms: u64,
    /// The shortest distance that was admitted; at first the configured one.
    kept_ms: u64,
    /// The longest one below it that was refused; 0 if there is none.
    refused_ms: u64,
    /// What the next request tries.
    trial: Trial,
    /// Admitted requests in a row at the distance that is kept.
    quiet: u32,
    /// After how many of them a shorter one is tried.
    probe_after: u32,
}

/// What a request at a certain distance is to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Trial {
    /// Nothing: it is the distance that works.
    Kept,
    /// Whether it works again at this longer one; `first`: nothing shorter but
    /// the one that worked was refused.
    Longer { ms: u64, first: bool },
    /// Whether it works at this shorter one, too.
    Shorter { ms: u64 },
    /// The same, out of the blue.
    Probe { ms: u64 },
}

impl Interval {
    /// Nothing is known but the configured distance.
    pub(super) fn new(configured_ms: u64) -> Self {
        Interval {
            configured_ms,
            kept_ms: configured_ms,
            refused_ms: 0,
            trial: Trial::Kept,
            quiet: 0,
            probe_after: PROBE_AFTER,
        }
    }

    /// What was stored, if it can have been learned under that configuration.
    pub(super) fn restored(self, configured_ms: u64) -> Self {
        let longest = configured_ms.saturating_mul(CONFIGURED_MAX);
        let is_sane = self.configured_ms == configured_ms
            && (1..=longest).contains(&self.kept_ms)
            && (1..=longest).contains(&self.next_ms())
            && self.refused_ms <= longest;
        if is_sane {
            self
        } else {
            Self::new(configured_ms)
        }
    }

    /// The distance that is kept.
    pub(super) fn kept_ms(&self) -> u64 {
        self.kept_ms
    }

    /// The distance at which the next request is to be sent.
    pub(super) fn next_ms(&self) -> u64 {
        match self.trial {
            Trial::Kept => self.kept_ms,
            Trial::Longer { ms, .. } | Trial::Shorter { ms } | Trial::Probe { ms } => ms,
        }
    }

    /// The request at `ms`, sent when it was due, was refused. Whether there is
    /// a next distance to try; if not, only asking again and again is left.
    pub(super) fn refused(&mut self, ms: u64) -> bool {
        match self.trial {
            Trial::Shorter { .. } => {
                self.refused_ms = self.refused_ms.max(ms.min(self.kept_ms));
                self.trial = Trial::Kept;
                true
            }
            Trial::Probe { .. } => {
                self.probe_after = PROBE_AFTER;
                self.trial = Trial::Kept;
                true
            }
            Trial::Kept => self.search(ms, true),
            Trial::Longer { .. } => self.search(ms, false),
        }
    }

    fn search(&mut self, refused_ms: u64, first: bool) -> bool {
        self.refused_ms = refused_ms;
        let longest = self.configured_ms.saturating_mul(CONFIGURED_MAX);
        let steps = STEPS_UP
            .iter()
            .map(|step| {
                self.kept_ms
                    .saturating_add(self.kept_ms.saturating_mul(*step) / 1_000)
            })
            .map(|ms| ms + guard(ms));
        let rounded = self.rounded_ms();
        let next = steps
            .chain([rounded, rounded + rounded * STEPS_UP[0] / 1_000])
            .filter(|ms| *ms > refused_ms + refused_ms * STEP_UP_MIN / 1_000 && *ms <= longest)
            // Nothing but the rounding explains why the configured one fails.
            .filter(|ms| *ms >= rounded || self.kept_ms != self.configured_ms)
            .min();
        if let Some(ms) = next {
            self.trial = Trial::Longer { ms, first };
        }
        next.is_some()
    }

    /// The request at `ms` was admitted. `on_time`: it was sent when it was due.
    pub(super) fn admitted(&mut self, ms: u64, on_time: bool) {
        self.trial = match self.trial {
            // A slot that was let pass says nothing.
            unchanged @ (Trial::Kept | Trial::Shorter { .. } | Trial::Probe { .. }) if !on_time => {
                unchanged
            }
            Trial::Kept => {
                self.quiet = self.quiet.saturating_add(1);
                self.next_trial()
            }
            Trial::Longer { first: true, .. } if on_time && self.quiet >= NOISE_APART => {
                self.refused_ms = 0;
                self.quiet = 0;
                Trial::Kept
            }
            Trial::Longer { ms: due, .. } => {
                let longest = self.configured_ms.saturating_mul(CONFIGURED_MAX);
                let worked = if on_time { due } else { ms };
                self.keep(worked.min(longest));
                self.next_trial()
            }
            Trial::Shorter { ms: due } => {
                self.keep(due);
                if self.refused_ms == 0 && !self.is_explained() {
                    self.shorter(due * STEP_DOWN_PERCENT / 100)
                } else {
                    self.next_trial()
                }
            }
            Trial::Probe { ms: due } => {
                self.refused_ms = 0;
                self.keep(due);
                self.shorter(due * STEP_DOWN_PERCENT / 100)
            }
        };
    }

    fn keep(&mut self, ms: u64) {
        self.kept_ms = ms.max(1);
        self.quiet = 0;
        self.probe_after = if self.is_explained() {
            PROBE_AFTER
        } else {
            PROBE_AFTER_CHANGE
        };
    }

    /// What the next slot is to find out.
    fn next_trial(&mut self) -> Trial {
        let gap = self.kept_ms.saturating_sub(self.refused_ms);
        let is_wide = gap > self.kept_ms.saturating_mul(GAP_PER_MILLE) / 1_000;
        if self.refused_ms > 0 && is_wide && !self.is_explained() {
            return self.shorter(self.refused_ms + gap / 2);
        }
        if self.quiet < self.probe_after {
            return Trial::Kept;
        }
        self.quiet = 0;
        Trial::Probe {
            ms: self.kept_ms * PROBE_PERCENT / 100,
        }
    }

    /// A trial of `ms`, or of an expected distance on the way there.
    fn shorter(&self, ms: u64) -> Trial {
        let lowest = if self.refused_ms > 0 {
            self.refused_ms + 1
        } else {
            ms
        };
        let expected = [self.configured_ms, self.rounded_ms()]
            .into_iter()
            .filter(|expected| (lowest..self.kept_ms).contains(expected));
        Trial::Shorter {
            ms: expected.max().unwrap_or(ms).max(1),
        }
    }

    /// Whether the distance is one that was to be expected, so that there is
    /// nothing left to find out about it.
    fn is_explained(&self) -> bool {
        let near = |ms: u64| self.kept_ms.abs_diff(ms) <= guard(ms);
        near(self.configured_ms) || near(self.rounded_ms())
    }

    /// What nginx's rounding makes of the configured distance, and a little more.
    fn rounded_ms(&self) -> u64 {
        let per_thousand_seconds = 1_000_000 / self.configured_ms.max(1);
        let ms = match per_thousand_seconds {
            0 => self.configured_ms,
            rate => 1_000_000_u64.div_ceil(rate),
        };
        ms + guard(ms)
    }
}

fn guard(ms: u64) -> u64 {
    (ms / GUARD_SHARE).clamp(GUARD_MS_MIN, GUARD_MS_MAX)
}
