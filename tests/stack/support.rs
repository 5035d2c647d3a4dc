//! What the tests on real parts share, some of it with other programs.

#[path = "../support/exclusive.rs"]
pub mod exclusive;
#[path = "../support/golden.rs"]
pub mod golden;
pub mod nginx;
pub mod ports;
pub mod prometheus;
#[path = "../support/readme.rs"]
pub mod readme;
pub mod stack;
pub mod terminal;
