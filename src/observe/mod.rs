//! How to look inside while it runs: metrics for Prometheus, a health check and
//! a page for people, over HTTP. Reads only; nothing here changes what the
//! rooms do.

pub mod metrics;

use std::io;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often histograms are drained: without it they would keep every sample
/// until somebody asks for them.
const UPKEEP: Duration = Duration::from_secs(5);

/// The media type of Prometheus's text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What `/` says.
const PAGE: &str = concat!(
    "spoolhouse ",
    env!("CARGO_PKG_VERSION"),
    "\n\n/metrics   for Prometheus\n/healthz   200 while it runs\n"
);

/// Serves `/`, `/healthz` and `/metrics` on `listener` until `stop`; requests
/// under way are answered first.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> io::Result<()> {
    let upkeep = tokio::spawn(upkeep(metrics.clone(), stop.clone()));
    let served = axum::serve(listener, routes(metrics))
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .await;
    // The server may also end by an error of its own.
    stop.cancel();
    let _ = upkeep.await;
    served
}

fn routes(metrics: PrometheusHandle) -> Router {
    let metrics = move || async move { ([(CONTENT_TYPE, PROMETHEUS_TEXT)], metrics.render()) };
    Router::new()
        .route("/", get(|| async { PAGE }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

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
        let server = tokio::spawn(serve(listener, handle, stop.clone()));

        let health = fetch(address, "/healthz").await;
        assert!(
            health.starts_with("HTTP/1.1 200") && health.ends_with("ok\n"),
            "{health}"
        );
        let text = fetch(address, "/metrics").await;
        assert!(text.contains("version=0.0.4"), "{text}");
        assert!(fetch(address, "/").await.contains("/metrics"));
        assert!(fetch(address, "/nothing").await.starts_with("HTTP/1.1 404"));

        stop.cancel();
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
