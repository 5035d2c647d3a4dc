//! What the process that owns the spool says of itself on `observe.listen`, and
//! what follows from it: rates, and when disk or retention are the limit. Without
//! an answer everything else is shown all the same.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::history::Sample;
use super::status::{Attempt, Document, Live, Spool};
use crate::time::epoch_ms;

/// It answers from memory: what takes longer is no answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A status with an hour of samples has some ten thousand bytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// How far back growth and rates are looked for.
const PAST: Duration = Duration::from_secs(3_600);

/// Growth is told from samples at least so far apart: less is the saw of the slots.
const GROWTH_PAST_MIN: Duration = Duration::from_secs(150);

/// Errors are shown up to so many, the newest first.
const ERRORS_MAX: usize = 3;

/// What a process says of itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Running {
    /// Nobody owns the spool.
    No,
    /// Somebody does, and does not answer there.
    Silent {
        /// Where it was asked.
        address: SocketAddr,
    },
    /// This.
    Yes(Said),
}

/// What it said, and what follows.
#[derive(Debug, PartialEq, Serialize)]
pub struct Said {
    /// Why nothing is taken in, if nothing is.
    pub held: Option<String>,
    /// Messages that Kafka has and that are not read.
    pub lag: Option<u64>,
    /// Age of the oldest message that is not yet on our disk.
    pub unsealed_s: f64,
    /// How long Kafka keeps a message.
    pub retention_s: Option<f64>,
    /// How long until Kafka deletes what is not yet on our disk.
    pub retention_left_s: Option<f64>,
    /// Messages read per second, over the last seconds.
    pub read_per_s: f64,
    /// Rows stored per second, over the requests that it remembers.
    pub stored_per_s: f64,
    /// How fast the spool grew within the last hour; `None` before it is known.
    pub growth_bytes_per_s: Option<f64>,
    /// How long until reading pauses if it goes on growing like that.
    pub full_s: Option<f64>,
    /// The last requests that went wrong, the newest first.
    pub errors: Vec<Error>,
}

/// A request that went wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Error {
    /// When its answer was there, milliseconds since 1970.
    pub at_ms: u64,
    /// What became of it.
    pub outcome: String,
    /// What was answered. Text from outside.
    pub message: Option<String>,
}

impl Running {
    /// Asks the owner of a spool that the files describe like this, if there is one.
    /// A process remembers its last `attempts_max` requests.
    pub fn ask(listen: SocketAddr, spool: &Spool, attempts_max: usize) -> Self {
        let Some(owner) = spool.owner else {
            return Self::No;
        };
        let address = reachable(listen);
        let said = fetch(address).ok().and_then(|answer| {
            // Another process may have the port, with a spool of its own.
            let is_owner = answer.spool.as_ref()?.owner == Some(owner);
            let growth_bytes_max = spool.growth_bytes_max();
            is_owner.then(|| Said::of(answer, growth_bytes_max, attempts_max))?
        });
        match said {
            Some(said) => Self::Yes(said),
            None => Self::Silent { address },
        }
    }
}

