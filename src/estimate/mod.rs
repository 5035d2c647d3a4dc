//! What a rate and a retention take: of ClickHouse's disk, of the proxy, of Kafka and
//! of time. The model behind `spoolhouse estimate`.
//!
//! Invariant: no I/O and no clock; the same inputs give the same figures, each of
//! them with what it rests on. May use `traffic` for the distributions, and of
//! `ingest`, `upload` and `spool` what it would be wrong to calculate otherwise
//! than they do it (a segment's size, how full a batch is).

mod costs;
pub mod disk;
pub mod flow;
pub mod inputs;
pub mod keys;
pub mod part;
pub mod report;
mod sample;
mod spectrum;
