//! Kafka into the spool.
//!
//! One thread ([`run`]) takes messages in, [`decode`]s and masks them into a
//! [`window`], [`seal`]s the window as a segment every few seconds, and commits only
//! what is sealed ([`commit_tracker`]). Where reading starts, and what becomes of
//! segments whose commit was not acknowledged, is decided at each [`assignment`]. It
//! never stops polling: while the disk can't take more, the partitions are paused.
//!
//! Invariant: an offset is committed only once its record is durable in the spool,
//! and no address gets past [`decode`] unmasked. May touch the spool through its
//! intake, and Kafka through the [`broker::Broker`] that it is handed: [`kafka`] is
//! the only place that knows Kafka's client. Knows nothing of ClickHouse.

pub mod assignment;
pub mod backpressure;
pub mod broker;
pub mod commit;
pub mod commit_tracker;
pub mod decode;
pub mod kafka;
pub mod retry_log;
pub mod run;
pub mod seal;
pub mod telemetry;
pub mod topic_report;
pub mod window;
