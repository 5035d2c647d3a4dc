//! When the next request may go out, and how large its body may be.
//!
//! The proxy admits one request per interval, counted from when it read the
//! last admitted request's headers; a request that it refuses moves nothing
//! (measured on nginx's `limit_req`). So the pacer waits for the slot it expects
//! and learns the real interval from what is admitted and refused there
//! (`interval.rs`). No clock of its own: times are passed in, and all it knows is
//! [`Pace`], which the caller stores.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::interval::Interval;
use crate::time::epoch_ms;
use crate::upload::outcome::{Outcome, Refusal};

/// Wait between two attempts at a slot of which nothing is known, in milliseconds.
const POLL_MS: u64 = 500;
/// Attempts at one slot after which the wait begins to double.
const POLLS_AT_FULL_PACE: u32 = 10;
/// Longest wait between two attempts at one slot, in milliseconds.
const POLL_MS_MAX: u64 = 16_000;
/// First and longest wait after a connection that failed, in milliseconds.
const NOT_SENT_MS: (u64, u64) = (1_000, 60_000);
/// Longest wait after refusals that need an operator, in milliseconds, unless
/// the interval itself is longer.
const OPERATOR_MS_MAX: u64 = 300_000;
/// Longest `Retry-After` that is honoured, in milliseconds.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;
/// A slot tried so much later than expected measures nothing: a share (one in
/// so many) of the interval, and at least so many milliseconds.
const LATE_SHARE: u64 = 100;
const LATE_MS_MIN: u64 = 20;
/// Between the largest body that passed and the smallest that did not, so much
/// of the latter is not worth another refusal, in percent.
const BODY_GAP_PERCENT: u64 = 5;
/// No body limit is learned below this many bytes.
const BODY_BYTES_MIN: u64 = 1_024;

/// What the configuration says about the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaceOptions {
    /// The proxy's URL: another proxy has another pace.
    pub url: String,
    /// Expected distance between two admitted requests, in milliseconds.
    pub interval_ms: u64,
    /// Largest body that the proxy is expected to admit, in bytes.
    pub body_bytes_max: u64,
}

/// What the pacer has learned, for the caller to store and hand back after a
/// restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// The configuration under which all this was learned.
    learned_under: PaceOptions,
    /// When a request last used a slot, or may have.
    used_at_ms: Option<u64>,
    /// When the request went out whose outcome isn't known yet.
    in_flight_ms: Option<u64>,
    /// The interval between slots.
    interval: Interval,
    /// A wait of its own: the next poll, a back-off, `Retry-After`.
    hold: Option<Hold>,
    /// How often in a row the next slot was asked for and refused.
    refused: u32,
    /// Whether it was first asked for so late that the refusals teach nothing.
    late: bool,
    /// How often in a row there was no connection or an operator was needed.
    setbacks: u32,
    /// The smallest body that the proxy found too large, in bytes.
    body_bytes_refused: Option<u64>,
    /// The largest body that it admitted, in bytes.
    body_bytes_fit: u64,
    /// What keeps every batch from being stored until an operator has acted, by
    /// the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

/// A wait, as start and length: with an end alone, a clock that is set back
/// would prolong it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    since_ms: u64,
    for_ms: u64,
}

impl Hold {
    fn end_ms(self) -> u64 {
        self.since_ms.saturating_add(self.for_ms)
    }
}

impl Pace {
    fn new(options: PaceOptions) -> Self {
        Pace {
            interval: Interval::new(options.interval_ms),
            learned_under: options,
            used_at_ms: None,
            in_flight_ms: None,
            hold: None,
            refused: 0,
            late: false,
            setbacks: 0,
            body_bytes_refused: None,
            body_bytes_fit: 0,
            refusal: None,
        }
    }

    /// What keeps every batch from being stored until an operator has acted.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

/// Decides when the next request may go out.
#[derive(Debug, Clone)]
pub struct Pacer {
    pace: Pace,
}

impl Pacer {
    /// A pacer that goes on from a stored [`Pace`]. Another URL forgets all of
    /// it, another interval or body limit what was learned about those.
    pub fn new(options: PaceOptions, stored: Option<Pace>) -> Self {
        let Some(mut pace) = stored.filter(|pace| pace.learned_under.url == options.url) else {
            return Pacer {
                pace: Pace::new(options),
            };
        };
        pace.interval = pace.interval.restored(options.interval_ms);
        if pace.learned_under.body_bytes_max != options.body_bytes_max {
            pace.body_bytes_refused = None;
            pace.body_bytes_fit = 0;
        }
        // Whoever restarts after an error has probably mended something.
        pace.setbacks = 0;
        pace.hold = None;
        pace.refusal = None;
        // A request was under way when the last process ended: it may have
        // used its slot.
        if let Some(sent) = pace.in_flight_ms.take() {
            pace.used_at_ms = Some(sent);
            pace.refused = 0;
        }
        pace.learned_under = options;
        Pacer { pace }
    }

