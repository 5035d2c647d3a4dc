//! nginx's own answers: a page in HTML, and no header of ClickHouse's.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use spoolhouse::upload::outcome::Answer;

const SERVER: &str = "nginx/1.22.1";

/// The page for a status.
pub(super) fn page(status: u16) -> Answer {
    let title = match status {
        413 => "413 Request Entity Too Large",
        429 => "429 Too Many Requests",
        502 => "502 Bad Gateway",
        503 => "503 Service Temporarily Unavailable",
        504 => "504 Gateway Time-out",
        _ => "Something Else",
    };
    let body = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
         <center><h1>{title}</h1></center>\r\n<hr><center>{SERVER}</center>\r\n</body>\r\n</html>\r\n"
    );
    let mut headers = HeaderMap::new();
    for (name, value) in [("server", SERVER), ("content-type", "text/html")] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    Answer {
        status,
        headers,
        body: body.into(),
        complete: true,
    }
}

/// 429, and how long to wait.
pub(super) fn too_many(retry_after: Option<u64>) -> Answer {
    let mut answer = page(429);
    if let Some(seconds) = retry_after {
        answer
            .headers
            .insert("retry-after", HeaderValue::from(seconds));
    }
    answer
}

/// What is left of an answer that was cut off.
pub(super) fn cut(answer: Answer) -> Answer {
    Answer {
        body: Bytes::new(),
        complete: false,
        ..answer
    }
}
