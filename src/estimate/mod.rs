//! The model of sizes and times behind `spoolhouse estimate`.

pub(crate) mod costs;
pub(crate) mod disk;
pub(crate) mod flow;
pub(crate) mod keys;
pub(crate) mod report;
pub(crate) mod sample;
pub(crate) mod spectrum;
