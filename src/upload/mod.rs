//! The spool into ClickHouse: one frozen batch at a time, at each slot of the
//! proxy, deleted only once ClickHouse has confirmed it.
//!
//! [`request`] builds what is posted, [`answer`] says what became of it,
//! [`connection`] why there was none, [`fate`] what follows for the batch and
//! [`pacer`] when the next one may go; all five are pure. [`transport`] is the only
//! place that knows an HTTP client, and [`send`] the loop that acts.

pub mod answer;
pub mod codes;
pub mod connection;
pub mod desk;
pub mod fate;
pub mod forecast;
pub mod inquire;
pub mod latency;
pub mod pacer;
pub mod proxy;
pub mod query;
pub mod request;
pub mod send;
pub mod settings;
pub mod sizes;
pub mod transport;
pub mod view;
