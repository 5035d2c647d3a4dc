//! What an estimate starts from: what was asked for, and what a live server says of
//! its own rows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::part::Part;
use crate::traffic::{Profile, Shape};
use crate::upload::query::table_sizes::{Sizes, Stored};

/// What an estimate is asked for.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Messages per second, on average over a day.
    pub rate_per_s: f64,
    /// How long totals are kept, days.
    pub retention_days: f64,
    /// How long the log is kept, days.
    pub raw_retention_days: f64,
    /// Which traffic.
    pub profile: Profile,
    /// How its values are distributed.
    pub shape: Shape,
    /// What a live server says of its rows, instead of the fitted costs.
    pub live: Option<Live>,
}

/// Fewer rows than this say little about many.
const ROWS_TELLING: u64 = 1_000_000;

/// What a server told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Live {
    /// Its version.
    pub version: String,
    /// Rows of its log.
    pub log_rows: u64,
    /// Rows of its totals.
    pub totals_rows: u64,
    /// Bytes per row of what has rows there.
    pub bytes_per_row: BTreeMap<Part, f64>,
    /// Bytes of projections that `sql/` does not have, per row of the totals.
    pub other_projections: f64,
    /// What to keep in mind.
    pub notes: Vec<String>,
}

/// A server without rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server has {log_rows} rows in the log and {totals_rows} in totals that a view fills: \
     there is nothing to fit to yet"
)]
pub struct NothingStored {
    log_rows: u64,
    totals_rows: u64,
}

impl Live {
    /// From what the server says.
    ///
    /// # Errors
    /// [`NothingStored`] if there is nothing to fit to.
    pub fn of(sizes: Sizes) -> Result<Self, NothingStored> {
        let Sizes {
            version,
            log,
            totals,
            mut projections,
        } = sizes;
        if log.rows == 0 || totals.rows == 0 {
            return Err(NothingStored {
                log_rows: log.rows,
                totals_rows: totals.rows,
            });
        }
        let mut bytes_per_row = BTreeMap::new();
        let mut missing = Vec::new();
        for part in Part::ALL {
            let stored = match part {
                Part::Log => Some(log),
                Part::Totals => Some(totals),
                projection => projections.remove(projection.name()),
            };
            match stored.and_then(|stored| stored.bytes_per_row()) {
                Some(per_row) => drop(bytes_per_row.insert(part, per_row)),
                None => missing.push(part.name()),
            }
        }
        let others: u64 = projections
            .values()
            .map(|stored: &Stored| stored.bytes)
            .sum();
        let mut notes = Vec::new();
        if log.rows < ROWS_TELLING {
            notes.push(format!(
                "the server has {} rows in its log: fewer than a million say little",
                log.rows
            ));
        }
        if !missing.is_empty() {
            notes.push(format!("the server has no {}", missing.join(", ")));
        }
        Ok(Self {
            version,
            log_rows: log.rows,
            totals_rows: totals.rows,
            bytes_per_row,
            other_projections: others as f64 / totals.rows as f64,
            notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(rows: u64, bytes: u64) -> Stored {
        Stored { rows, bytes }
    }

    #[test]
    fn what_the_server_has_is_fitted_and_the_rest_is_said() {
        let live = Live::of(Sizes {
            version: "26.9".to_owned(),
            log: stored(100, 2_000),
            totals: stored(50, 500),
            projections: BTreeMap::from([
                ("by_address".to_owned(), stored(50, 600)),
                ("pair_by_day".to_owned(), stored(40, 200)),
            ]),
        })
        .unwrap();
        assert_eq!(live.bytes_per_row[&Part::Log], 20.0);
        assert_eq!(live.bytes_per_row[&Part::ByAddress], 12.0);
        assert_eq!(live.other_projections, 4.0);
        assert!(live.notes[0].contains("100 rows"), "{:?}", live.notes);
        assert!(live.notes[1].contains("no without_address, status_and_cache"));
    }

    #[test]
    fn a_server_without_rows_is_nothing_to_fit_to() {
        let sizes = |log, totals| Sizes {
            log: stored(log, 1),
            totals: stored(totals, 1),
            ..Sizes::default()
        };
        for (log, totals) in [(0, 0), (1, 0), (0, 1)] {
            assert!(Live::of(sizes(log, totals)).is_err());
        }
    }
}
