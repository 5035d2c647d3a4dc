//! Every metric of Spoolhouse by name, unit and meaning.
//!
//! Rooms count through the `metrics` facade under these names (imports point
//! downward, so they can't name this file); a test finds every name that a room
//! uses and is not described here. Prometheus's conventions: base units, `_total`
//! for counters.

use metrics::{Unit, describe_counter, describe_gauge};
use metrics_exporter_prometheus::{
    BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}
use Kind::{Counter, Gauge};

/// Name, kind, unit and help.
type Metric = (&'static str, Kind, Unit, &'static str);

const METRICS: &[Metric] = &[
    (
        "spoolhouse_ingest_records_total",
        Counter,
        Unit::Count,
        "Messages read from Kafka and decoded",
    ),
    (
        "spoolhouse_ingest_undecodable_total",
        Counter,
        Unit::Count,
        "Messages that are no HttpLogRecord, kept in undecodable/, by reason",
    ),
    (
        "spoolhouse_ingest_texts_replaced_total",
        Counter,
        Unit::Count,
        "Texts whose invalid UTF-8 was replaced",
    ),
    (
        "spoolhouse_ingest_redelivered_total",
        Counter,
        Unit::Count,
        "Messages that Kafka delivered again and that were left out",
    ),
    (
        "spoolhouse_ingest_lost_offsets_total",
        Counter,
        Unit::Count,
        "Offsets that Kafka deleted before they were read (gaps.jsonl)",
    ),
    (
        "spoolhouse_ingest_segments_total",
        Counter,
        Unit::Count,
        "Segments sealed",
    ),
    (
        "spoolhouse_ingest_commit_failures_total",
        Counter,
        Unit::Count,
        "Offset commits that failed and are tried again",
    ),
    (
        "spoolhouse_ingest_pauses_total",
        Counter,
        Unit::Count,
        "Times that consumption paused because the spool was full",
    ),
    (
        "spoolhouse_spool_bytes",
        Gauge,
        Unit::Bytes,
        "Bytes of all Parquet files in the spool",
    ),
    (
        "spoolhouse_spool_disk_errors_total",
        Counter,
        Unit::Count,
        "Disk operations that failed and are tried again",
    ),
    (
        "spoolhouse_spool_doubtful_files_total",
        Counter,
        Unit::Count,
        "Files set aside in doubtful/",
    ),
    (
        "spoolhouse_upload_requests_total",
        Counter,
        Unit::Count,
        "Requests to the proxy, by outcome",
    ),
    (
        "spoolhouse_upload_rows_total",
        Counter,
        Unit::Count,
        "Rows that ClickHouse confirmed",
    ),
    (
        "spoolhouse_upload_bytes_total",
        Counter,
        Unit::Bytes,
        "Bytes of the batches that ClickHouse confirmed",
    ),
    (
        "spoolhouse_upload_rejected_batches_total",
        Counter,
        Unit::Count,
        "Batches set aside in rejected/",
    ),
];

/// Installs the recorder behind the `metrics` facade, with every metric
/// described, and returns the handle that renders it.
///
/// # Errors
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let recorder = recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    describe();
    Ok(handle)
}

/// A recorder that is not installed.
pub(super) fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new().build_recorder()
}

fn describe() {
    for &(name, kind, unit, help) in METRICS {
        match kind {
            Counter => describe_counter!(name, unit, help),
            Gauge => describe_gauge!(name, unit, help),
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
                Unit::Seconds => assert!(name.ends_with("_seconds"), "{name}"),
                Unit::Bytes => assert!(name.contains("_bytes"), "{name}"),
                _ => {}
            }
            assert!(!help.is_empty() && !help.ends_with('.'), "{name}");
        }
    }

    /// The metrics a file counts: the first argument of the facade's macros.
    fn counted(source: &str) -> impl Iterator<Item = &str> {
        ["counter!(", "gauge!(", "histogram!("]
            .into_iter()
            .flat_map(move |facade| {
                let uses = source.split(facade).skip(1);
                uses.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
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
            for name in counted(&source) {
                let described = METRICS.iter().any(|(known, ..)| *known == name);
                assert!(
                    described,
                    "{name} in {} has no description",
                    file.path().display()
                );
            }
        }
    }

    #[test]
    fn a_count_is_rendered_with_its_help() {
        let recorder = recorder();
        let text = metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!("spoolhouse_ingest_records_total").increment(3);
            recorder.handle().render()
        });
        assert!(
            text.contains("# HELP spoolhouse_ingest_records_total Messages read"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE spoolhouse_ingest_records_total counter"),
            "{text}"
        );
        assert!(text.contains("spoolhouse_ingest_records_total 3"), "{text}");
    }
}
