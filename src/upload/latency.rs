//! How long records took from their own time to ClickHouse's confirmation. Pure:
//! the batch's timestamps and the moment of confirmation are passed in.
//!
//! A record's time has whole seconds and comes from the server that logged it, so
//! a clock that is off shows here; a time that lies ahead counts as no latency.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// One row in so many becomes a sample of the histogram.
const ROWS_PER_SAMPLE: usize = 256;

/// The latency of a batch's records, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Of the youngest.
    pub least_s: f64,
    /// Half of them took no longer.
    pub median_s: f64,
    /// Of the oldest.
    pub most_s: f64,
}

/// The latency of records with these times that were confirmed at `stored`, and
/// samples of it at even steps through the order of time, so that every batch
/// weighs by its rows. `None` without records.
pub fn of(mut times: Vec<u32>, stored: SystemTime) -> Option<(Latency, Vec<f64>)> {
    times.sort_unstable();
    let stored = stored
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let after = |time: &u32| (stored - f64::from(*time)).max(0.0);
    let median = times.len() / 2;
    let latency = Latency {
        least_s: times.last().map(after)?,
        median_s: times.get(median).map(after)?,
        most_s: times.first().map(after)?,
    };
    let samples = times
        .chunks(ROWS_PER_SAMPLE)
        .filter_map(|rows| rows.get(rows.len() / 2));
    Some((latency, samples.map(after).collect()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn latency_runs_from_the_youngest_record_to_the_oldest() {
        let (latency, samples) = of(vec![70, 10, 40], at(100)).unwrap();
        let expected = Latency {
            least_s: 30.0,
            median_s: 60.0,
            most_s: 90.0,
        };
        assert_eq!((latency, samples), (expected, vec![60.0]));
        assert_eq!(of(vec![], at(100)), None);
    }

    #[test]
    fn a_record_from_the_future_has_none() {
        let (latency, samples) = of(vec![500], at(100)).unwrap();
        assert_eq!((latency.most_s, samples), (0.0, vec![0.0]));
    }

    #[test]
    fn a_batch_weighs_by_its_rows() {
        let times = (0..ROWS_PER_SAMPLE as u32 * 10).collect();
        let (_, samples) = of(times, at(1_000_000)).unwrap();
        assert_eq!(samples.len(), 10);
        assert!(samples.is_sorted_by(|a, b| a > b), "{samples:?}");
    }
}
