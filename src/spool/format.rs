//! The bytes of spool files.

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
