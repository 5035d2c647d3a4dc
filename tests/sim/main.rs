//! Tests on the simulated disk: what a crash, a power cut or an I/O error leaves behind
//! at any step, and what the next start makes of it. No process, no socket, no real disk;
//! what a test needs of them is simulated. Tests may run in any number at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that can't go on fails, and it lives by the system's clocks and files"
)]

mod bad_files;
mod crash_any_order;
mod crash_every_step;
mod half_moves;
mod replay_undecodable;
mod reset_positions;
mod simulated_disk;
mod support;
mod undecodable_limits;
