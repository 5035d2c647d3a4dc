//! What distance the proxy really keeps between two requests, learned from
//! which it admits and which it refuses.
//!
//! A refusal costs nothing but is counted, so few are spent. The distance that
//! works is kept. One that stopped working is searched for upwards in growing
//! steps; but a single refusal is most often a request that travelled faster than
//! the one before it, so a distance that had worked is tried once more before it is
//! given up. The gap between the longest refused and the shortest admitted one is
//! halved until it is small, and now and then a shorter one is tried: the proxy may
//! have become faster, or what was learned on a busy machine be too long. nginx
//! keeps its rate as whole thousandths of a request per second, rounded down, so
//! that `1r/m` becomes 62.5 s: what its rounding makes of the configured interval is
//! tried before anything else.
//!
//! All distances are in milliseconds, from the request that was admitted last.
//! Values in, values out: no clock, no I/O.

use serde::{Deserialize, Serialize};

/// A learned distance is at most so many configured ones.
const CONFIGURED_MAX: u64 = 4;
/// A distance that stopped working is tried again so much longer, in thousandths of
/// it, and at most so many milliseconds: the request may merely have been early.
const FIRST_STEP_UP: u64 = 100;
const FIRST_STEP_UP_MS_MAX: u64 = 100;
/// ... and then so much longer each time.
const STEPS_UP: [u64; 7] = [10, 100, 300, 700, 1_300, 2_200, 3_000];
/// A next attempt is at least so many thousandths longer than the refused one.
const STEP_UP_MIN: u64 = 2;
/// So many requests admitted at a distance make it one that works: a refusal is then
/// looked at twice.
const PROVEN: u32 = 6;
/// ... unless it is refused at so many thousandths more, too.
const EARLY_PER_MILLE: u64 = 150;
/// The shorter distance that is tried now and then, in thousandths; each success
/// doubles the step, up to the second.
const STEP_DOWN: u64 = 20;
const STEP_DOWN_MAX: u64 = 200;
/// Admitted requests between two such trials, and before the first one after a change
/// to a distance that was not to be expected: it may well not last.
const PROBE_AFTER: u32 = 160;
const PROBE_AFTER_CHANGE: u32 = 60;
/// A gap between refused and admitted of so many thousandths is small enough.
const GAP_PER_MILLE: u64 = 20;
/// What is added to a distance that follows from nginx's rounding, as a share
/// (one in so many), at least and at most: requests don't all travel equally fast.
const GUARD_SHARE: u64 = 500;
const GUARD_MS_MIN: u64 = 1;
const GUARD_MS_MAX: u64 = 20;
/// Two early requests within so many admitted ones add half a guard to every wait;
/// ten times as many without one take it back. All in all it is at most a share (one in so
/// many) of the distance, or so many milliseconds.
const CALM: u32 = 100;
const SLACK_SHARE: u64 = 200;
const SLACK_MS_LEAST: u64 = 1;

/// The distance between requests, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interval {
    configured_ms: u64,
    /// The shortest distance that was admitted; at first the configured one.
    kept_ms: u64,
    /// The longest one below it that was refused; 0 if there is none.
    refused_ms: u64,
    /// The one that was kept before, and longer; 0 if there is none.
    before_ms: u64,
    /// What the next request tries.
    trial: Trial,
    /// Requests that were admitted at the distance that is kept.
    admitted: u32,
    /// Those of them since a shorter one was last tried.
    quiet: u32,
    /// What is waited beyond the distance that is kept: requests don't all travel
    /// equally fast.
    slack_ms: u64,
    /// Requests admitted since one was last refused for having been fast.
    calm: u32,
    /// After how many of them a shorter one is tried.
    probe_after: u32,
}

