//! What the tests on the simulated disk share.

pub mod driver;
#[path = "../support/segments.rs"]
pub mod segments;
pub mod sim_disk;
pub mod world;
