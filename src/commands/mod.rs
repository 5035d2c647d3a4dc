//! The subcommands, one file each: they read the configuration, hand each room
//! its options and put the rooms together.

pub mod produce;
pub mod run;
