//! Looks at a spool without owning it, for the commands and for the status.
//!
//! Invariant: changes nothing and takes no lock (but for [`disk_check`], which
//! publishes a file of its own and removes it). The owner may be at work meanwhile, so
//! every answer is one of a moment ago, and a file that moved on is no error.

pub mod directory_stats;
pub mod disk_check;
pub mod inspect;
pub mod snapshot;
pub mod verify;
