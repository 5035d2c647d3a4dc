//! Tests of the binary alone: what it says, how it exits, what its page shows. No Kafka
//! and no ClickHouse. A process that goes on holds a place (`support/exclusive.rs`).

mod command_line;
mod estimate;
mod inspect_files;
mod reports;
mod status_page;
mod support;
