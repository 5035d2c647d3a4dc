//! Tests inside the process, on a real disk: the spool, its files, what becomes a row and
//! what packs and posts it. No broker and no server but those within the process; a test
//! that starts a program of somebody else's holds a place (`support/exclusive.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that can't go on fails, and it lives by the system's clocks and files"
)]

mod exclusive_places;
mod full_batches;
mod golden_directory;
mod masking;
mod open_with_tools;
mod ready_for_the_slot;
mod spool_lifecycle;
mod support;
mod synthetic_traffic;
mod verify_spool;
mod wire_contract;
