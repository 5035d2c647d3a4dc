//! Posts one request and reads its answer: the only place that knows an HTTP
//! client.
//!
//! Every post has a connection of its own (nginx drops kept ones after 75 s,
//! and a slot comes only every 62.5 s), ready when the slot opens (`preconnect.rs`), and
//! a `Content-Length` (nginx can then refuse a body that is too large before it
//! counts the request). Nothing is
//! retried, redirected or sent through a proxy from the environment: one call
//! is one attempt. Secrets are read from their file at each post, so that a
//! corrected file heals without a restart, and are never logged.

#![allow(
    clippy::disallowed_methods,
    reason = "the real network keeps real time"
)]

mod preconnect;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Client, RequestBuilder, redirect, retry};
use serde::Deserialize;
use url::Url;

use super::outcome::connect_error;
use super::outcome::{Answer, Outcome, Reason, Refusal};
use super::proxy::{Posted, Proxy, TransportError};
use super::request::Request;
use preconnect::Preconnect;

/// Bytes of an answer's body that are kept; an insert's should be empty.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How user and password are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// In ClickHouse's own headers. A proxy passes them on and never takes them
    /// for its own.
    #[default]
    Headers,
    /// As HTTP's basic authentication, for a proxy that asks for it.
    Basic,
}

/// How to reach the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportOptions {
    /// ClickHouse's user; without one no credentials are sent.
    pub user: Option<String>,
    /// The file with the user's password. Trailing line ends don't count.
    pub password_file: Option<PathBuf>,
    /// How both are sent.
    pub auth: Auth,
    /// Certificates of authorities to trust besides the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Longest wait for name resolution, connection and TLS handshake, and for the
    /// slot thereafter.
    pub connect_timeout: Duration,
    /// Longest time from the start of a post to the end of its answer. Above
    /// the proxy's own 60 s, so that its 504 comes first.
    pub timeout: Duration,
}

impl Default for TransportOptions {
    fn default() -> Self {
        TransportOptions {
            user: None,
            password_file: None,
            auth: Auth::default(),
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(180),
        }
    }
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        Self::Client(error.into())
    }
}

/// The certificates of a PEM file; there is at least one.
///
/// # Errors
/// When it can't be read, or holds none.
pub fn certificates(file: &Path) -> Result<Vec<Certificate>, TransportError> {
    let blame = |problem: String| TransportError::Certificates {
        file: file.to_owned(),
        problem,
    };
    let pem = std::fs::read(file).map_err(|error| blame(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| blame(chain(error)))?;
    if found.is_empty() {
        return Err(blame("it holds no certificate in PEM".to_owned()));
    }
    Ok(found)
}

/// Posts batches, one connection each, one at a time. Holds no secret, only the
/// name of the file with it.
#[derive(Debug)]
pub struct Transport {
    client: Client,
    options: TransportOptions,
    gate: Preconnect,
}

impl Transport {
    /// A transport to a target that speaks `https` if `tls`, else plain `http`.
    ///
    /// # Errors
    /// With `tls`, when the system has no root certificates, or those of the
    /// options can't be used.
    pub fn new(options: TransportOptions, tls: bool) -> Result<Self, TransportError> {
        // Fails when one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let gate = Preconnect::default();
        let mut builder = Client::builder()
            .connector_layer(gate.clone())
            .user_agent(concat!("spoolhouse/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy();
        if !tls {
            // A container without certificates can still post to plain HTTP.
            builder = builder.tls_certs_only([]);
        } else if let Some(file) = &options.ca_file {
            builder = builder.tls_certs_merge(certificates(file)?);
        }
        Ok(Transport {
            client: builder.build()?,
            options,
            gate,
        })
    }

    /// Posts a statement to `url` and gives its answer.
    ///
    /// # Errors
    /// What became of it, if there is no answer.
    pub async fn ask(&self, url: Url, statement: Bytes) -> Result<Answer, Outcome> {
        self.send(url, "text/plain; charset=UTF-8", statement).await
    }

    async fn send(&self, url: Url, kind: &'static str, body: Bytes) -> Result<Answer, Outcome> {
        let post = self.client.post(url).header(CONTENT_TYPE, kind).body(body);
        let post = self.identify(post).map_err(refused_here)?;
        match post.send().await {
            Ok(response) => Ok(read(response).await),
            // Name resolution, connection, TLS: not a byte of the request left.
            Err(error) if error.is_connect() || error.is_builder() => {
                Err(match connect_error::remedy(&error) {
                    Some(remedy) => refused_here(format!("{remedy} ({})", chain(error))),
                    None => Outcome::NotSent(Reason::without_answer(false, chain(error))),
                })
            }
            Err(error) => Err(Outcome::Unknown(Reason::without_answer(true, chain(error)))),
        }
    }

    /// Adds user and password, as secrets that no log shows.
    fn identify(&self, post: RequestBuilder) -> Result<RequestBuilder, String> {
        let Some(user) = &self.options.user else {
            return Ok(post);
        };
        let password = match &self.options.password_file {
            None => String::new(),
            Some(file) => std::fs::read_to_string(file).map_err(|error| {
                format!("can't read the password file {}: {error}", file.display())
            })?,
        };
        let password = password.trim_end_matches(['\r', '\n']);
        if self.options.auth == Auth::Basic {
            return Ok(post.basic_auth(user, Some(password)));
        }
        let header = |what: &str, text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| format!("the {what} holds characters that HTTP can't carry"))
        };
        let user = header("user", user)?;
        let mut password = header("password", password)?;
        password.set_sensitive(true);
        Ok(post
            .header("X-ClickHouse-User", user)
            .header("X-ClickHouse-Key", password))
    }
}

impl Proxy for Transport {
    async fn post(&self, request: &Request, body: Bytes, opens: Instant) -> Posted {
        let begun = Instant::now();
        self.gate.set(opens.into());
        let kind = "application/vnd.apache.parquet";
        let answer = self.send(request.url.clone(), kind, body).await;
        let passed = self.gate.passed();
        Posted {
            answer,
            left: passed.map(|passed| passed.by_the_wall),
            took: passed.map_or(begun, |passed| passed.at.into()).elapsed(),
            connecting: self
                .gate
                .connected()
                .map(|connected| connected.into_std() - begun),
        }
    }

    fn for_url(&self, url: &Url) -> Result<Self, TransportError> {
        Self::new(self.options.clone(), url.scheme() == "https")
    }
}

/// We did not even begin, and no other batch would go either before an operator
/// has acted.
fn refused_here(message: String) -> Outcome {
    Outcome::Refused(Refusal::Operator(Reason::without_answer(false, message)))
}

/// Reads the answer's body to its end, or to the limit.
async fn read(mut response: reqwest::Response) -> Answer {
    let mut body = BytesMut::new();
    let complete = loop {
        match response.chunk().await {
            Ok(Some(_)) if body.len() >= ANSWER_BYTES_MAX => break false,
            Ok(Some(chunk)) => {
                let left = ANSWER_BYTES_MAX - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(left)]);
                if chunk.len() > left {
                    break false;
                }
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: body.freeze(),
        complete,
    }
}

/// The error and its causes on one line, without the (long) URL.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
