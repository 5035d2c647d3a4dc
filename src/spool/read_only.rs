//! Looks at a spool without owning it.

pub mod directory_stats;
pub mod disk_check;
pub mod inspect;
pub mod snapshot;
pub mod verify;
