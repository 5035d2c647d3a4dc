//! The tables and projections of `sql/` that have a size of their own.

use serde::Serialize;

/// What has a size of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// `http_log`
    Log,
    /// `http_log_totals` without its projections.
    Totals,
    /// A projection of the totals.
    ByAddress,
    /// A projection of the totals.
    WithoutAddress,
    /// A projection of the totals.
    StatusAndCache,
    /// A projection of the totals.
    AddressByDay,
    /// A projection of the totals.
    ResourceByDay,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 7] = [
        Part::Log,
        Part::Totals,
        Part::ByAddress,
        Part::WithoutAddress,
        Part::StatusAndCache,
        Part::AddressByDay,
        Part::ResourceByDay,
    ];

    /// Its name in `sql/`.
    pub fn name(self) -> &'static str {
        match self {
            Part::Log => "http_log",
            Part::Totals => "http_log_totals",
            Part::ByAddress => "by_address",
            Part::WithoutAddress => "without_address",
            Part::StatusAndCache => "status_and_cache",
            Part::AddressByDay => "address_by_day",
            Part::ResourceByDay => "resource_by_day",
        }
    }
}
