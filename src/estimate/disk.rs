//! How many bytes the rows of a day take in ClickHouse: what they hold times what
//! that costs.
//!
//! The log, the totals and each projection cost so much per row, per byte of
//! information that the order of rows leaves open, and per value that is new there
//! (`Terms`). What is counted follows from the traffic (`keys`); what each costs was
//! fitted (`COSTS`) or, per row, measured on a live server (`server`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::costs::{COSTS, Cost};
use super::keys::Day;
use super::part::Part;
use crate::traffic::Profile;

/// What the rows of a day hold that takes room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Terms {
    /// Rows.
    pub rows: f64,
    /// Bytes of information in when they came, as distances within a key.
    pub times: f64,
    /// Bytes of information in which resource or address, where rows are not
    /// ordered by it.
    pub keys: f64,
    /// Values of what they are ordered by, each of which begins a run of rows.
    pub runs: f64,
    /// Bytes of information in which those are.
    pub names: f64,
    /// Different objects (URLs, sizes) of each granule.
    pub objects: f64,
}

impl Terms {
    pub fn of(part: Part, day: &Day) -> Self {
        let bytes = |rows: f64, bits: f64| rows * bits / 8.0;
        let bits = &day.bits;
        match part {
            Part::Log => Self {
                rows: day.messages,
                times: bytes(day.messages, bits.log_second),
                keys: bytes(day.messages, bits.address),
                runs: day.resources,
                names: bytes(day.resources, bits.next_resource),
                objects: day.urls,
            },
            Part::Totals => Self {
                rows: day.totals,
                times: bytes(day.totals, bits.pair_minute),
                keys: 0.0,
                runs: day.pairs,
                names: 0.0,
                objects: day.objects,
            },
            Part::ByAddress => Self {
                rows: day.totals,
                times: bytes(day.totals, bits.address_minute),
                keys: bytes(day.totals, bits.resource),
                runs: day.addresses,
                names: bytes(day.addresses, bits.next_address),
                objects: 0.0,
            },
            Part::WithoutAddress => Self {
                rows: day.without_address,
                times: bytes(day.without_address, bits.resource_minute),
                runs: day.resources,
                names: bytes(day.resources, bits.next_resource),
                ..Self::default()
            },
            Part::StatusAndCache => Self {
                rows: day.status_and_cache,
                ..Self::default()
            },
            Part::AddressByDay => Self {
                rows: day.address_by_day,
                runs: day.addresses,
                names: bytes(day.addresses, bits.next_address),
                ..Self::default()
            },
            Part::ResourceByDay => Self {
                rows: day.resource_by_day,
                runs: day.resources,
                names: bytes(day.resources, bits.next_resource),
                ..Self::default()
            },
        }
    }

    fn cost(&self, cost: &Cost, profile: Profile) -> f64 {
        let per_row = match profile {
            Profile::Realistic => cost.row_realistic,
            Profile::Uniform => cost.row_uniform,
        };
        self.rows * per_row
            + self.times * cost.time
            + self.keys * cost.key
            + self.runs * cost.run
            + self.names * cost.name
            + self.objects * cost.object
    }
}

/// Rows and bytes of a part, per day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Size {
    /// Rows.
    pub rows: f64,
    /// Bytes, merged.
    pub bytes: f64,
}

/// Sizes by part.
pub(crate) type Sizes = BTreeMap<Part, Size>;

/// By the fitted costs.
pub(crate) fn fitted(day: &Day, profile: Profile) -> Sizes {
    let size = |(part, cost): &(Part, Cost)| {
        let terms = Terms::of(*part, day);
        let bytes = terms.cost(cost, profile);
        (
            *part,
            Size {
                rows: terms.rows,
                bytes,
            },
        )
    };
    COSTS.iter().map(size).collect()
}

/// By bytes per row as they were measured; what was not measured is not there.
pub(crate) fn measured(day: &Day, bytes_per_row: &BTreeMap<Part, f64>) -> Sizes {
    let size = |(part, per_row): (&Part, &f64)| {
        let rows = Terms::of(*part, day).rows;
        let bytes = rows * per_row;
        (*part, Size { rows, bytes })
    };
    bytes_per_row.iter().map(size).collect()
}

/// Bytes of the log.
pub(crate) fn log_bytes(sizes: &Sizes) -> f64 {
    sizes.get(&Part::Log).map_or(0.0, |size| size.bytes)
}

/// Bytes of the totals with their projections.
pub(crate) fn totals_bytes(sizes: &Sizes) -> f64 {
    let of = sizes.iter().filter(|(part, _)| **part != Part::Log);
    of.map(|(_, size)| size.bytes).sum()
}

/// What a retention takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct DiskSpace {
    /// Bytes that are hardly ever enough.
    pub low: f64,
    /// Bytes, on average.
    pub expected: f64,
    /// Bytes to have.
    pub high: f64,
}

impl DiskSpace {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            expected: self.expected + other.expected,
            high: self.high + other.high,
        }
    }
}

/// How far the model may be off: what `ops/bench estimate` accepts, as a share.
pub(crate) const MARGIN: f64 = 0.15;

/// The space for `days` of so many bytes. A day of ClickHouse is dropped whole once
/// its last row is too old, so that half a day more is there on average and a day
/// at most; while a day's parts are merged into one they are there twice.
pub(crate) fn space(bytes_per_day: f64, days: f64) -> DiskSpace {
    let kept = |more: f64| match days > 0.0 {
        true => (days + more) * bytes_per_day,
        false => 0.0,
    };
    DiskSpace {
        low: kept(0.0) * (1.0 - MARGIN),
        expected: kept(0.5),
        high: kept(2.0) * (1.0 + MARGIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_dropped_whole() {
        let space = space(100.0, 7.0);
        assert_eq!((space.low.round(), space.expected), (595.0, 750.0));
        assert_eq!(space.high.round(), 1_035.0);
        assert_eq!(super::space(100.0, 0.0).high, 0.0);
    }

    #[test]
    fn each_part_has_its_cost_once() {
        let parts: Vec<Part> = COSTS.iter().map(|(part, _)| *part).collect();
        assert_eq!(parts, Part::ALL);
    }
}
