//! What a row, a byte of information and a new value cost on disk: the only figures
//! of the estimate that were fitted.
//!
//! `ops/bench estimate --fit` printed them. It measured the tables of `sql/` in the
//! engine of ClickHouse 26.9, each with a day of traffic, merged: realistic and uniform
//! at 10, 50 and 200 messages a second, and realistic with 20000 resources, 200000
//! networks and a skew of 0.7 at 50. Not among them is what the bench holds out: 3000
//! resources, 20000 networks and a skew of 1.2 at 100.

use super::disk::Part;

/// Where they come from.
pub(super) const SOURCE: &str = "src/commands/estimate/costs.rs: fitted by ops/bench estimate --fit to seven days of traffic in \
     ClickHouse 26.9, at 10 to 200 messages a second";

/// Bytes on disk of each of the terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
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
pub(super) const COSTS: [(Part, Cost); 7] = [
    (Part::Log, cost([10.131, 9.359, 1.315, 1.148, 0.021, 1.199, 11.129])), // off by -0.3% to +0.2%
    (Part::Totals, cost([6.143, 9.344, 0.232, 0.000, 4.713, 0.000, 0.739])), // off by -2.0% to +2.4%
    (Part::ByAddress, cost([6.779, 4.397, 1.929, 1.721, 1.090, 2.499, 0.000])), // off by -0.1% to +0.1%
    (Part::WithoutAddress, cost([6.541, 6.422, 1.262, 0.000, 1.117, 1.204, 0.000])), // off by -1.4% to +1.4%
    (Part::StatusAndCache, cost([6.034, 8.027, 0.000, 0.000, 0.000, 0.000, 0.000])), // off by -2.7% to +3.4%
    (Part::AddressByDay, cost([6.683, 6.725, 0.000, 0.000, 1.856, 2.609, 0.000])), // off by -2.6% to +1.5%
    (Part::ResourceByDay, cost([5.988, 4.606, 0.000, 0.000, 2.731, 1.057, 0.000])), // off by -0.8% to +1.6%
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
