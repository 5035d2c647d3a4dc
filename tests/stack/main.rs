//! Tests on real parts: Kafka, nginx, ClickHouse, Prometheus, terminals, disks, networks.
//! The stack is shared, and each test has names of its own in it; what a test starts for
//! itself holds a place (`support/exclusive.rs`), and what must have the machine for
//! itself says so there.
//!
//! `ops/test` brings the stack up and exports where it is; see `support/stack.rs` for a
//! plain `cargo test --test stack`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that can't go on fails, and it lives by the system's clocks and files"
)]

mod bad_input;
mod canary;
mod check_finds;
mod clock_jumps;
mod dashboards;
mod estimate_from_server;
mod golden_spool_drains;
mod hand_over;
mod network_faults;
mod new_user;
mod nginx_early_answers;
mod observed;
mod positions;
mod real_broker_faults;
mod real_disk_faults;
mod recreated_topic;
mod refused_batches;
mod server_faults;
mod support;
mod terminal_session;
mod totals_answers;
mod totals_tables;
mod transport_security;
mod upload_by_hand;
mod upload_by_hand_cut_short;
