//! The recorder behind the `metrics` facade, with every metric that `table`
//! describes.
//!
//! Whoever counts does so through the facade under these names (imports point
//! downward, so nobody can name this file); a test finds every name that is used and
//! not described. Prometheus's conventions: base units, `_total` for counters.

mod table;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use table::Kind::{Counter, Gauge, Histogram};
use table::{LABELLED, METRICS};

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

    use metrics::Unit;

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
    fn every_metric_that_is_counted_is_described() {
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
