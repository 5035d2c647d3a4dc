//! Every metric of Spoolhouse by name, kind, unit and meaning.

use metrics::Unit;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often a value lay in which range.
    Histogram,
}
use Kind::{Counter, Gauge, Histogram};

/// Metrics whose series have labels: whoever counts them knows their values,
/// all of them few.
pub const LABELLED: [&str; 8] = [
    "spoolhouse_offsets_lost_total",
    "spoolhouse_requests_total",
    "spoolhouse_room_bytes",
    "spoolhouse_room_files",
    "spoolhouse_room_oldest_seconds",
    "spoolhouse_room_rows",
    "spoolhouse_undecodable_payloads_dropped_total",
    "spoolhouse_undecodable_total",
];

/// Name, kind, unit and help.
pub type Metric = (&'static str, Kind, Unit, &'static str);

/// All of them.
pub const METRICS: &[Metric] = &[
    // ingest
    (
        "spoolhouse_records_total",
        Counter,
        Unit::Count,
        "Messages decoded, masked and taken into a segment",
    ),
    (
        "spoolhouse_undecodable_total",
        Counter,
        Unit::Count,
        "Messages that are no HttpLogRecord, kept in undecodable/, by reason",
    ),
    (
        "spoolhouse_texts_replaced_total",
        Counter,
        Unit::Count,
        "Texts in which bytes that are no UTF-8 were replaced",
    ),
    (
        "spoolhouse_redelivered_total",
        Counter,
        Unit::Count,
        "Messages that Kafka handed out again and that were passed over",
    ),
    (
        "spoolhouse_offsets_lost_total",
        Counter,
        Unit::Count,
        "Offsets that Kafka deleted before they were read (gaps.jsonl)",
    ),
    (
        "spoolhouse_commit_failures_total",
        Counter,
        Unit::Count,
        "Offset commits that were not acknowledged and are tried again",
    ),
    (
        "spoolhouse_pauses_total",
        Counter,
        Unit::Count,
        "Times that consumption paused because the spool was full or the disk failed",
    ),
    (
        "spoolhouse_paused",
        Gauge,
        Unit::Count,
        "1 while consumption is paused because the spool is full or the disk fails, else 0",
    ),
    (
        "spoolhouse_paused_seconds_total",
        Counter,
        Unit::Seconds,
        "Whole seconds for which consumption was paused",
    ),
    (
        "spoolhouse_partitions",
        Gauge,
        Unit::Count,
        "Partitions that are being read",
    ),
    (
        "spoolhouse_lag_messages",
        Gauge,
        Unit::Count,
        "Messages between what was read and the end of the log, over all partitions",
    ),
    (
        "spoolhouse_lag_messages_max",
        Gauge,
        Unit::Count,
        "Messages between what was read and the end of the log, of the partition that has most",
    ),
    (
        "spoolhouse_unsealed_age_seconds",
        Gauge,
        Unit::Seconds,
        "Age of the oldest message in Kafka that is not yet on our disk, by the messages' own timestamps",
    ),
    (
        "spoolhouse_retention_seconds",
        Gauge,
        Unit::Seconds,
        "How long the broker keeps the topic's messages, 0 if it does not tell or keeps them for ever",
    ),
    // spool
    (
        "spoolhouse_undecodable_bytes",
        Gauge,
        Unit::Bytes,
        "Size of the files in undecodable/",
    ),
    (
        "spoolhouse_undecodable_payloads_dropped_total",
        Counter,
        Unit::Count,
        "Undecodable messages whose bytes were dropped, by reason; length and hash are kept",
    ),
    (
        "spoolhouse_undecodable_forgotten_total",
        Counter,
        Unit::Count,
        "Undecodable messages of which only a line per file is left in undecodable/dropped.jsonl",
    ),
    (
        "spoolhouse_undecodable_tidy_failures_total",
        Counter,
        Unit::Count,
        "Times that undecodable messages could not be kept within their limits",
    ),
    (
        "spoolhouse_segments_sealed_total",
        Counter,
        Unit::Count,
        "Segments sealed",
    ),
    (
        "spoolhouse_spool_bytes",
        Gauge,
        Unit::Bytes,
        "Size of all files in the spool",
    ),
    (
        "spoolhouse_spool_bytes_max",
        Gauge,
        Unit::Bytes,
        "Budget of the spool: consumption pauses before it is exceeded",
    ),
    (
        "spoolhouse_disk_free_bytes",
        Gauge,
        Unit::Bytes,
        "Free space of the file system that the spool is on",
    ),
    (
        "spoolhouse_disk_free_bytes_min",
        Gauge,
        Unit::Bytes,
        "Free space below which consumption pauses",
    ),
    (
        "spoolhouse_room_files",
        Gauge,
        Unit::Count,
        "Files in a room of the spool",
    ),
    (
        "spoolhouse_room_bytes",
        Gauge,
        Unit::Bytes,
        "Size of the files in a room of the spool",
    ),
    (
        "spoolhouse_room_rows",
        Gauge,
        Unit::Count,
        "Rows (in undecodable/: messages) in a room of the spool",
    ),
    (
        "spoolhouse_room_oldest_seconds",
        Gauge,
        Unit::Seconds,
        "Age of the oldest file in a room of the spool, 0 if there is none",
    ),
    (
        "spoolhouse_oldest_unsent_seconds",
        Gauge,
        Unit::Seconds,
        "Age of the oldest segment or batch that waits for ClickHouse, 0 if none does",
    ),
    (
        "spoolhouse_disk_errors_total",
        Counter,
        Unit::Count,
        "Disk operations that failed and are tried again",
    ),
    (
        "spoolhouse_files_set_aside_total",
        Counter,
        Unit::Count,
        "Files moved to doubtful/, each with its reason beside it",
    ),
    // upload
    (
        "spoolhouse_requests_total",
        Counter,
        Unit::Count,
        "Requests to the proxy, by outcome",
    ),
    (
        "spoolhouse_request_seconds",
        Histogram,
        Unit::Seconds,
        "Time from sending a request to the end of its answer",
    ),
    (
        "spoolhouse_latency_seconds",
        Histogram,
        Unit::Seconds,
        "Time from a record's own timestamp until ClickHouse confirmed it, sampled over the rows of each batch",
    ),
    (
        "spoolhouse_batch_fill_ratio",
        Histogram,
        Unit::Count,
        "Size of the batches that ClickHouse confirmed as a share of the body limit",
    ),
    (
        "spoolhouse_last_success_timestamp_seconds",
        Gauge,
        Unit::Seconds,
        "When ClickHouse last confirmed a batch, 0 before the first since the start",
    ),
    (
        "spoolhouse_next_slot_timestamp_seconds",
        Gauge,
        Unit::Seconds,
        "When the next request may go out; in the past: now",
    ),
    (
        "spoolhouse_attempts_since_success",
        Gauge,
        Unit::Count,
        "Requests since the last that was stored",
    ),
    (
        "spoolhouse_rows_stored_total",
        Counter,
        Unit::Count,
        "Rows that ClickHouse confirmed",
    ),
    (
        "spoolhouse_stored_bytes_total",
        Counter,
        Unit::Bytes,
        "Bytes of the batches that ClickHouse confirmed",
    ),
    (
        "spoolhouse_batches_rejected_total",
        Counter,
        Unit::Count,
        "Batches moved to rejected/, each with its reason beside it",
    ),
    (
        "spoolhouse_slot_interval_seconds",
        Gauge,
        Unit::Seconds,
        "The distance between two slots of the proxy, as configured or learned",
    ),
    (
        "spoolhouse_body_bytes_max",
        Gauge,
        Unit::Bytes,
        "The largest request body, as configured or learned",
    ),
    (
        "spoolhouse_operator_needed",
        Gauge,
        Unit::Count,
        "1 while uploads wait for an operator to mend something, else 0",
    ),
    // the process
    (
        "spoolhouse_started_timestamp_seconds",
        Gauge,
        Unit::Seconds,
        "When the process started",
    ),
];
