//! What these tests share, some of it with other programs.

#[path = "../support/readme.rs"]
pub mod readme;
pub mod validators;
