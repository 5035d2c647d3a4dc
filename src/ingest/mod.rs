//! Kafka into the spool.

pub mod handover;
pub mod kafka;
