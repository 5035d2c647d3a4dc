//! Spoolhouse carries HTTP access logs from Kafka to ClickHouse.
//!
//! Imports point only downward. [`commands`] put everything together; [`ingest`]
//! and [`upload`] never meet but in [`spool`]: ingest writes segments into it, upload
//! takes batches out of it, and the spool knows neither Kafka's client nor HTTP.
//! `src/README.md` is where to start reading.

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
