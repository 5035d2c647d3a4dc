//! The spool into ClickHouse: one frozen batch at a time, at each slot of the
//! proxy, deleted only once ClickHouse has confirmed it.
//!
//! [`request`] builds what is posted, [`outcome`] says what became of it and what
//! follows for the batch, and [`slot`] when the next one may go; all three are pure.
//! [`send`] is the loop that acts: it gets batches out of the spool, and reaches
//! ClickHouse through the [`proxy::Proxy`] that it is handed. [`transport`] is the
//! only place that knows an HTTP client; [`query`] asks the server questions.
//!
//! Invariant: a batch is posted only from `sending/`, and removed only when
//! ClickHouse said that it has every row. May touch the spool through its outlet,
//! and knows nothing of Kafka.

pub mod drain_estimate;
pub mod latency;
pub mod outcome;
pub mod proxy;
pub mod query;
pub mod request;
pub mod send;
pub mod settings;
pub mod slot;
pub mod telemetry;
pub mod transport;
