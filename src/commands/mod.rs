//! The subcommands: one file each, thin.

pub mod produce;
