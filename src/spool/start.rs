//! Opens a spool and repairs what a crash left.

pub mod open;
pub mod recovery_plan;
