//! A model of the proxy before ClickHouse, nginx with a limiter, and the way of one request
//! through it: what production's send loop holds as its [`Proxy`].
//!
//! A request that has left goes its way without whoever sent it: a process that dies then
//! leaves a request that arrives whole, in part, or not at all, and an insert that goes on.
//! Every request is recorded.

mod front;
mod limiter;
mod nginx;
mod route;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use spoolhouse::upload::outcome::{Answer, error_codes};

use crate::clickhouse::ClickHouse;
use crate::scheduler::{self, Process};
use crate::violations::Violations;

use front::Front;
pub use front::Settings;
pub use route::Route;

/// What becomes of the insert behind an answer that is the proxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Insert {
    /// It never begins.
    Never,
    /// It goes through.
    Done,
    /// It goes through, this much later.
    Later(Duration),
}

/// What a request meets on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestFault {
    /// There is no connection.
    ConnectRefused,
    /// The connection breaks before the proxy has read the headers.
    ResetBeforeHeaders,
    /// It breaks within the body: the slot is used, and nothing passed on.
    ResetInBody,
    /// It breaks instead of an answer.
    ResetInAnswer(Insert),
    /// No answer comes at all.
    Silence(Insert),
    /// The proxy answers by itself: 502 or 504.
    Gateway(u16, Insert),
    /// ClickHouse's answer is cut off.
    Cut,
    /// ClickHouse's answer takes so much longer.
    Slow(Duration),
    /// 429 before anything is counted, with so many seconds of `Retry-After`.
    TooMany(Option<u64>),
    /// Somebody else answers with a page of his own.
    Page(u16),
}

impl RequestFault {
    fn name(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connection refused",
            Self::ResetBeforeHeaders => "reset before headers",
            Self::ResetInBody => "reset in the body",
            Self::ResetInAnswer(Insert::Never) => "reset without insert",
            Self::ResetInAnswer(_) => "reset after insert",
            Self::Silence(Insert::Never) => "silence without insert",
            Self::Silence(_) => "silence after insert",
            Self::Gateway(_, Insert::Never) => "gateway error without insert",
            Self::Gateway(_, Insert::Done) => "gateway error after insert",
            Self::Gateway(_, Insert::Later(_)) => "gateway error before insert",
            Self::Cut => "answer cut off",
            Self::Slow(_) => "answer slow",
            Self::TooMany(_) => "429",
            Self::Page(_) => "a page of somebody else's",
        }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Answer(Answer),
    /// The connection broke.
    Reset,
    /// No connection.
    NotSent,
    /// Nothing within the client's time-out.
    TimedOut,
    /// The process died, or stopped waiting.
    Unheard,
}

impl Reply {
    fn is_of_clickhouse(&self) -> bool {
        let Self::Answer(answer) = self else {
            return false;
        };
        answer
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("x-clickhouse-"))
    }

    /// Whether whoever got this must count the slot as used.
    pub fn may_use_slot(&self) -> bool {
        match self {
            Self::NotSent => false,
            Self::Answer(answer) => {
                self.is_of_clickhouse() || !matches!(answer.status, 413 | 429 | 503)
            }
            Self::Reset | Self::TimedOut | Self::Unheard => true,
        }
    }

    /// Whether whoever got this must reckon with rows that are stored.
    pub fn may_have_stored(&self) -> bool {
        let Self::Answer(answer) = self else {
            return *self != Self::NotSent;
        };
        let code = answer.headers.get("x-clickhouse-exception-code");
        let code = code.and_then(|code| code.to_str().ok()?.parse().ok());
        let is_harmless = code
            .and_then(error_codes::lookup)
            .is_some_and(|code| code.nothing_stored);
        let of_reader = String::from_utf8_lossy(&answer.body).contains("While executing Parquet");
        match answer.status {
            200 => true,
            _ if self.is_of_clickhouse() => !is_harmless && !of_reader,
            408 | 500..=599 => answer.status != 503,
            _ => false,
        }
    }
}

