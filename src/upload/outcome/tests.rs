use http::{HeaderName, HeaderValue};

use super::*;

/// The headers of a real server's (26.x) answer to an insert.
const CLICKHOUSE: &[(&str, &str)] = &[
    ("Content-Type", "text/plain; charset=UTF-8"),
    ("X-ClickHouse-Server-Display-Name", "db1"),
    ("X-ClickHouse-Query-Id", "spoolhouse-00"),
    ("X-ClickHouse-Exception-Tag", "rnhmkbgtusytoqaz"),
    (
        "X-ClickHouse-Summary",
        r#"{"read_rows":"2","written_rows":"4"}"#,
    ),
];

/// What nginx itself sends with its error pages.
const NGINX: &[(&str, &str)] = &[("Server", "nginx/1.22.1"), ("Content-Type", "text/html")];

const PAGE: &str = "<html>\r\n<head><title>nginx</title></head>\r\n</html>\r\n";

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers = headers.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    });
    Answer {
        status,
        headers: headers.collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        complete: true,
    }
}

fn with_code(status: u16, code: &str) -> Answer {
    let mut headers = CLICKHOUSE.to_vec();
    headers.push(("X-ClickHouse-Exception-Code", code));
    answer(
        status,
        &headers,
        "Code: 0. DB::Exception: text decides nothing",
    )
}

/// The variant, in one word.
fn kind(answer: &Answer) -> &'static str {
    match classify(answer) {
        Outcome::Stored => "stored",
        Outcome::Throttled { .. } => "throttled",
        Outcome::TooLarge => "too large",
        Outcome::NotSent(_) => "not sent",
        Outcome::Unknown(_) => "unknown",
        Outcome::Refused(Refusal::Operator(_)) => "operator",
        Outcome::Refused(Refusal::Format(_)) => "format",
        Outcome::Refused(Refusal::Data(_)) => "data",
    }
}

fn reason(answer: &Answer) -> Reason {
    match classify(answer) {
        Outcome::NotSent(reason) | Outcome::Unknown(reason) => reason,
        Outcome::Refused(
            Refusal::Operator(reason) | Refusal::Format(reason) | Refusal::Data(reason),
        ) => reason,
        other => panic!("{other:?} has no reason"),
    }
}

/// What ClickHouse 26.9, 24.x and 20.6 say to an encoding that they lack, and
/// what 26.9 says when a view fails with the reader's code.
#[test]
fn an_error_of_the_parquet_reader_is_told_from_one_of_a_view() {
    let said = |code: &str, text: &str| {
        let mut headers = CLICKHOUSE.to_vec();
        headers.push(("X-ClickHouse-Exception-Code", code));
        answer(400, &headers, text)
    };
    for (code, text) in [
        (
            "117",
            "Code: 117. DB::Exception: Unexpected encoding DELTA_BYTE_ARRAY for type INT64: read stage: ColumnData: column: a: While executing ParquetV3BlockInputFormat. (INCORRECT_DATA)",
        ),
        (
            "33",
            "Code: 33. DB::Exception: Error while reading Parquet data: IOError: DELTA_BYTE_ARRAY only supports BYTE_ARRAY: While executing ParquetBlockInputFormat. (CANNOT_READ_ALL_DATA)",
        ),
        (
            "33",
            "Code: 33. DB::Exception: Error while reading Parquet data: IOError: Not yet implemented: Unsupported encoding.",
        ),
    ] {
        let refused = said(code, text);
        assert_eq!(kind(&refused), "format", "{text}");
        assert!(!reason(&refused).may_be_stored, "{text}");
    }
    let of_view = "Code: 117. DB::Exception: Bad number: while executing 'FUNCTION f': while pushing to view default.v: While executing ParquetV3BlockInputFormat";
    let of_view = said("117", of_view);
    assert_eq!(kind(&of_view), "data");
    assert!(reason(&of_view).may_be_stored);
}

#[test]
fn stored_needs_status_headers_and_an_empty_body_read_to_its_end() {
    assert_eq!(kind(&answer(200, CLICKHOUSE, "")), "stored");
    let cut = Answer {
        complete: false,
        ..answer(200, CLICKHOUSE, "")
    };
    assert_eq!(kind(&cut), "unknown");
    assert_eq!(kind(&answer(200, CLICKHOUSE, "1\n")), "unknown");
    assert_eq!(kind(&answer(200, NGINX, "")), "unknown");
    assert_eq!(kind(&answer(200, &[], "")), "unknown");
    let other_header = [("X-ClickHouse-Format", "TabSeparated")];
    assert_eq!(kind(&answer(200, &other_header, "")), "unknown");
    for status in [201, 202, 204, 206] {
        assert_eq!(kind(&answer(status, CLICKHOUSE, "")), "unknown", "{status}");
    }
}

#[test]
fn what_nginx_answers_by_itself_is_told_from_what_clickhouse_says() {
    let table = [
        (413, "too large"),
        (429, "throttled"),
        (503, "throttled"),
        (408, "unknown"),
        (500, "unknown"),
        (502, "unknown"),
        (504, "unknown"),
        (301, "operator"),
        (307, "operator"),
        (400, "operator"),
        (401, "operator"),
        (403, "operator"),
        (404, "operator"),
        (405, "operator"),
        (411, "operator"),
        (414, "operator"),
        (204, "operator"),
    ];
    for (status, expected) in table {
        assert_eq!(kind(&answer(status, NGINX, PAGE)), expected, "{status}");
    }
}

