//! The production loops in a simulated world: seeded, in virtual time, one actor at a
//! time (`lives.rs` runs whole lives, `scheduler.rs` says how). Beside them the tests on
//! the simulated disk alone: what a crash, a power cut or an I/O error leaves behind at
//! any step, and what the next start makes of it. No process, no socket, no real disk.
//! Tests may run in any number at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that can't go on fails, and it lives by the system's clocks and files"
)]

mod audit;
mod bad_files;
mod blocking;
mod broker;
mod clickhouse;
mod clock;
mod crash_any_order;
mod crash_every_step;
mod disk;
mod half_moves;
mod life;
mod lives;
mod messages;
mod person;
mod plan;
mod process;
mod proxy;
mod replay_undecodable;
mod reset_positions;
mod scheduler;
mod shrink;
mod simulated_disk;
mod support;
mod undecodable_limits;
mod violations;
