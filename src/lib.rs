//! Spoolhouse carries HTTP access logs from Kafka to ClickHouse.
//!
//! Four rooms, and imports that point only downward: `commands` put together
//! [`ingest`], [`upload`] and [`observe`], which know nothing of each other and
//! meet only in [`spool`]: ingest writes segments into it, upload takes batches
//! out of it. The spool knows neither Kafka's client nor HTTP.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests live by the system's clocks and files"
    )
)]

pub mod blocking;
pub mod cli;
pub mod commands;
pub mod config;
pub mod estimate;
pub mod failpoint;
pub mod heartbeat;
pub mod ingest;
pub mod observe;
pub mod preflight;
pub mod spool;
mod text;
pub mod time;
pub mod traffic;
pub mod upload;

/// Readers and builders of the wire contract, generated from `schema/http_log.capnp`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    missing_docs,
    unused_qualifications,
    unsafe_code,
    reason = "generated"
)]
pub mod http_log_capnp {
    include!(concat!(env!("OUT_DIR"), "/http_log_capnp.rs"));
}
