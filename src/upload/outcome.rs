//! What became of a batch, read from the answer to its request.
//!
//! `Stored` is said only when ClickHouse itself says so and nothing contradicts
//! it; whatever might have been stored is `Unknown`, never failed. Decides by
//! status, headers and exception codes; message text is for people. No I/O.

pub mod connect_error;
pub mod disposition;
pub mod error_codes;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use error_codes::Class;

/// Characters of a message that are kept for logs and sidecar files.
const MESSAGE_CHARS_MAX: usize = 500;

/// An HTTP answer, as far as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The body, possibly only its beginning.
    pub body: Bytes,
    /// Whether the body was read to its end and is all here.
    pub complete: bool,
}

/// What became of one attempt to post one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// ClickHouse has every row.
    Stored,
    /// The proxy's limiter refused the request; no slot was used.
    Throttled {
        /// How long the proxy asks to wait, if it says so.
        retry_after: Option<Duration>,
    },
    /// The body is over the proxy's limit; nothing was passed on.
    TooLarge,
    /// No connection, for now: nothing left this machine.
    NotSent(Reason),
    /// It may be stored or not. Only the same bytes under the same token may
    /// follow.
    Unknown(Reason),
    /// Refused for good, as things are.
    Refused(Refusal),
}

/// Who can do something about a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// An operator: the same refusal would meet every batch, so nothing moves.
    /// Without a status it was us who refused, before a byte had left: to trust
    /// the server, say.
    Operator(Reason),
    /// An operator, if the batch is compact: the server can't read the file.
    /// Nobody, if it keeps to the oldest encodings.
    Format(Reason),
    /// Nobody, for these rows: after some attempts the batch goes aside.
    Data(Reason),
}

/// Why an outcome is what it is, for people and for sidecar files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// ClickHouse's exception code, if it gave one.
    pub code: Option<u16>,
    /// Whether rows may have been stored all the same (a view, for example,
    /// can fail after the table has its part). A batch with such an attempt in
    /// its past may not be packed anew.
    pub may_be_stored: bool,
    /// One line of text.
    pub message: String,
}

impl Reason {
    /// A reason from before there was an answer.
    pub(super) fn without_answer(may_be_stored: bool, message: impl Into<String>) -> Self {
        Reason {
            status: None,
            code: None,
            may_be_stored,
            message: one_line(&message.into()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "status {status}: ")?;
        }
        if let Some(code) = self.code {
            let name = error_codes::lookup(code).map_or("not in our table", |code| code.name);
            write!(f, "code {code} ({name}): ")?;
        }
        f.write_str(&self.message)
    }
}

/// Reads the fate of a batch from the answer to its request. What can't be told
/// for certain is [`Outcome::Unknown`], never a failure.
pub fn classify(answer: &Answer) -> Outcome {
    if let Some(exception) = Exception::find(answer) {
        return exception.outcome(answer);
    }
    let reason = |message: &str| Reason {
        status: Some(answer.status),
        code: None,
        may_be_stored: true,
        message: describe(answer, message),
    };
    let outside = |message: &str| {
        let reason = Reason {
            may_be_stored: false,
            ..reason(message)
        };
        Outcome::Refused(Refusal::Operator(reason))
    };
    let from_clickhouse = from_clickhouse(&answer.headers);
    match answer.status {
        200 if !answer.complete => Outcome::Unknown(reason("the answer was cut off")),
        200 if !answer.body.is_empty() => {
            Outcome::Unknown(reason("an insert's answer should be empty"))
        }
        200 if confirmed(&answer.headers) => Outcome::Stored,
        200 => Outcome::Unknown(reason("a success without ClickHouse's own headers")),
        // ClickHouse speaks, but without a code: versions before 20.x.
        400..=499 if from_clickhouse && answer.status != 408 => {
            Outcome::Refused(Refusal::Operator(reason("ClickHouse refused")))
        }
        _ if from_clickhouse => Outcome::Unknown(reason("ClickHouse failed without a code")),
        429 | 503 => Outcome::Throttled {
            retry_after: retry_after(&answer.headers),
        },
        413 => Outcome::TooLarge,
        408 | 500..=599 => Outcome::Unknown(reason("the proxy failed")),
        300..=399 => outside("a redirect, which is not followed"),
        _ => outside("that was not ClickHouse"),
    }
}

/// An exception that ClickHouse reported, in a header or in the body.
struct Exception {
    /// `None` when the server says that it failed, but not readably why.
    code: Option<u16>,
    /// Found behind the start of a 200: rows may be stored already.
    mid_stream: bool,
}

