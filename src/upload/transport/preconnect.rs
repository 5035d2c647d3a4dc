//! Holds a connection back, ready to be used, until the slot opens.
//!
//! The proxy counts a slot from when it has read a request's headers. A name to
//! resolve, a connection and a TLS handshake take several round trips, each time
//! others: done before, they neither cost time of the slot nor blur the distance
//! between two requests, which is what the pacer learns from.
//!
//! A layer around the client's connector, since nothing lies between a connection
//! and the first byte that leaves on it. Serves one request at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use tokio::time::{Instant, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

/// Shared by the connector and whoever sets the time.
#[derive(Debug, Clone, Default)]
pub(super) struct Preconnect(Arc<Mutex<Times>>);

#[derive(Debug, Clone, Copy, Default)]
struct Times {
    opens: Option<Instant>,
    connected: Option<Instant>,
    passed: Option<Passed>,
}

/// When a connection was let through, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    pub(super) at: Instant,
    pub(super) by_the_wall: SystemTime,
}

impl Preconnect {
    /// The next connection is held until `opens`; if that is past, it goes at once.
    pub(super) fn set(&self, opens: Instant) {
        *self.times() = Times {
            opens: Some(opens),
            ..Times::default()
        };
    }

    /// When the first byte could leave since the gate was set.
    pub(super) fn passed(&self) -> Option<Passed> {
        self.times().passed
    }

    /// When there was a connection since the gate was set.
    pub(super) fn connected(&self) -> Option<Instant> {
        self.times().connected
    }

    async fn hold(&self) {
        let opens = {
            let mut times = self.times();
            times.connected = Some(Instant::now());
            times.opens
        };
        if let Some(opens) = opens {
            sleep_until(opens).await;
        }
        self.times().passed = Some(Passed {
            at: Instant::now(),
            by_the_wall: SystemTime::now(),
        });
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        // Each change is a single assignment: there is nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for Preconnect {
    type Service = Preconnected<S>;

    fn layer(&self, connector: S) -> Preconnected<S> {
        Preconnected {
            connector,
            gate: self.clone(),
        }
    }
}

/// A connector whose connections wait for the gate.
#[derive(Debug, Clone)]
pub(super) struct Preconnected<S> {
    connector: S,
    gate: Preconnect,
}

impl<S, R> Service<R> for Preconnected<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, to: R) -> Self::Future {
        let (connecting, gate) = (self.connector.call(to), self.gate.clone());
        Box::pin(async move {
            let connection = connecting.await?;
            gate.hold().await;
            Ok(connection)
        })
    }
}
