//! Every metric of Spoolhouse by name, unit and meaning.
//!
//! Rooms count through the `metrics` facade under these names (imports point
//! downward, so they can't name this file); a test finds every name that a room
//! uses and is not described here. Prometheus's conventions: base units, `_total`
//! for counters.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

/// Bounds of the buckets of every histogram of durations, in seconds.
const SECONDS: [f64; 11] = [
    0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0,
];

/// Bounds of the histograms that measure something else than a short duration.
const BOUNDS: [(&str, &[f64]); 2] = [
    (
        "spoolhouse_latency_seconds",
        &[
            2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 75.0, 90.0, 120.0, 180.0, 300.0, 600.0,
            1_800.0, 3_600.0, 14_400.0, 86_400.0,
        ],
    ),
    (
        "spoolhouse_batch_fill_ratio",
        &[
            0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.97, 0.98, 0.99, 1.0,
        ],
    ),
];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}
use Kind::{Counter, Gauge, Histogram};

/// Metrics whose series have labels: the rooms that count them know their values,
/// all of them few.
const LABELLED: [&str; 8] = [
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
type Metric = (&'static str, Kind, Unit, &'static str);

const METRICS: &[Metric] = &[
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

/// Installs the recorder behind the `metrics` facade, with every metric
/// described and every counter at 0 that has no labels, and returns the handle
/// that renders it.
///
/// # Errors
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let recorder = recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    describe();
    begin_at_zero();
    Ok(handle)
}

/// A recorder that is not installed.
pub(super) fn recorder() -> PrometheusRecorder {
    // Only an empty list of bounds is refused.
    let with_bounds = || {
        let mut builder = PrometheusBuilder::new().set_buckets(&SECONDS)?;
        for (name, bounds) in BOUNDS {
            builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)?;
        }
        Ok::<_, BuildError>(builder)
    };
    with_bounds()
        .unwrap_or_else(|_| PrometheusBuilder::new())
        .build_recorder()
}

fn describe() {
    for &(name, kind, unit, help) in METRICS {
        match kind {
            Counter => describe_counter!(name, unit, help),
            Gauge => describe_gauge!(name, unit, help),
            Histogram => describe_histogram!(name, unit, help),
        }
    }
}

/// A counter that appears with its first event has no increase then: whoever
/// looks at rates would not see that event.
fn begin_at_zero() {
    for &(name, kind, ..) in METRICS {
        if kind == Counter && !LABELLED.contains(&name) {
            metrics::counter!(name).absolute(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut seen = BTreeSet::new();
        for (name, kind, unit, help) in METRICS {
            assert!(seen.insert(name), "{name} is described twice");
            assert!(name.starts_with("spoolhouse_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
            match unit {
                Unit::Seconds => {
                    let name = name.trim_end_matches("_total");
                    assert!(name.ends_with("_seconds"), "{name}");
                }
                Unit::Bytes => assert!(name.contains("_bytes"), "{name}"),
                _ => {}
            }
            assert!(!help.is_empty() && !help.ends_with('.'), "{name}");
        }
    }

    /// The metrics a file counts, and whether with labels: the first argument of
    /// the facade's macros, and whether another follows.
    fn counted(source: &str) -> impl Iterator<Item = (&str, bool)> {
        ["counter!(", "gauge!(", "histogram!("]
            .into_iter()
            .flat_map(move |facade| {
                let uses = source.split(facade).skip(1);
                uses.filter_map(|rest| {
                    let (name, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
                    Some((name, rest.starts_with(',')))
                })
            })
    }

    #[test]
    fn every_metric_that_a_room_counts_is_described() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for file in walkdir::WalkDir::new(sources) {
            let file = file.unwrap();
            let is_rust = file
                .path()
                .extension()
                .is_some_and(|extension| extension == "rs");
            if !is_rust || file.path().ends_with("observe/metrics.rs") {
                continue;
            }
            let source = std::fs::read_to_string(file.path()).unwrap();
            for (name, labelled) in counted(&source) {
                let place = file.path().display();
                let described = METRICS.iter().any(|(known, ..)| *known == name);
                assert!(described, "{name} in {place} has no description");
                assert_eq!(LABELLED.contains(&name), labelled, "{name} in {place}");
            }
        }
    }

    #[test]
    fn a_counter_without_labels_begins_at_zero() {
        let recorder = recorder();
        let text = metrics::with_local_recorder(&recorder, || {
            begin_at_zero();
            recorder.handle().render()
        });
        let counters = METRICS.iter().filter(|(_, kind, ..)| *kind == Counter);
        for (name, ..) in counters {
            let zero = text.lines().any(|line| line == format!("{name} 0"));
            assert_eq!(zero, !LABELLED.contains(name), "{name} in {text}");
        }
    }

    #[test]
    fn a_count_is_rendered_with_its_help() {
        let recorder = recorder();
        let text = metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!("spoolhouse_records_total").increment(3);
            recorder.handle().render()
        });
        assert!(
            text.contains("# HELP spoolhouse_records_total Messages decoded"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE spoolhouse_records_total counter"),
            "{text}"
        );
        assert!(text.contains("spoolhouse_records_total 3"), "{text}");
    }
}