impl Exception {
    fn find(answer: &Answer) -> Option<Exception> {
        let mid_stream = answer.status == 200;
        if let Some(header) = answer.headers.get("x-clickhouse-exception-code") {
            let code = header
                .to_str()
                .ok()
                .and_then(|text| text.trim().parse().ok());
            return Some(Exception { code, mid_stream });
        }
        // Servers before the header (20.x), and those that failed after it was
        // sent: `Code: 60, e.displayText() = …` or `Code: 60. DB::Exception: …`.
        // `X-ClickHouse-Exception-Tag` (25.11) announces how a later exception
        // would be marked, `__exception__`; by itself it is no exception.
        let body = String::from_utf8_lossy(&answer.body);
        if mid_stream {
            let code = body
                .match_indices("Code: ")
                .find_map(|(at, _)| code_at(&body[at..]));
            let marked = body.contains("__exception__");
            return (code.is_some() || marked).then_some(Exception { code, mid_stream });
        }
        code_at(body.trim_start()).map(|code| Exception {
            code: Some(code),
            mid_stream,
        })
    }

    fn outcome(self, answer: &Answer) -> Outcome {
        let known = self.code.and_then(error_codes::lookup);
        let reason = Reason {
            status: Some(answer.status),
            code: self.code,
            may_be_stored: self.mid_stream || !known.is_some_and(|code| code.nothing_stored),
            message: describe(answer, "ClickHouse reported an exception"),
        };
        // ClickHouse answers 400 to errors of parsing and of types, 500 to the
        // rest: that decides about codes newer than the table.
        let by_status = if answer.status == 400 {
            Class::Data
        } else {
            Class::Transient
        };
        let class = match known {
            Some(code) => code.class,
            None if self.code.is_some() => by_status,
            None => Class::Transient,
        };
        if class != Class::Transient && !self.mid_stream && failed_in_reader(&answer.body) {
            // The file is one row group and one block: nothing of it got past
            // the reader.
            return Outcome::Refused(Refusal::Format(Reason {
                may_be_stored: false,
                ..reason
            }));
        }
        match class {
            Class::Transient => Outcome::Unknown(Reason {
                may_be_stored: true,
                ..reason
            }),
            Class::Operator => Outcome::Refused(Refusal::Operator(reason)),
            Class::Data => Outcome::Refused(Refusal::Data(reason)),
        }
    }
}

/// Whether the exception came out of the Parquet reader. The codes don't tell:
/// 33 and 117, which it raises for an encoding that it lacks, may as well come
/// from a view behind it, after the table has its part. ClickHouse names the step
/// of the pipeline (`While executing ParquetV3BlockInputFormat`; `Error while
/// reading Parquet data` up to 20.x), and a view likewise.
fn failed_in_reader(body: &[u8]) -> bool {
    let body = String::from_utf8_lossy(body);
    let in_reader =
        body.contains("While executing Parquet") || body.contains("while reading Parquet data");
    in_reader && !body.contains("while pushing to view")
}

/// The number in `Code: N` followed by `.` or `,`, where `text` starts with it.
fn code_at(text: &str) -> Option<u16> {
    let number = text.strip_prefix("Code: ")?;
    let end = number.find(|c: char| !c.is_ascii_digit())?;
    let (digits, rest) = number.split_at(end);
    if !rest.starts_with(['.', ',']) {
        return None;
    }
    digits.parse().ok()
}

/// Whether ClickHouse had a part in the answer: nginx sends no such header.
fn from_clickhouse(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .any(|name| name.as_str().starts_with("x-clickhouse-"))
}

/// Whether the headers are those of a query that ClickHouse ran to its end.
fn confirmed(headers: &HeaderMap) -> bool {
    headers.contains_key("x-clickhouse-summary") || headers.contains_key("x-clickhouse-query-id")
}

/// `Retry-After` in seconds; a date would need a clock and is left out, since
/// asking again too early costs nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get("retry-after")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// One line about the answer: what we think, who sent it, what it says.
fn describe(answer: &Answer, thought: &str) -> String {
    let header = |name: &str| {
        answer
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let server = header("server").unwrap_or("an unnamed server");
    let text = if header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
        String::new()
    } else {
        one_line(&String::from_utf8_lossy(&answer.body))
    };
    let location = header("location")
        .map(|to| format!(" to {to}"))
        .unwrap_or_default();
    let colon = if text.is_empty() { "" } else { ": " };
    one_line(&format!("{thought}{location} (from {server}){colon}{text}"))
}

/// Text fit for one line of a log: no control characters, bounded.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let line = words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    line.chars().take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
