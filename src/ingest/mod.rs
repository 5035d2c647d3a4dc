//! Kafka into the spool.
//!
//! One thread takes messages in, masks them into a [`window`], seals the window
//! as a segment every few seconds, and commits only what is sealed. It never
//! stops polling: while the disk can't take more, the partitions are paused.

pub mod anonymize;
pub mod broker;
pub mod columns;
pub mod commits;
pub mod complaint;
pub mod consume;
pub mod handover;
pub mod headroom;
pub mod identity;
pub mod kafka;
pub mod positions;
pub mod progress;
pub mod record;
pub mod redecode;
pub mod seal;
pub mod survey;
pub mod take_up;
pub mod window;
