//! What the send loop needs of HTTP, and nothing more: one attempt at one request.
//!
//! The real one is [`super::transport`]; a simulator puts a proxy and a server in its
//! place that refuse, lose answers and forget as their seed says. What an answer
//! means is decided by neither ([`super::outcome`]).

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use url::Url;

use super::outcome::{Answer, Outcome, classify};
use super::request::Request;

/// What became of one post.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The answer, or what is known without one: not sent, or unknown.
    pub answer: Result<Answer, Outcome>,
    /// When the first byte could leave; `None` if there was no connection.
    pub left: Option<SystemTime>,
    /// How long it took from then, or from when a connection was asked for.
    pub took: Duration,
    /// How long the connection took; `None` if there was none.
    pub connecting: Option<Duration>,
}

impl Posted {
    /// What became of the batch.
    pub fn outcome(&self) -> Outcome {
        match &self.answer {
            Ok(answer) => classify(answer),
            Err(outcome) => outcome.clone(),
        }
    }
}

/// A way to ClickHouse: through the proxy, or to a server that a request names.
pub trait Proxy: Send + Sync + Sized {
    /// Connects, posts `body` when the slot `opens` (a moment away; one that is past
    /// is open) and gives the answer. Ends by itself, after time-outs of its own.
    /// Nothing is tried twice.
    fn post(
        &self,
        request: &Request,
        body: Bytes,
        opens: Instant,
    ) -> impl Future<Output = Posted> + Send;

    /// The same way, as far as options go, to another server.
    ///
    /// # Errors
    /// As for this one.
    fn for_url(&self, url: &Url) -> Result<Self, TransportError>;
}

/// A way to a server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// For example without any root certificate.
    #[error("can't set up the HTTP client")]
    Client(#[source] Box<dyn Error + Send + Sync>),
    /// The file with the certificates can't be used.
    #[error("can't use the certificates in {file}: {problem}")]
    Certificates {
        /// The file.
        file: PathBuf,
        /// Why.
        problem: String,
    },
}
