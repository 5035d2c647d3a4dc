//! The production loops in a simulated world: seeded, in virtual time, one actor at a time.

mod audit;
mod blocking;
mod broker;
mod clickhouse;
mod clock;
mod disk;
mod life;
mod lives;
mod messages;
mod person;
mod plan;
mod process;
mod proxy;
mod scheduler;
mod shrink;
#[path = "../support/mod.rs"]
mod support;
mod violations;
