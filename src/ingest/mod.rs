//! Kafka into the spool.

pub mod anonymize;
pub mod columns;
pub mod record;
