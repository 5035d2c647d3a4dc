//! The client's side of a request: connecting, holding until the slot opens, posting,
//! waiting.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use spoolhouse::time::Clock;
use spoolhouse::upload::outcome::{Outcome, Reason};
use spoolhouse::upload::proxy::TransportError;
use spoolhouse::upload::proxy::{Posted, Proxy};
use spoolhouse::upload::request::Request;
use url::Url;

use super::front::{Front, Settings, key};
use super::{Nginx, Reply, RequestFault, Seen};
use crate::clickhouse::ClickHouse;
use crate::scheduler::{current, draw, fault, note, now, sleep_until, touch};
use crate::violations::Rule;

/// How long a connection may take, and a request as a whole.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(180);

/// A process's way to the server.
#[derive(Clone, Debug)]
pub struct Route {
    nginx: Nginx,
    clock: Arc<dyn Clock>,
    /// Where it leads, up to the query.
    key: String,
}

impl Nginx {
    /// The way through the proxy, for a process with this clock.
    pub fn route(&self, clock: Arc<dyn Clock>) -> Route {
        let key = self.state().main.clone();
        let nginx = self.clone();
        Route { nginx, clock, key }
    }
}

fn reason(may_be_stored: bool, message: &str) -> Reason {
    Reason {
        status: None,
        code: None,
        may_be_stored,
        message: message.to_owned(),
    }
}

/// A request that somebody waits for.
struct Wait<'r> {
    route: &'r Route,
    /// Its place among all that were seen, once it left.
    seen: Option<usize>,
    flight: Option<u64>,
}

impl<'r> Wait<'r> {
    fn begin(route: &'r Route) -> Self {
        let in_flight = {
            let mut state = route.nginx.state();
            state.in_flight += 1;
            state.in_flight
        };
        if in_flight > 1 {
            let what = format!("{in_flight} requests are under way, one of {:?}", current());
            route.nginx.violations.report(Rule::TwoInFlight, what);
        }
        Self {
            route,
            seen: None,
            flight: None,
        }
    }

    /// The reply as far as it is there, and when there will be more.
    fn look(&self) -> (Option<Reply>, Option<Duration>) {
        let Some(flight) = self.flight else {
            return (None, None);
        };
        self.route.front(|front, clickhouse| {
            let reply = front.reply(flight, now());
            (reply, front.next_news(flight, clickhouse))
        })
    }

    fn end(mut self, reply: &Reply) {
        // What the client gave up on goes on without it.
        self.flight = self.flight.filter(|_| *reply == Reply::TimedOut);
        if let Some(seen) = self.seen
            && let Some(seen) = self.route.nginx.state().seen.get_mut(seen)
        {
            seen.reply = reply.clone();
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.route.nginx.state().in_flight -= 1;
        if let Some(flight) = self.flight {
            self.route.front(|front, _| front.abandon(flight));
        }
    }
}

impl Route {
    fn front<T>(&self, look: impl FnOnce(&mut Front, &ClickHouse) -> T) -> T {
        let mut state = self.nginx.state();
        let front = state
            .fronts
            .get_mut(&self.key)
            .expect("it is never taken out");
        front.catch_up(now(), &self.nginx.clickhouse);
        look(front, &self.nginx.clickhouse)
    }

    /// A connection, or none; how long it took.
    async fn connect(&self, met: Option<RequestFault>) -> Result<Duration, Duration> {
        let begun = now();
        touch("proxy.connect", format_args!("{}", self.key));
        let is_down = self.front(|front, _| front.down_until > now());
        let takes = Duration::from_millis(draw(20));
        sleep_until(begun + takes.min(CONNECT_TIMEOUT)).await;
        match is_down || met == Some(RequestFault::ConnectRefused) {
            true => Err(now() - begun),
            false => Ok(now() - begun),
        }
    }

