//! The start: opens a spool and repairs what a crash left.
//!
//! Invariant: nothing unsent is removed and no offset invented. What is to be done is
//! planned from names and footers alone, by a function from values to values
//! ([`recovery_plan`]); then it is carried out, and may be cut short at any step. May
//! use the rest of the spool, but for its ways in and out.

mod error;
mod open;
pub mod recovery_plan;
mod repair;

pub use error::OpenError;
pub(in crate::spool) use repair::mend;