#[test]
fn a_busy_clickhouse_is_not_a_throttling_proxy() {
    assert_eq!(kind(&with_code(503, "209")), "unknown");
    assert_eq!(kind(&answer(503, CLICKHOUSE, "")), "unknown");
    assert_eq!(kind(&answer(429, CLICKHOUSE, "")), "operator");
    assert_eq!(
        kind(&answer(
            503,
            &[],
            "Code: 202. DB::Exception: Too many queries"
        )),
        "unknown"
    );
}

#[test]
fn retry_after_is_passed_on_in_seconds_and_a_date_is_ignored() {
    let throttled = |value| {
        let answer = answer(503, &[("Server", "nginx"), ("Retry-After", value)], PAGE);
        classify(&answer)
    };
    let retry_after = Some(Duration::from_secs(17));
    assert_eq!(throttled("17"), Outcome::Throttled { retry_after });
    let none = Outcome::Throttled { retry_after: None };
    assert_eq!(throttled("Fri, 31 Dec 1999 23:59:59 GMT"), none);
    assert_eq!(throttled("-1"), none);
}

#[test]
fn the_exception_header_decides_whatever_status_and_text_say() {
    let table = [
        (404, "60", "operator"),
        (404, "81", "operator"),
        (404, "115", "operator"),
        (404, "73", "operator"),
        (403, "516", "operator"),
        (401, "194", "operator"),
        (500, "164", "operator"),
        (400, "53", "operator"),
        (400, "117", "data"),
        (400, "27", "data"),
        (500, "469", "data"),
        (500, "241", "unknown"),
        (500, "252", "unknown"),
        (500, "242", "unknown"),
        (500, "216", "unknown"),
        (408, "159", "unknown"),
        (500, "999", "unknown"),
        (200, "241", "unknown"),
        (200, "60", "operator"),
        // Codes newer than the table: by the status that ClickHouse maps them to.
        (400, "9999", "data"),
        (500, "9999", "unknown"),
        // A code that can't be read is still an exception.
        (200, "abc", "unknown"),
        (400, "", "unknown"),
    ];
    for (status, code, expected) in table {
        assert_eq!(kind(&with_code(status, code)), expected, "{status} {code}");
    }
}

#[test]
fn an_exception_in_the_body_of_a_success_is_never_stored() {
    let old = "Code: 241. DB::Exception: Memory limit (total) exceeded (MEMORY_LIMIT_EXCEEDED)";
    assert_eq!(kind(&answer(200, CLICKHOUSE, old)), "unknown");
    let new = "\r\n__exception__\r\nrnhmkbgtusytoqaz\r\nCode: 469. DB::Exception: constraint";
    let refused = answer(200, CLICKHOUSE, new);
    assert_eq!(kind(&refused), "data");
    assert!(reason(&refused).may_be_stored);
    assert_eq!(
        kind(&answer(200, CLICKHOUSE, "\r\n__exception__\r\nrnhm")),
        "unknown"
    );
    assert_eq!(
        kind(&answer(
            200,
            CLICKHOUSE,
            "1\t2\nCode: 60, e.displayText() = x"
        )),
        "operator"
    );
}

#[test]
fn a_server_too_old_for_the_exception_header_is_understood_by_its_body() {
    // Debian's clickhouse-server 18.16, asked for a format that it doesn't know.
    let headers = [("X-ClickHouse-Server-Display-Name", "old")];
    let body = "Code: 73, e.displayText() = DB::Exception: Unknown format Parquet, e.what() = DB::Exception\n";
    for headers in [&headers[..], &[]] {
        let refused = answer(404, headers, body);
        assert_eq!(kind(&refused), "operator");
        let reason = reason(&refused);
        assert_eq!(reason.code, Some(73));
        assert!(!reason.may_be_stored);
        assert!(
            reason.to_string().contains("code 73 (UNKNOWN_FORMAT)"),
            "{reason}"
        );
        assert!(
            reason.to_string().contains("Unknown format Parquet"),
            "{reason}"
        );
    }
}

#[test]
fn a_page_that_mentions_a_code_is_no_exception() {
    let page = "<html>Code: 60. DB::Exception</html>";
    assert_eq!(kind(&answer(404, NGINX, page)), "operator");
    assert_eq!(reason(&answer(404, NGINX, page)).code, None);
    assert_eq!(kind(&answer(502, NGINX, "Code: sixty")), "unknown");
}

#[test]
fn only_refusals_at_the_door_rule_out_that_rows_were_stored() {
    assert!(!reason(&with_code(404, "115")).may_be_stored);
    assert!(!reason(&answer(404, NGINX, PAGE)).may_be_stored);
    assert!(reason(&with_code(400, "117")).may_be_stored);
    assert!(reason(&with_code(500, "241")).may_be_stored);
    assert!(reason(&with_code(200, "115")).may_be_stored);
}

#[test]
fn a_reason_is_one_bounded_line_without_control_characters() {
    let long = format!(
        "Code: 60. DB::Exception: a\r\nb\u{1b}[31m{}",
        "x".repeat(5000)
    );
    let text = reason(&answer(404, CLICKHOUSE, &long)).to_string();
    assert!(text.chars().count() < 600);
    assert!(!text.chars().any(char::is_control));
}

#[test]
fn a_redirect_names_where_it_wanted_to_go() {
    let headers = [("Server", "nginx"), ("Location", "https://elsewhere/")];
    let reason = reason(&answer(302, &headers, ""));
    assert!(
        reason.to_string().contains("https://elsewhere/"),
        "{reason}"
    );
}

#[test]
fn every_status_without_a_code_has_an_outcome_and_only_200_is_stored() {
    for status in 100..=599 {
        for headers in [CLICKHOUSE, NGINX, &[]] {
            let stored = kind(&answer(status, headers, "")) == "stored";
            assert_eq!(stored, status == 200 && headers == CLICKHOUSE, "{status}");
        }
    }
}
