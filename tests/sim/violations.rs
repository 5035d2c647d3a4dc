//! What the world saw go wrong: rules that production code broke, noted at once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::scheduler;

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A commit goes no further than what is durable here.
    CommitAhead,
    /// `spool.json` goes no further than what is durable here.
    PositionAhead,
    /// A segment becomes ready only once its offsets are committed.
    ReleasedEarly,
    /// A file goes only once its rows are stored, or durable in another file.
    RemovedEarly,
    /// A request's batch is durable in `sending/` before the first byte leaves.
    SentBeforeDurable,
    /// `pace.json` announces a request before its first byte leaves.
    SentUnannounced,
    /// One request at a time.
    TwoInFlight,
    /// No request before the interval is over, unless a person says so.
    SentEarly,
    /// The oldest batch goes first, and none before one that may be stored.
    OutOfTurn,
    /// What may be stored is never packed anew.
    Repacked,
    /// The same token comes with the same bytes under the same settings.
    TokenReused,
    /// A request is what the server expects: statement, token, columns, rows.
    Request,
    /// No address leaves unmasked.
    Unmasked,
    /// At the end: every message once, or in a gap, or kept with its reason.
    Balance,
}

/// One breach of a rule.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When, in virtual time.
    pub at: Duration,
    pub rule: Rule,
    /// Which message, file or token, and what is wrong with it.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}: {}", self.rule, self.at, self.what)
    }
}

/// Everything that went wrong in a life. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Violations(Arc<Mutex<Vec<Violation>>>);

impl Violations {
    fn list(&self) -> MutexGuard<'_, Vec<Violation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a breach.
    pub fn report(&self, rule: Rule, what: impl Into<String>) {
        let violation = Violation {
            at: scheduler::now(),
            rule,
            what: what.into(),
        };
        scheduler::note("violation:", format_args!("{violation}"));
        self.list().push(violation);
    }

    /// All of them so far.
    pub fn all(&self) -> Vec<Violation> {
        self.list().clone()
    }

    pub fn is_empty(&self) -> bool {
        self.list().is_empty()
    }
}
