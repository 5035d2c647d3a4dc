//! Bytes per row of a live server instead of the fitted ones: one statement in one
//! request, through the proxy at its slot unless told otherwise.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::Serialize;

use super::super::{ConfigFile, Misuse, run};
use crate::config;
use crate::estimate::disk::Part;
use crate::spool::glance;
use crate::spool::layout::Layout;
use crate::upload::answer::{Outcome, Refusal};
use crate::upload::query;
use crate::upload::sizes::{self, Sizes, Stored};

/// Fewer rows than this say little about many.
const ROWS_TELLING: u64 = 1_000_000;

/// What a server told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Live {
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

/// Asks the server at `url`, with the rest of the configuration: at the slot of the
/// proxy, or at once if `direct`.
///
/// # Errors
/// [`Misuse`] for a URL that can't be one, and when the server gave no figures.
pub(crate) fn ask(url: &str, direct: bool, config: &ConfigFile) -> Result<Live> {
    let url = config::target(url).map_err(|problem| Misuse(format!("--from: {problem}")))?;
    let mut loaded = config.load()?;
    let is_other = loaded.config.upload.url != url;
    loaded.config.upload.url = url;
    let layout = Layout::new(&loaded.config.spool.dir);
    let elsewhere = match (direct, is_other) {
        (true, _) => Some("it did not go through the proxy"),
        (_, true) => Some("upload.url is another one"),
        _ => None,
    };
    let question = query::Question {
        statement: sizes::statement(&run::upload_options(&loaded.config).target),
        bytes: 0,
        read: sizes::read,
        at_slot: !direct,
        elsewhere,
    };
    let owner = glance::owner(&layout).unwrap_or_default();
    match query::ask(&loaded, &layout, owner, question).answer {
        Ok(sizes) => live(sizes),
        Err(outcome) => bail!("--from: {}", what_became(&outcome)),
    }
}

fn what_became(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Stored => "the answer holds no figures".to_owned(),
        Outcome::Throttled { .. } => {
            "the proxy let no request through: others take its slots".to_owned()
        }
        Outcome::TooLarge => "the proxy refuses even a small body (413)".to_owned(),
        Outcome::NotSent(reason) => format!("nothing could be sent: {reason}"),
        Outcome::Unknown(reason) => format!("no answer that can be used: {reason}"),
        Outcome::Refused(
            Refusal::Operator(reason) | Refusal::Format(reason) | Refusal::Data(reason),
        ) => format!("it refuses: {reason}"),
    }
}

fn live(sizes: Sizes) -> Result<Live> {
    let Sizes {
        version,
        log,
        totals,
        mut projections,
    } = sizes;
    if log.rows == 0 || totals.rows == 0 {
        bail!(
            "--from: the server has {} rows in the log and {} in totals that a view fills: \
             there is nothing to fit to yet",
            log.rows,
            totals.rows
        );
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
    Ok(Live {
        version,
        log_rows: log.rows,
        totals_rows: totals.rows,
        bytes_per_row,
        other_projections: others as f64 / totals.rows as f64,
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(rows: u64, bytes: u64) -> Stored {
        Stored { rows, bytes }
    }

    #[test]
    fn what_the_server_has_is_fitted_and_the_rest_is_said() {
        let live = live(Sizes {
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
            assert!(live(sizes(log, totals)).is_err());
        }
    }
}
