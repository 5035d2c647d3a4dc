//! The bytes of spool files: what a segment, a batch and a file of undecodable
//! messages look like, and how each is written and read.
//!
//! Invariant: nothing that was read is believed before it was checked; a file of an
//! unknown version is refused, never guessed at; names, order and types of columns
//! never change within a version. May use [`disk`](super::disk) to read a file's end,
//! and [`layout`](super::layout) for names; knows nothing of when files are written.

pub mod batch;
pub mod digest;
pub mod encoding;
pub mod error;
pub mod footer;
pub mod metadata;
pub mod read;
pub mod schema;
pub mod segment;
pub mod undecodable;