/// Where one asks who listens there.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// One request in plain HTTP/1.0, which knows no chunks: the answer ends where
/// the connection does.
fn fetch(address: SocketAddr) -> io::Result<Document> {
    let since = epoch_ms(SystemTime::now()).saturating_sub(PAST.as_millis() as u64);
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    let request = format!("GET /status.json?since={since} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let end = b"\r\n\r\n";
    let head = answer.windows(end.len()).position(|four| four == end);
    let head = head.ok_or(io::ErrorKind::UnexpectedEof)?;
    if !answer.starts_with(b"HTTP/1.0 200") && !answer.starts_with(b"HTTP/1.1 200") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(serde_json::from_slice(&answer[head + end.len()..])?)
}

impl Said {
    /// `None` of a process that is starting.
    fn of(answer: Document, growth_bytes_max: u64, attempts_max: usize) -> Option<Self> {
        let (live, attempts) = (answer.live?, answer.attempts?);
        let growth = growth(&answer.history.samples);
        let full_s = growth
            .filter(|growth| *growth > 0.0)
            .map(|growth| growth_bytes_max as f64 / growth);
        let left = |retention: f64| (retention - live.unsealed_s).max(0.0);
        Some(Self {
            held: answer.held,
            lag: live.lag,
            unsealed_s: live.unsealed_s,
            retention_s: live.retention_s,
            retention_left_s: live.retention_s.map(left),
            read_per_s: live.read_per_s,
            stored_per_s: stored_per_s(&attempts, &live, attempts_max),
            growth_bytes_per_s: growth,
            full_s,
            errors: errors(attempts),
        })
    }
}

/// Expected refusals (a slot that is not open yet) are not errors.
fn errors(attempts: Vec<Attempt>) -> Vec<Error> {
    let newest = attempts.into_iter().rev();
    let wrong =
        newest.filter(|attempt| !["stored", "throttled"].contains(&attempt.outcome.as_str()));
    let error = |attempt: Attempt| Error {
        at_ms: attempt.at_ms,
        outcome: attempt.outcome,
        message: attempt.message,
    };
    wrong.take(ERRORS_MAX).map(error).collect()
}

/// Rows stored after the oldest attempt that is remembered, by the time since: its
/// own belong to the time before. With few attempts, since the start.
fn stored_per_s(attempts: &[Attempt], live: &Live, attempts_max: usize) -> f64 {
    let full = attempts.len() >= attempts_max;
    let oldest = attempts.first().filter(|_| full);
    let hour_ago = live.at_ms.saturating_sub(PAST.as_millis() as u64);
    let from = oldest.map_or(live.started_ms, |attempt| attempt.at_ms);
    let from = from.max(hour_ago);
    let stored = attempts
        .iter()
        .filter(|attempt| attempt.outcome == "stored" && attempt.at_ms > from);
    let rows: u64 = stored.map(|attempt| attempt.rows).sum();
    let seconds = live.at_ms.saturating_sub(from) as f64 / 1_000.0;
    if seconds > 0.0 {
        rows as f64 / seconds
    } else {
        0.0
    }
}

/// Bytes per second, by the straight line that fits the samples best: the spool
/// goes up and down with every slot.
fn growth(samples: &[Sample]) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    if last.at_ms.saturating_sub(first.at_ms) < GROWTH_PAST_MIN.as_millis() as u64 {
        return None;
    }
    let point = |sample: &Sample| {
        let seconds = sample.at_ms.saturating_sub(first.at_ms) as f64 / 1_000.0;
        (seconds, sample.spool_bytes as f64)
    };
    let count = samples.len() as f64;
    let (times, sizes): (Vec<f64>, Vec<f64>) = samples.iter().map(point).unzip();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (time, size) = (mean(&times), mean(&sizes));
    let along: f64 = times.iter().map(|t| (t - time).powi(2)).sum();
    let pairs = times.iter().zip(&sizes);
    let across: f64 = pairs.map(|(t, s)| (t - time) * (s - size)).sum();
    Some(across / along)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use serde_json::{Value, json};

    use super::*;

    const NOW_MS: u64 = 1_000_000_000;

    /// An answer of process 42 with these attempts and sizes of the spool, one
    /// every half minute.
    fn answer(attempts: &Value, sizes: &[u64]) -> Value {
        let samples = sizes.iter().enumerate().map(|(place, size)| {
            let ago = 30_000 * (sizes.len() - 1 - place) as u64;
            json!({"at_ms": NOW_MS - ago, "spool_bytes": size, "lag": 0})
        });
        json!({
            "owner": 42, "held": null, "attempts": attempts,
            "history": {"samples": samples.collect::<Vec<_>>()},
            "live": {
                "at_ms": NOW_MS, "started_ms": NOW_MS - 100_000, "lag": 7, "unsealed_s": 2.5,
                "retention_s": 60.0, "read_per_s": 12.5, "partitions": 6,
            },
        })
    }

    fn said(answer: Value, room_bytes: u64) -> Said {
        Said::of(serde_json::from_value(answer).unwrap(), room_bytes, 50).unwrap()
    }

    fn attempt(ago_s: u64, outcome: &str, rows: u64) -> Value {
        json!({"at_ms": NOW_MS - ago_s * 1_000, "outcome": outcome, "rows": rows, "message": null})
    }

    #[test]
    fn rows_are_counted_since_the_start_or_since_the_oldest_that_is_remembered() {
        let few = json!([
            attempt(90, "stored", 500),
            attempt(60, "unknown", 999),
            attempt(20, "stored", 250),
        ]);
        assert_eq!(said(answer(&few, &[]), 0).stored_per_s, 7.5);
        let many: Vec<Value> = (0..50)
            .rev()
            .map(|ago| attempt(ago, "stored", 98))
            .collect();
        assert_eq!(said(answer(&json!(many), &[]), 0).stored_per_s, 98.0);
        assert_eq!(said(answer(&json!([]), &[]), 0).stored_per_s, 0.0);
    }

    #[test]
    fn reading_pauses_when_the_room_is_used_up_at_the_pace_of_the_last_hour() {
        let none = json!([]);
        let steady = said(
            answer(&none, &[0, 3_000, 6_000, 9_000, 12_000, 15_000]),
            10_000,
        );
        assert_eq!(steady.growth_bytes_per_s, Some(100.0));
        assert_eq!(steady.full_s, Some(100.0));
        let falling = said(
            answer(&none, &[9_000, 8_000, 7_000, 6_000, 5_000, 4_000]),
            10_000,
        );
        assert_eq!(falling.full_s, None);
        let too_few = said(answer(&none, &[0, 3_000, 6_000, 9_000]), 10_000);
        assert_eq!((too_few.growth_bytes_per_s, too_few.full_s), (None, None));
        let saw = said(
            answer(&none, &[900, 0, 900, 0, 900, 0, 900, 0, 900]),
            10_000,
        );
        assert_eq!(saw.growth_bytes_per_s, Some(0.0));
    }

    #[test]
    fn what_kafka_still_keeps_is_the_retention_without_what_is_used_up() {
        let mut late = answer(&json!([]), &[]);
        assert_eq!(said(late.clone(), 0).retention_left_s, Some(57.5));
        late["live"]["unsealed_s"] = json!(90.0);
        assert_eq!(said(late.clone(), 0).retention_left_s, Some(0.0));
        late["live"]["retention_s"] = Value::Null;
        assert_eq!(said(late, 0).retention_left_s, None);
    }

    #[test]
    fn the_newest_errors_come_first_and_a_closed_slot_is_none() {
        let attempts = json!([
            attempt(9, "not_sent", 1),
            attempt(8, "unknown", 1),
            attempt(7, "refused_data", 1),
            attempt(6, "throttled", 1),
            attempt(5, "too_large", 1),
            attempt(4, "stored", 1),
        ]);
        let errors = said(answer(&attempts, &[]), 0).errors;
        let outcomes: Vec<&str> = errors.iter().map(|error| error.outcome.as_str()).collect();
        assert_eq!(outcomes, ["too_large", "refused_data", "unknown"]);
    }

    /// Answers one request with this.
    fn serve(answer: String) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of it, in however many pieces: what is left unread when the connection
            // closes would tear the answer.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut piece = [0; 1024];
                let length = stream.read(&mut piece).unwrap();
                assert!(length > 0, "{request:?}");
                request.extend_from_slice(&piece[..length]);
            }
            assert!(request.starts_with(b"GET /status.json?since="));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn only_the_owner_of_this_spool_is_believed() {
        let body = answer(&json!([]), &[]).to_string();
        let ok = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let spool = |owner| Spool {
            owner,
            ..Spool::default()
        };
        let ask =
            |answer: &str, owner| Running::ask(serve(answer.to_owned()), &spool(Some(owner)), 50);
        assert!(matches!(ask(&ok, 42), Running::Yes(_)));
        assert!(matches!(ask(&ok, 43), Running::Silent { .. }));
        let missing = ok.replace("200 OK", "404 Not Found");
        assert!(matches!(ask(&missing, 42), Running::Silent { .. }));
        assert!(matches!(ask("", 42), Running::Silent { .. }));
        let starting = ok.replace("\"live\"", "\"past\"");
        assert!(matches!(ask(&starting, 42), Running::Silent { .. }));
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(matches!(
            Running::ask(nobody, &spool(None), 50),
            Running::No
        ));
        assert!(matches!(
            Running::ask(nobody, &spool(Some(42)), 50),
            Running::Silent { .. }
        ));
    }

    #[test]
    fn everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("10.0.0.1:9464", "10.0.0.1:9464"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