/// What a request at a certain distance is to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Trial {
    /// Nothing: it is the distance that works.
    Kept,
    /// Whether it works again at this longer one; `proven`: the one that is kept had
    /// worked, and was refused only now.
    Longer { ms: u64, proven: bool },
    /// Whether the distance that is kept does work after all; if not, this longer
    /// one does.
    Again { longer_ms: u64 },
    /// Whether it works at this shorter one, too; after a success the next one is
    /// so many thousandths shorter still, or between this and what was refused (0).
    Shorter { ms: u64, step: u64 },
    /// As `Shorter`, but probed periodically.
    Probe { ms: u64 },
}

impl Interval {
    /// Nothing is known but the configured distance.
    pub(super) fn new(configured_ms: u64) -> Self {
        Interval {
            configured_ms,
            kept_ms: configured_ms,
            refused_ms: 0,
            before_ms: 0,
            trial: Trial::Kept,
            admitted: 0,
            quiet: 0,
            slack_ms: 0,
            calm: 0,
            probe_after: PROBE_AFTER,
        }
    }

    /// What was stored, if it can have been learned under that configuration.
    pub(super) fn restored(self, configured_ms: u64) -> Self {
        let longest = configured_ms.saturating_mul(CONFIGURED_MAX);
        let is_sane = self.configured_ms == configured_ms
            && (1..=longest).contains(&self.kept_ms)
            && (1..=longest).contains(&self.next_ms())
            && self.refused_ms <= longest
            && self.before_ms <= longest
            && self.slack_ms <= longest;
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
            Trial::Kept | Trial::Again { .. } => self.kept_ms.saturating_add(self.slack_ms),
            Trial::Longer { ms, .. } | Trial::Shorter { ms, .. } | Trial::Probe { ms } => ms,
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
            Trial::Again { longer_ms } if longer_ms > ms => {
                self.refused_ms = self.refused_ms.max(ms);
                self.trial = Trial::Longer {
                    ms: longer_ms,
                    proven: false,
                };
                true
            }
            Trial::Again { .. } => self.search(ms, false),
            Trial::Kept => self.search(ms, self.admitted >= PROVEN),
            Trial::Longer { proven, .. } => self.search(ms, proven),
        }
    }

    fn search(&mut self, refused_ms: u64, proven: bool) -> bool {
        self.refused_ms = refused_ms;
        let longest = self.configured_ms.saturating_mul(CONFIGURED_MAX);
        // Nothing but the rounding explains why the configured one fails.
        let base = if self.kept_ms == self.configured_ms {
            self.rounded_ms()
        } else {
            self.kept_ms
        };
        let first = (base.saturating_mul(FIRST_STEP_UP) / 1_000).min(FIRST_STEP_UP_MS_MAX);
        let others = STEPS_UP
            .iter()
            .map(|step| base.saturating_mul(*step) / 1_000)
            .filter(|step| *step > first);
        let next = std::iter::once(first)
            .chain(others)
            .map(|step| base.saturating_add(step))
            .map(|ms| ms + guard(ms))
            .chain([base, self.before_ms])
            .filter(|ms| *ms > refused_ms + refused_ms * STEP_UP_MIN / 1_000 && *ms <= longest)
            .min();
        if let Some(ms) = next {
            self.trial = Trial::Longer { ms, proven };
        }
        next.is_some()
    }

    /// The request at `ms` was admitted. `on_time`: it was sent when it was due.
    pub(super) fn admitted(&mut self, ms: u64, on_time: bool) {
        self.trial = match self.trial {
            Trial::Longer { ms: due, proven } if proven && self.may_be_early() => match on_time {
                true => Trial::Again { longer_ms: due },
                false => Trial::Kept,
            },
            Trial::Longer { ms: due, .. } => {
                let longest = self.configured_ms.saturating_mul(CONFIGURED_MAX);
                let worked = if on_time { due } else { ms };
                self.keep(worked.min(longest));
                self.before_ms = 0;
                self.next_trial()
            }
            // A slot that was let pass says nothing.
            unchanged if !on_time => unchanged,
            Trial::Kept => {
                self.worked();
                self.next_trial()
            }
            // nginx's rounding explains the refusal: it may work, but just so.
            Trial::Again { .. } if self.kept_ms == self.configured_ms => {
                self.keep(self.rounded_ms());
                Trial::Kept
            }
            Trial::Again { .. } => {
                self.refused_ms = 0;
                self.was_early();
                self.worked();
                Trial::Kept
            }
            Trial::Shorter { ms: due, step } => {
                self.keep(due);
                if step > 0 && self.refused_ms == 0 && !self.is_near(self.rounded_ms()) {
                    self.further_down(step)
                } else {
                    self.next_trial()
                }
            }
            Trial::Probe { ms: due } => {
                self.refused_ms = 0;
                self.keep(due);
                self.further_down(STEP_DOWN)
            }
        };
    }

    /// A request at the distance that is kept was admitted.
    fn worked(&mut self) {
        self.admitted = self.admitted.saturating_add(1);
        self.quiet = self.quiet.saturating_add(1);
        self.calm = self.calm.saturating_add(1);
        if self.calm >= CALM * 10 {
            self.slack_ms = self.slack_ms.saturating_sub(self.slack_step());
            self.calm = CALM;
        }
        if self.admitted >= PROVEN {
            self.before_ms = 0;
        }
    }

    /// Whether what was refused may have come early: nothing travels so unevenly that
    /// it would be refused far beyond the distance that worked, too.
    fn may_be_early(&self) -> bool {
        let early = self.kept_ms.saturating_mul(1_000 + EARLY_PER_MILLE) / 1_000;
        self.refused_ms <= early
    }

    /// A single request was refused for having been faster than the one before it.
    fn was_early(&mut self) {
        if self.calm < CALM {
            self.slack_ms = (self.slack_ms + self.slack_step()).min(self.slack_max());
        }
        self.calm = 0;
    }

    fn slack_max(&self) -> u64 {
        (self.kept_ms / SLACK_SHARE).max(SLACK_MS_LEAST)
    }

    fn slack_step(&self) -> u64 {
        guard(self.kept_ms).div_ceil(2)
    }

    fn keep(&mut self, ms: u64) {
        self.before_ms = self.kept_ms;
        self.kept_ms = ms.max(1);
        self.slack_ms = self.slack_ms.min(self.slack_max());
        self.admitted = 0;
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
            return self.shorter(self.refused_ms + gap / 2, 0);
        }
        if self.quiet < self.probe_after {
            return Trial::Kept;
        }
        self.quiet = 0;
        Trial::Probe {
            ms: (self.kept_ms * (1_000 - STEP_DOWN) / 1_000).max(1),
        }
    }

    /// A trial twice as much shorter as the last one, which was `step` thousandths.
    fn further_down(&self, step: u64) -> Trial {
        let step = (step * 2).min(STEP_DOWN_MAX);
        self.shorter(self.kept_ms * (1_000 - step) / 1_000, step)
    }

    /// A trial of `ms`, or of an expected distance on the way there.
    fn shorter(&self, ms: u64, step: u64) -> Trial {
        let lowest = if self.refused_ms > 0 {
            self.refused_ms + 1
        } else {
            ms.min(self.kept_ms / 2)
        };
        let expected = [self.configured_ms, self.rounded_ms()]
            .into_iter()
            .filter(|expected| {
                (lowest..self.kept_ms).contains(expected) && !self.is_near(*expected)
            });
        Trial::Shorter {
            ms: expected.max().unwrap_or(ms).max(1),
            step,
        }
    }

    /// Whether the distance is one that was to be expected, so that there is
    /// nothing left to find out about it.
    fn is_explained(&self) -> bool {
        self.is_near(self.configured_ms) || self.is_near(self.rounded_ms())
    }

    fn is_near(&self, ms: u64) -> bool {
        self.kept_ms.abs_diff(ms) <= guard(ms)
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
