//! What a row, a byte of information and a new value cost on disk: the only figures
//! of the estimate that were fitted.
//!
//! `ops/bench estimate --fit` printed them. It measured the tables of `sql/` in the
//! engine of ClickHouse 26.9, each with a day of traffic, merged: realistic and uniform
//! at 10, 50 and 200 messages a second, and realistic with 20000 resources, 200000
//! networks and a skew of 0.7 at 50. Not among them is what the bench holds out: 3000
//! resources, 20000 networks and a skew of 1.2 at 100.

use super::part::Part;

/// Where they come from.
pub(crate) const SOURCE: &str = "src/estimate/costs.rs: fitted by ops/bench estimate --fit to seven days of traffic in \
     ClickHouse 26.9, at 10 to 200 messages a second";

/// Bytes on disk of each of the terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// Of a row, whatever else it holds. A profile's own, since sizes, times, statuses
    /// and methods are distributed differently.
    pub row_realistic: f64,
    /// The same of uniform traffic.
    pub row_uniform: f64,
    /// Of a byte of information in times.
    pub time: f64,
    /// Of a byte of information in keys that rows are not ordered by.
    pub key: f64,
    /// Of a value that begins a run of rows.
    pub run: f64,
    /// Of a byte of information in which value that is.
    pub name: f64,
    /// Of an object that is new in its granule.
    pub object: f64,
}

/// In the order of the fields; behind them what the fit left over.
#[rustfmt::skip]
pub(crate) const COSTS: [(Part, Cost); 7] = [
    (Part::Log, cost([10.131, 9.359, 1.315, 1.148, 0.021, 1.199, 11.129])), // off by -0.3% to +0.2%
    (Part::Totals, cost([6.136, 9.322, 0.238, 0.000, 4.696, 0.000, 0.769])), // off by -2.0% to +2.4%
    (Part::ByAddress, cost([8.076, 9.179, 2.133, 2.135, 1.385, 2.838, 0.000])), // off by -0.2% to +0.2%
    (Part::WithoutAddress, cost([8.678, 14.428, 0.306, 0.000, 1.085, 1.295, 0.000])), // off by -2.0% to +1.8%
    (Part::StatusAndCache, cost([8.161, 11.497, 0.000, 0.000, 0.000, 0.000, 0.000])), // off by -3.8% to +3.9%
    (Part::AddressByDay, cost([8.966, 10.357, 0.000, 0.000, 3.729, 2.281, 0.000])), // off by -2.0% to +2.7%
    (Part::ResourceByDay, cost([8.312, 8.314, 0.000, 0.000, 4.925, 1.432, 0.000])), // off by -1.1% to +0.8%
];

const fn cost(bytes: [f64; 7]) -> Cost {
    let [row_realistic, row_uniform, time, key, run, name, object] = bytes;
    Cost {
        row_realistic,
        row_uniform,
        time,
        key,
        run,
        name,
        object,
    }
}