/// One request that left, or tried to.
#[derive(Clone, Debug)]
pub struct Seen {
    pub process: Process,
    /// Whether it went the way that everything goes.
    pub is_main: bool,
    pub token: String,
    /// When it was to leave, and when it did: in virtual time.
    pub opens: Duration,
    pub left: Duration,
    /// The same by the process's wall clock.
    pub left_wall: SystemTime,
    pub reply: Reply,
}

/// Told of every request at the moment its first byte may leave.
pub type OnPost = Arc<dyn Fn(&Seen, &Bytes) + Send + Sync>;

struct State {
    /// By the URL up to its query.
    fronts: BTreeMap<String, Front>,
    main: String,
    seen: Vec<Seen>,
    in_flight: u32,
    on_post: Option<OnPost>,
}

/// The proxy, and other ways to the same server. Clones are the same one.
#[derive(Clone)]
pub struct Nginx {
    state: Arc<Mutex<State>>,
    clickhouse: ClickHouse,
    violations: Violations,
}

impl fmt::Debug for Nginx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nginx")
    }
}

impl Nginx {
    /// A proxy at `url` before this server.
    pub fn new(
        url: &str,
        settings: Settings,
        clickhouse: ClickHouse,
        violations: Violations,
    ) -> Self {
        let main = front::key(&url.parse().expect("a URL"));
        let front = Front::new(settings);
        let state = State {
            fronts: [(main.clone(), front)].into(),
            main,
            seen: Vec::new(),
            in_flight: 0,
            on_post: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            clickhouse,
            violations,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proxy's front as it is now, every request that has arrived included.
    fn main<T>(&self, look: impl FnOnce(&mut Front) -> T) -> T {
        let state = &mut *self.state();
        let front = state
            .fronts
            .get_mut(&state.main)
            .expect("it is never taken out");
        front.catch_up(scheduler::now(), &self.clickhouse);
        look(front)
    }

    /// `hook` hears of every request before its first byte leaves.
    pub fn on_post(&self, hook: Option<OnPost>) {
        self.state().on_post = hook;
    }

    /// The next `count` requests meet this.
    pub fn fail_requests(&self, count: usize, fault: RequestFault) {
        self.main(|front| front.faults.extend(vec![fault; count]));
    }

    /// Admits so many thousandths of a request per second from now on: 16 is `1r/m`.
    pub fn set_rate(&self, rate: u64) {
        self.main(|front| front.set_rate(rate));
    }

    /// Lets bodies of so many bytes pass from now on.
    pub fn set_body_max(&self, bytes: u64) {
        self.main(|front| front.settings.body_max = bytes);
    }

    /// Nobody gets a connection for this time.
    pub fn go_down(&self, time: Duration) {
        self.main(|front| front.down_until = scheduler::now() + time);
    }

    /// It starts anew and has forgotten whom it admitted when.
    pub fn restart(&self) {
        self.main(Front::restart);
    }

    /// Another tenant behind our address sends a request now; whether it took the slot.
    pub fn tenant_requests(&self) -> bool {
        self.main(|front| front.admit(scheduler::now()))
    }

    /// Another tenant sends one every so often from now on; `None`: no more.
    pub fn tenant_requests_every(&self, every: Option<Duration>) {
        self.main(|front| front.set_tenant(every));
    }

    /// No fault lies in wait any more, and no tenant.
    pub fn heal(&self) {
        self.main(|front| {
            front.faults.clear();
            front.down_until = Duration::ZERO;
            front.set_tenant(None);
        });
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Looks at them.
    pub fn look_at_seen<T>(&self, look: impl FnOnce(&[Seen]) -> T) -> T {
        look(&self.state().seen)
    }

    /// Whether a request is on its way that nobody waits for any more.
    pub fn is_working(&self) -> bool {
        self.main(|front| front.is_working()) || self.clickhouse.is_inserting()
    }
}

#[cfg(test)]
#[path = "proxy/tests.rs"]
mod tests;
