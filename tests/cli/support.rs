//! What the tests of this program share with others.

#[path = "../support/exclusive.rs"]
pub mod exclusive;
#[path = "../support/golden.rs"]
pub mod golden;
#[path = "../support/many_files.rs"]
pub mod many_files;
