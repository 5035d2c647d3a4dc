//! One way into the server: what it does with the requests that arrive, in their order and
//! whether or not somebody still waits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::limiter::Limiter;
use super::nginx::{cut, page, too_many};
use super::{Insert, Reply, RequestFault};
use crate::clickhouse::ClickHouse;
use crate::scheduler::{draw, fault};

/// nginx waits so long for ClickHouse (`proxy_read_timeout`).
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How the proxy is configured.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Thousandths of a request per second; `None`: as many as come.
    pub rate: Option<u64>,
    /// `client_max_body_size`, bytes.
    pub body_max: u64,
}

impl Settings {
    /// Nothing is limited.
    pub(super) const OPEN: Self = Self {
        rate: None,
        body_max: u64::MAX,
    };
}

/// Where a URL leads, whatever it asks.
pub(super) fn key(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// A request between its first byte and its reply.
#[derive(Clone, Debug)]
struct Flight {
    url: Url,
    body: Bytes,
    met: Option<RequestFault>,
    stage: Stage,
    /// Its process died: only the headers arrive.
    is_cut: bool,
    /// Nobody waits for it any more.
    is_abandoned: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Its headers will be read then.
    Arrives(Duration),
    /// An insert runs; the proxy waits until then.
    Runs { run: u64, until: Duration },
    /// The reply is there then; `None`: never.
    Replied(Duration, Option<Reply>),
}

#[derive(Debug)]
pub(super) struct Front {
    pub(super) settings: Settings,
    limiter: Option<Limiter>,
    pub(super) faults: VecDeque<RequestFault>,
    pub(super) down_until: Duration,
    tenant: Option<(Duration, Duration)>,
    flights: BTreeMap<u64, Flight>,
    next_flight: u64,
}

impl Front {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            limiter: settings.rate.map(Limiter::new),
            faults: VecDeque::new(),
            down_until: Duration::ZERO,
            tenant: None,
            flights: BTreeMap::new(),
            next_flight: 0,
        }
    }

    pub(super) fn set_rate(&mut self, rate: u64) {
        if let Some(limiter) = &mut self.limiter {
            limiter.rate = rate;
        }
    }

    pub(super) fn restart(&mut self) {
        self.limiter.iter_mut().for_each(Limiter::forget);
        for flight in self.flights.values_mut() {
            if let Stage::Runs { .. } = flight.stage {
                flight.stage = Stage::Replied(Duration::ZERO, Some(Reply::Reset));
            }
        }
    }

    pub(super) fn set_tenant(&mut self, every: Option<Duration>) {
        self.tenant = every.map(|every| (every, crate::scheduler::now() + every));
    }

    /// Whether the limiter admits a request now.
    pub(super) fn admit(&mut self, now: Duration) -> bool {
        self.limiter
            .as_mut()
            .is_none_or(|limiter| limiter.admit(now))
    }

    pub(super) fn is_working(&self) -> bool {
        !self.flights.is_empty()
    }

    /// A request leaves; its headers will be read at `arrives`. Its number.
    pub(super) fn send(
        &mut self,
        url: &Url,
        body: Bytes,
        met: Option<RequestFault>,
        arrives: Duration,
    ) -> u64 {
        let flight = Flight {
            url: url.clone(),
            body,
            met,
            stage: Stage::Arrives(arrives),
            is_cut: false,
            is_abandoned: false,
        };
        self.flights.insert(self.next_flight, flight);
        self.next_flight += 1;
        self.next_flight - 1
    }

    /// When there is news of a request at the latest; `None`: never.
    pub(super) fn next_news(&self, flight: u64, clickhouse: &ClickHouse) -> Option<Duration> {
        match &self.flights.get(&flight)?.stage {
            Stage::Arrives(at) => Some(*at),
            Stage::Runs { run, until } => {
                Some(clickhouse.done_at(*run).unwrap_or(*until).min(*until))
            }
            Stage::Replied(_, None) => None,
            Stage::Replied(at, Some(_)) => Some(*at),
        }
    }

    /// The reply to a request, if it is there.
    pub(super) fn reply(&mut self, flight: u64, now: Duration) -> Option<Reply> {
        match &self.flights.get(&flight)?.stage {
            Stage::Replied(at, Some(_)) if *at <= now => {}
            _ => return None,
        }
        match self.flights.remove(&flight)?.stage {
            Stage::Replied(_, reply) => reply,
            _ => None,
        }
    }

    /// Nobody waits for a request any more. One that had not arrived yet is in the
    /// system's hands, whole or cut, or never left.
    pub(super) fn abandon(&mut self, flight: u64) {
        let Some(left) = self.flights.get_mut(&flight) else {
            return;
        };
        left.is_abandoned = true;
        if let Stage::Arrives(_) = left.stage {
            match draw(4) {
                0 => left.stage = Stage::Replied(Duration::ZERO, None),
                1 => left.is_cut = true,
                _ => {}
            }
        }
        self.drop_done();
    }

    fn drop_done(&mut self) {
        let is_done = |flight: &Flight| matches!(flight.stage, Stage::Replied(..));
        self.flights
            .retain(|_, flight| !(flight.is_abandoned && is_done(flight)));
    }

    /// Does what was due until now, in its order.
    pub(super) fn catch_up(&mut self, now: Duration, clickhouse: &ClickHouse) {
        loop {
            let arrivals = self
                .flights
                .iter()
                .filter_map(|(id, flight)| match flight.stage {
                    Stage::Arrives(at) => Some((at, Some(*id))),
                    _ => None,
                });
            let tenant = self.tenant.map(|(_, next)| (next, None));
            let Some((due, what)) = arrivals.chain(tenant).min().filter(|(due, _)| *due <= now)
            else {
                break;
            };
            match (what, &mut self.tenant) {
                (Some(flight), _) => self.arrive(flight, due, clickhouse),
                (None, Some((every, next))) => {
                    *next += *every;
                    self.admit(due);
                }
                (None, None) => {}
            }
        }
        let running: Vec<u64> = self.flights.keys().copied().collect();
        for flight in running {
            self.hear(flight, now, clickhouse);
        }
        self.drop_done();
    }

    /// nginx has read a request's headers. Its body limit comes before the limiter, and
    /// the limiter before everything else.
    fn arrive(&mut self, id: u64, now: Duration, clickhouse: &ClickHouse) {
        let Some(mut flight) = self.flights.remove(&id) else {
            return;
        };
        let soon = now + Duration::from_millis(1 + draw(3));
        let reply = |reply| Stage::Replied(soon, Some(reply));
        let answer = |status| reply(Reply::Answer(page(status)));
        let insert = match flight.met {
            Some(RequestFault::ResetInAnswer(insert) | RequestFault::Silence(insert)) => insert,
            Some(RequestFault::Gateway(_, insert)) => insert,
            _ => Insert::Done,
        };
        flight.stage = if flight.met == Some(RequestFault::ResetBeforeHeaders) {
            reply(Reply::Reset)
        } else if flight.body.len() as u64 > self.settings.body_max {
            answer(413)
        } else if let Some(RequestFault::TooMany(retry_after)) = flight.met {
            reply(Reply::Answer(too_many(retry_after)))
        } else if !self.admit(now) {
            answer(503)
        } else if flight.is_cut || flight.met == Some(RequestFault::ResetInBody) {
            reply(Reply::Reset)
        } else if let Some(RequestFault::Page(status)) = flight.met {
            answer(status)
        } else if insert == Insert::Never {
            let reply = match flight.met {
                Some(RequestFault::Gateway(status, _)) => Some(Reply::Answer(page(status))),
                Some(RequestFault::Silence(_)) => None,
                _ => Some(Reply::Reset),
            };
            Stage::Replied(soon, reply)
        } else if clickhouse.is_down() {
            fault("server unreachable");
            answer(502)
        } else {
            let run = clickhouse.begin(&flight.url, &flight.body, now);
            let until = match (insert, flight.met) {
                (Insert::Later(time), _) => {
                    clickhouse.delay(run, time);
                    now + time.min(READ_TIMEOUT) / 2
                }
                (_, Some(RequestFault::Slow(time))) => {
                    clickhouse.delay(run, time);
                    now + READ_TIMEOUT
                }
                _ => now + READ_TIMEOUT,
            };
            Stage::Runs { run, until }
        };
        self.flights.insert(id, flight);
    }

    /// What has become of an insert that the proxy waits for.
    fn hear(&mut self, id: u64, now: Duration, clickhouse: &ClickHouse) {
        let Some(flight) = self.flights.get_mut(&id) else {
            return;
        };
        let Stage::Runs { run, until } = flight.stage else {
            return;
        };
        let is_running = clickhouse.done_at(run).is_some();
        if is_running && now < until {
            return;
        }
        let own = |status| Some(Reply::Answer(page(status)));
        let reply = match flight.met {
            Some(RequestFault::ResetInAnswer(_)) => Some(Reply::Reset),
            Some(RequestFault::Silence(_)) => None,
            Some(RequestFault::Gateway(status, _)) => own(status),
            _ if is_running => own(504),
            met => match clickhouse.answer(run) {
                None => own(502),
                Some(answer) if met == Some(RequestFault::Cut) => Some(Reply::Answer(cut(answer))),
                Some(answer) => Some(Reply::Answer(answer)),
            },
        };
        let soon = Duration::from_millis(1 + draw(3));
        flight.stage = Stage::Replied(now + soon, reply);
    }
}
