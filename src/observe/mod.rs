//! How to look inside while it runs: metrics for Prometheus, health checks, a
//! page for people and its figures as `/status.json`, over HTTP; and how to ask a
//! running process for those.
//!
//! Invariant: reads only; nothing here changes what the loops do. Figures come in as
//! values ([`status::Document`]), put up by `commands`: this folder knows neither
//! `ingest` nor `upload` nor the spool, only each loop's pulse.
//!
//! Text from outside (what servers answer, names of files) reaches the page as
//! JSON and is shown as text; the policy below lets the browser run and load
//! nothing but the page's own files.

#![allow(
    clippy::disallowed_methods,
    reason = "serves whoever looks, by the system's clocks"
)]

pub mod board;
pub mod history;
pub mod metrics;
pub mod running;
pub mod status;

use std::io;
use std::time::{Duration, Instant};

use axum::extract::{RawQuery, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use board::Board;

/// How often histograms are drained: without it they would keep every sample
/// until somebody asks for them.
const UPKEEP: Duration = Duration::from_secs(5);

/// The media type of Prometheus's text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Goes with every answer.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// The page's files: path, media type, content.
const PAGE: [(&str, &str, &str); 7] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("page/index.html"),
    ),
    (
        "/page.css",
        "text/css; charset=utf-8",
        include_str!("page/page.css"),
    ),
    (
        "/page.js",
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    ),
    (
        "/chart.js",
        "text/javascript; charset=utf-8",
        include_str!("page/chart.js"),
    ),
    (
        "/flow.js",
        "text/javascript; charset=utf-8",
        include_str!("page/flow.js"),
    ),
    (
        "/words.js",
        "text/javascript; charset=utf-8",
        include_str!("page/words.js"),
    ),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

/// Serves the page, `/status.json`, `/healthz`, `/readyz` and `/metrics` on
/// `listener` until `stop`; requests under way are answered first.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    board: Board,
    stop: CancellationToken,
) -> io::Result<()> {
    let upkeep = tokio::spawn(upkeep(metrics.clone(), stop.clone()));
    let served = axum::serve(listener, routes(metrics, board))
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .await;
    // The server may also end by an error of its own.
    stop.cancel();
    let _ = upkeep.await;
    served
}

fn routes(metrics: PrometheusHandle, board: Board) -> Router {
    let metrics = move || async move { answer(PROMETHEUS_TEXT, metrics.render()) };
    let mut router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/status.json", get(status));
    for (path, kind, content) in PAGE {
        router = router.route(path, get(move || async move { answer(kind, content) }));
    }
    router.with_state(board)
}

fn answer(kind: &'static str, content: impl IntoResponse) -> Response {
    (HEADERS, [(CONTENT_TYPE, kind)], content).into_response()
}

async fn health(State(board): State<Board>) -> Response {
    verdict(board.alive(Instant::now()))
}

async fn readiness(State(board): State<Board>) -> Response {
    verdict(board.ready(Instant::now()))
}

fn verdict(verdict: Result<(), String>) -> Response {
    let (status, text) = match verdict {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    };
    (status, HEADERS, text).into_response()
}

/// The figures; with `?since=MS` only the samples after that moment.
async fn status(State(board): State<Board>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let since = url::form_urlencoded::parse(query.as_bytes())
        .find_map(|(key, value)| (key == "since").then(|| value.parse().ok()).flatten());
    let status = board.status(since.unwrap_or(0), Instant::now());
    (HEADERS, Json(status)).into_response()
}

async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => metrics.run_upkeep(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::history::Sample;
    use super::status::Document;
    use super::*;
    use crate::heartbeat::Heartbeat;

    async fn fetch(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_pages_are_served_until_the_stop() {
        let recorder = metrics::recorder();
        let handle = recorder.handle();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let board = Board::new(vec![("ingest", Heartbeat::default())]);
        let server = tokio::spawn(serve(listener, handle, board.clone(), stop.clone()));

        let health = fetch(address, "/healthz").await;
        assert!(
            health.starts_with("HTTP/1.1 200") && health.ends_with("ok\n"),
            "{health}"
        );
        let text = fetch(address, "/metrics").await;
        assert!(text.contains("version=0.0.4"), "{text}");
        let ready = fetch(address, "/readyz").await;
        assert!(
            ready.starts_with("HTTP/1.1 503") && ready.ends_with("it is starting\n"),
            "{ready}"
        );
        board.put_up(
            None,
            Document::default(),
            Sample::default(),
            SystemTime::now(),
        );
        let ready = fetch(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        for (path, kind, content) in PAGE {
            let page = fetch(address, path).await;
            assert!(page.contains(&format!("content-type: {kind}")), "{page}");
            assert!(page.contains("content-security-policy: default-src 'none'; "));
            assert!(page.ends_with(content), "{path}");
        }
        let all = fetch(address, "/status.json").await;
        assert!(
            all.contains("application/json") && all.contains("at_ms"),
            "{all}"
        );
        let newer = fetch(address, "/status.json?since=99999999999999").await;
        assert!(newer.contains("\"samples\":[]"), "{newer}");
        assert!(fetch(address, "/nothing").await.starts_with("HTTP/1.1 404"));

        stop.cancel();
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