    /// Notes that a request leaves, and lets it go.
    fn send(
        &self,
        wait: &mut Wait<'_>,
        request: &Request,
        body: &Bytes,
        met: Option<RequestFault>,
        opens: Duration,
    ) -> SystemTime {
        let left_wall = self.clock.wall();
        let tokens = request.url.query_pairs();
        let token = tokens
            .into_iter()
            .find(|(name, _)| name == "insert_deduplication_token");
        let seen = Seen {
            process: current(),
            is_main: self.key == self.nginx.state().main,
            token: token.map_or_else(String::new, |(_, token)| token.into_owned()),
            opens,
            left: now(),
            left_wall,
            reply: Reply::Unheard,
        };
        // What looks at a disk must find nothing held.
        let hook = self.nginx.state().on_post.clone();
        if let Some(hook) = hook {
            hook(&seen, body);
        }
        let travels = Duration::from_millis(draw(6));
        let flight =
            self.front(|front, _| front.send(&request.url, body.clone(), met, now() + travels));
        let mut state = self.nginx.state();
        wait.flight = Some(flight);
        wait.seen = Some(state.seen.len());
        state.seen.push(seen);
        left_wall
    }

    /// Waits for the reply.
    async fn reply(&self, wait: &Wait<'_>, deadline: Duration) -> Reply {
        loop {
            let (reply, news) = wait.look();
            if let Some(reply) = reply {
                return reply;
            }
            if now() >= deadline {
                return Reply::TimedOut;
            }
            let next = news.map_or(deadline, |at| at.min(deadline));
            sleep_until(next.max(now() + Duration::from_micros(100))).await;
        }
    }

    async fn go(&self, request: &Request, body: Bytes, opens: Instant) -> Posted {
        let mut wait = Wait::begin(self);
        let begun = now();
        let met = self.front(|front, _| front.faults.pop_front());
        if let Some(met) = met {
            fault(met.name());
        }
        // Both clocks at the same moment: the slot opens, or has opened, in virtual time.
        let (ahead, behind) = (
            opens.saturating_duration_since(self.clock.now()),
            self.clock.now().saturating_duration_since(opens),
        );
        let opens = (now() + ahead).saturating_sub(behind);
        let connecting = match self.connect(met).await {
            Ok(took) => took,
            Err(took) => {
                note("proxy.reply", format_args!("no connection"));
                let outcome = Outcome::NotSent(reason(false, "connection refused"));
                return Posted {
                    answer: Err(outcome),
                    left: None,
                    took,
                    connecting: None,
                };
            }
        };
        sleep_until(opens).await;
        touch(
            "proxy.send",
            format_args!("{} bytes as {}", body.len(), request.query_id),
        );
        let sent = now();
        let left = self.send(&mut wait, request, &body, met, opens);
        let reply = self.reply(&wait, begun + TIMEOUT).await;
        touch("proxy.answer", format_args!("{}", Told(&reply)));
        wait.end(&reply);
        let unknown = |message| Err(Outcome::Unknown(reason(true, message)));
        Posted {
            answer: match reply {
                Reply::Answer(answer) => Ok(answer),
                Reply::Reset => unknown("connection reset by peer"),
                _ => unknown("operation timed out"),
            },
            left: Some(left),
            took: now() - sent,
            connecting: Some(connecting),
        }
    }
}

/// A reply in a few words.
struct Told<'r>(&'r Reply);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Reply::Answer(answer) => {
                let code = answer.headers.get("x-clickhouse-exception-code");
                write!(f, "{} {:?}", answer.status, code)
            }
            other => write!(f, "{other:?}"),
        }
    }
}

impl Proxy for Route {
    async fn post(&self, request: &Request, body: Bytes, opens: Instant) -> Posted {
        self.go(request, body, opens).await
    }

    fn for_url(&self, url: &Url) -> Result<Self, TransportError> {
        let key = key(url);
        let open = || Front::new(Settings::OPEN);
        self.nginx
            .state()
            .fronts
            .entry(key.clone())
            .or_insert_with(open);
        Ok(Self {
            key,
            ..self.clone()
        })
    }
}