    /// What to store: after [`sent`](Self::sent), before the first byte leaves,
    /// and after [`record`](Self::record).
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The interval that slots are expected at.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.pace.interval.kept_ms())
    }

    /// The largest body to post, in bytes: the configured one, or after a
    /// refusal ever closer to what the proxy admits.
    pub fn body_bytes_max(&self) -> u64 {
        let configured = self.pace.learned_under.body_bytes_max;
        let Some(refused) = self.pace.body_bytes_refused else {
            return configured;
        };
        let fit = self.pace.body_bytes_fit;
        let gap = refused.saturating_sub(fit);
        let next = if gap > refused / 100 * BODY_GAP_PERCENT {
            fit + gap / 2
        } else {
            fit
        };
        next.max(BODY_BYTES_MIN).min(configured)
    }

    /// How long to wait from `now` for the next request. Zero: send.
    ///
    /// A clock that was set back since the last request starts the interval
    /// anew, so the wait is never longer than an interval (or a back-off).
    pub fn wait(&mut self, now: SystemTime) -> Duration {
        let now_ms = epoch_ms(now);
        if let Some(used_at) = &mut self.pace.used_at_ms {
            *used_at = now_ms.min(*used_at);
        }
        if let Some(hold) = &mut self.pace.hold {
            hold.since_ms = now_ms.min(hold.since_ms);
        }
        self.next_at().duration_since(now).unwrap_or_default()
    }

    /// When the next request may go out, as far as is known.
    pub fn next_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.due_ms())
    }

    /// A request goes out at this time. Store [`pace`](Self::pace) before it does:
    /// a process that ends then must not try the same slot twice.
    pub fn sent(&mut self, at: SystemTime) {
        // Rounded up: the next one is never early by what was cut off.
        self.pace.in_flight_ms = Some(epoch_ms(at + Duration::from_nanos(999_999)));
    }

    /// Learns from what became of the request that [`sent`](Self::sent)
    /// announced. `jitter`, from 0 to 1, spreads the attempts after failures.
    pub fn record(&mut self, outcome: &Outcome, body_bytes: u64, now: SystemTime, jitter: f64) {
        let now = epoch_ms(now);
        let sent = self.pace.in_flight_ms.take().unwrap_or(now);
        self.note_refusal(outcome);
        match outcome {
            Outcome::Throttled { retry_after } => self.refused(*retry_after, sent, now),
            Outcome::TooLarge => self.too_large(body_bytes),
            Outcome::NotSent(_) => self.not_sent(now, jitter),
            Outcome::Refused(Refusal::Operator(reason)) if reason.status.is_none() => {
                self.not_sent(now, jitter);
            }
            Outcome::Stored | Outcome::Refused(Refusal::Data(_)) => {
                self.admitted(sent);
                self.fits(body_bytes);
                self.pace.setbacks = 0;
            }
            Outcome::Unknown(reason) => {
                // Without an answer nobody knows whether it was admitted: the
                // slot counts as used, but nothing is learned from it.
                if reason.status.is_some() {
                    self.admitted(sent);
                } else {
                    self.used(sent);
                }
                self.pace.setbacks = 0;
            }
            Outcome::Refused(Refusal::Operator(_) | Refusal::Format(_)) => {
                self.admitted(sent);
                let interval_ms = self.pace.interval.kept_ms();
                self.set_back(interval_ms, OPERATOR_MS_MAX.max(interval_ms), now, jitter);
            }
        }
    }

    fn due_ms(&self) -> u64 {
        self.slot_ms().max(self.pace.hold.map_or(0, Hold::end_ms))
    }

    /// When the next slot is expected to open.
    fn slot_ms(&self) -> u64 {
        let next_ms = self.pace.interval.next_ms();
        self.pace
            .used_at_ms
            .map_or(0, |used_at| used_at.saturating_add(next_ms))
    }

    /// Whether a request at `sent` is one that says something about the interval:
    /// later than expected it may meet somebody else's requests, or a clock that
    /// jumped.
    fn is_on_time(&self, sent: u64) -> bool {
        let slack = (self.pace.interval.next_ms() / LATE_SHARE).max(LATE_MS_MIN);
        !self.pace.late && sent <= self.slot_ms().saturating_add(slack)
    }

    /// The proxy let the request through that went out at `sent`.
    fn admitted(&mut self, sent: u64) {
        if let Some(used_at) = self.pace.used_at_ms
            && !self.pace.late
        {
            let on_time = self.is_on_time(sent);
            let distance = sent.saturating_sub(used_at);
            self.pace.interval.admitted(distance, on_time);
        }
        self.used(sent);
    }

    fn used(&mut self, sent: u64) {
        self.pace.used_at_ms = Some(sent);
        self.pace.refused = 0;
        self.pace.late = false;
        self.pace.hold = None;
    }

    fn refused(&mut self, retry_after: Option<Duration>, sent: u64, now: u64) {
        if self.pace.refused == 0 {
            self.pace.late = !self.is_on_time(sent);
        }
        self.pace.refused = self.pace.refused.saturating_add(1);
        let asked_ms = retry_after.map_or(0, |asked| millis(asked).min(RETRY_AFTER_MS_MAX));
        let is_planned = match self.pace.used_at_ms {
            Some(used_at) if !self.pace.late => {
                let distance = sent.saturating_sub(used_at);
                self.pace.interval.refused(distance)
            }
            _ => false,
        };
        let poll_ms = if is_planned { 0 } else { self.poll_ms() };
        self.pace.hold = Some(Hold {
            since_ms: now,
            for_ms: poll_ms.max(asked_ms),
        });
    }

    /// How long to wait where the interval says nothing.
    fn poll_ms(&self) -> u64 {
        let doublings = (self.pace.refused / POLLS_AT_FULL_PACE).min(8);
        (POLL_MS << doublings)
            .min(POLL_MS_MAX)
            .min(self.pace.interval.kept_ms())
    }

    /// nginx refuses by `Content-Length`, before its limiter: no slot was used,
    /// so the next attempt, with less, may follow at once.
    fn too_large(&mut self, body_bytes: u64) {
        self.pace.body_bytes_refused = Some(body_bytes);
        // The limit was lowered meanwhile.
        if self.pace.body_bytes_fit >= body_bytes {
            self.pace.body_bytes_fit = 0;
        }
        self.pace.setbacks = 0;
    }

    fn fits(&mut self, body_bytes: u64) {
        self.pace.body_bytes_fit = self.pace.body_bytes_fit.max(body_bytes);
        // The limit was raised meanwhile.
        if self
            .pace
            .body_bytes_refused
            .is_some_and(|refused| refused <= body_bytes)
        {
            self.pace.body_bytes_refused = None;
        }
    }

    /// Remembers what an operator has to mend, until an outcome says that it is:
    /// the proxy's own refusals say neither.
    fn note_refusal(&mut self, outcome: &Outcome) {
        self.pace.refusal = match outcome {
            Outcome::Throttled { .. } | Outcome::TooLarge | Outcome::NotSent(_) => return,
            Outcome::Refused(Refusal::Operator(reason)) => Some(reason.to_string()),
            Outcome::Refused(Refusal::Format(reason)) => Some(format!(
                "the server can't read the file, whose encodings upload.encoding chooses: {reason}"
            )),
            Outcome::Refused(Refusal::Data(_)) | Outcome::Stored | Outcome::Unknown(_) => None,
        };
    }

    /// The proxy saw no request: no slot was used, and nothing is learned.
    fn not_sent(&mut self, now: u64, jitter: f64) {
        let (first_ms, max_ms) = NOT_SENT_MS;
        self.set_back(first_ms, max_ms, now, jitter);
    }

    /// Waits twice as long after each setback in a row, less up to a quarter.
    fn set_back(&mut self, first_ms: u64, max_ms: u64, now: u64, jitter: f64) {
        let wait_ms = (first_ms << self.pace.setbacks.min(16)).min(max_ms);
        let spread = (wait_ms as f64 * 0.25 * jitter.clamp(0.0, 1.0)) as u64;
        self.pace.setbacks = self.pace.setbacks.saturating_add(1);
        self.pace.hold = Some(Hold {
            since_ms: now,
            for_ms: wait_ms - spread,
        });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
