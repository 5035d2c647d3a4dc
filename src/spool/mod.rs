//! The spool: a directory that holds every record until ClickHouse has it.

pub mod schema;
