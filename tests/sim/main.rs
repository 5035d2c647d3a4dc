//! The production loops in a simulated world: seeded, in virtual time, one actor at a time.

mod disk;
mod scheduler;
#[path = "../support/mod.rs"]
mod support;
