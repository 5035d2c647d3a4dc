//! How long a backlog takes to drain: rows per batch as achieved so far, or as a
//! trial had them, and a batch per slot. No I/O, no clock.

use std::time::Duration;

use serde::Serialize;

use super::slot::pace_file::{Achieved, is_full};
use crate::spool::outlet::BYTES_PER_ROW_FIRST;

/// How full packing makes a batch of a backlog, as a share of the body limit:
/// it stops between 97 and 100 percent.
pub const FILL: f64 = 0.985;

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Batches that are frozen.
    pub batches: u64,
    /// Rows that are not yet in a batch.
    pub rows: u64,
}

/// Where a forecast has the size of a full batch from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// The last full batch had as many rows.
    Achieved,
    /// The oldest segments were packed on trial.
    Rehearsed,
    /// Nothing is known yet.
    Supposed,
}

/// When a backlog will be gone, if nothing is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Rows that a full batch takes.
    pub rows_per_batch: u64,
    /// Where that number comes from.
    pub basis: Basis,
    /// Batches that are still to go.
    pub batches: u64,
    /// Seconds until the last of them goes.
    pub seconds: f64,
}

/// Foretells when a backlog is gone: the first batch goes after `wait`, the
/// others follow at `interval`.
pub fn forecast(
    backlog: Backlog,
    full_batch: Option<(Achieved, Basis)>,
    body_bytes_max: u64,
    wait: Duration,
    interval: Duration,
) -> Forecast {
    let (full_batch, basis) = match full_batch {
        Some((batch, basis)) => (Some(batch), basis),
        None => (None, Basis::Supposed),
    };
    let bytes_per_row = full_batch.map_or(BYTES_PER_ROW_FIRST, |batch| {
        batch.bytes as f64 / batch.rows as f64
    });
    let exact = full_batch.filter(|batch| is_full(*batch, body_bytes_max));
    let rows_per_batch = match exact {
        Some(batch) if batch.bytes <= body_bytes_max => batch.rows,
        _ => (body_bytes_max as f64 * FILL / bytes_per_row) as u64,
    }
    .max(1);
    let batches = backlog.batches + backlog.rows.div_ceil(rows_per_batch);
    let slots = batches.saturating_sub(1);
    let seconds = match batches {
        0 => 0.0,
        _ => wait.as_secs_f64() + slots as f64 * interval.as_secs_f64(),
    };
    Forecast {
        rows_per_batch,
        basis,
        batches,
        seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SLOT: Duration = Duration::from_millis(62_500);

    fn of(backlog: Backlog, full_batch: Option<Achieved>, bytes_max: u64) -> Forecast {
        forecast(
            backlog,
            full_batch.map(|batch| (batch, Basis::Achieved)),
            bytes_max,
            Duration::from_secs(10),
            SLOT,
        )
    }

    #[test]
    fn nothing_takes_no_time_and_one_row_takes_one_slot() {
        assert_eq!(of(Backlog::default(), None, MIB).seconds, 0.0);
        let one = Backlog {
            batches: 0,
            rows: 1,
        };
        assert_eq!(of(one, None, MIB).seconds, 10.0);
    }

    #[test]
    fn frozen_batches_go_first_and_full_ones_follow() {
        let full = Some(Achieved {
            rows: 45_000,
            bytes: MIB - 9_000,
        });
        let backlog = Backlog {
            batches: 2,
            rows: 90_001,
        };
        let forecast = of(backlog, full, MIB);
        assert_eq!((forecast.rows_per_batch, forecast.batches), (45_000, 5));
        assert_eq!(forecast.seconds, 10.0 + 4.0 * 62.5);
    }

    #[test]
    fn a_lower_body_limit_takes_rows_in_proportion() {
        let full = Some(Achieved {
            rows: 45_000,
            bytes: MIB,
        });
        let rows = of(Backlog::default(), full, MIB / 2).rows_per_batch;
        assert!((21_500..22_500).contains(&rows), "{rows}");
    }
}
