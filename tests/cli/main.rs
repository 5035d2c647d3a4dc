//! Tests of the binary alone: what it says, how it exits, what its page shows. No Kafka
//! and no ClickHouse. A process that goes on holds a place (`support/exclusive.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that can't go on fails, and it lives by the system's clocks and files"
)]

mod command_line;
mod estimate;
mod inspect_files;
mod reports;
mod status_page;
mod support;
