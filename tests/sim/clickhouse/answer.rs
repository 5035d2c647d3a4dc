//! What ClickHouse answers over HTTP: its headers, and the status that its
//! `HTTPHandler` gives to an exception.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use spoolhouse::upload::outcome::Answer;
use spoolhouse::upload::outcome::error_codes as codes;

use super::InsertFault;
use super::insert::Extent;

/// How an insert ends that meets a fault: what is stored of it, and what is answered.
pub(super) fn of_fault(met: InsertFault, query_id: &str) -> (Extent, Answer) {
    match met {
        InsertFault::Refused(code) => (Extent::Nothing, exception(code, query_id)),
        InsertFault::Unreadable(code) => (Extent::Nothing, unreadable(code, query_id)),
        InsertFault::Halfway(code) => (Extent::FirstDay, exception(code, query_id)),
        InsertFault::InView(code) => (Extent::Log, in_view(code, query_id)),
        InsertFault::After(code) => (Extent::All, exception(code, query_id)),
        InsertFault::MidStream(code) => (Extent::All, mid_stream(code, query_id)),
        InsertFault::Slow(_) => (Extent::All, success(query_id, 0)),
    }
}

/// An insert went through.
pub(super) fn success(query_id: &str, rows: u64) -> Answer {
    let mut headers = headers(query_id);
    let summary = format!(
        "{{\"read_rows\":\"{rows}\",\"written_rows\":\"{}\"}}",
        rows * 2
    );
    set(&mut headers, "x-clickhouse-summary", &summary);
    Answer {
        status: 200,
        headers,
        body: Bytes::new(),
        complete: true,
    }
}

/// An exception that came before anything was sent.
pub fn exception(code: u16, query_id: &str) -> Answer {
    told(code, query_id, "it is simulated")
}

/// An exception of the Parquet reader: nothing got past it.
pub fn unreadable(code: u16, query_id: &str) -> Answer {
    told(
        code,
        query_id,
        "can't read: While executing ParquetV3BlockInputFormat: While executing SourceFromInputFormat",
    )
}

/// An exception of the view, behind the table itself.
fn in_view(code: u16, query_id: &str) -> Answer {
    let text = "it is simulated: while pushing to view default.http_log_totals_view";
    told(code, query_id, text)
}

fn told(code: u16, query_id: &str, text: &str) -> Answer {
    let mut headers = headers(query_id);
    set(
        &mut headers,
        "x-clickhouse-exception-code",
        &code.to_string(),
    );
    Answer {
        status: status_of(code),
        headers,
        body: message(code, text).into(),
        complete: true,
    }
}

/// An exception behind the beginning of a success.
fn mid_stream(code: u16, query_id: &str) -> Answer {
    Answer {
        body: format!("\r\n__exception__\r\n{}", message(code, "it is simulated")).into(),
        ..success(query_id, 0)
    }
}

fn message(code: u16, text: &str) -> String {
    let name = codes::lookup(code).map_or("SOMETHING_NEW", |code| code.name);
    format!("Code: {code}. DB::Exception: {text}. ({name}) (version 26.9.2.1)\n")
}

/// As `exceptionCodeToHTTPStatus` does it, for the codes that are used here.
fn status_of(code: u16) -> u16 {
    match code {
        159 => 408,
        60 | 81 | 115 => 404,
        192..=194 | 497 | 516 => 403,
        6 | 26 | 27 | 33 | 38 | 41 | 53 | 62 | 69 | 72 | 117 | 131 => 400,
        202 | 209 | 439 | 745 => 503,
        _ => 500,
    }
}

fn headers(query_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    set(&mut headers, "server", "nginx/1.22.1");
    set(&mut headers, "content-type", "text/plain; charset=UTF-8");
    set(
        &mut headers,
        "x-clickhouse-server-display-name",
        "simulated",
    );
    set(&mut headers, "x-clickhouse-query-id", query_id);
    set(&mut headers, "x-clickhouse-timezone", "UTC");
    headers
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).expect("a header");
    headers.insert(HeaderName::from_static(name), value);
}
