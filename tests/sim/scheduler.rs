//! Stub of the scheduler's interface; the bodies come next.

use std::fmt;
use std::time::Duration;

/// Who is killed together: the actors of one Spoolhouse process. [`WORLD`] never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(pub u32);

/// Everything that outlives a process: broker, proxy, ClickHouse, people.
pub const WORLD: Process = Process(0);

/// Called before each operation at the boundary (disk, broker, proxy, clock), with the
/// operation's kind ("broker.commit": one of few, what is counted) and its details (for
/// the trace). Another actor may run before it returns. If the actor's process was killed,
/// it unwinds instead; during an unwind, and outside of a simulation, it does nothing.
///
/// Hold no lock and no `RefCell` borrow of the world's over it.
pub fn touch(_kind: &'static str, _details: fmt::Arguments<'_>) {}

/// Adds a line to the trace; nobody else runs.
pub fn note(_kind: &'static str, _details: fmt::Arguments<'_>) {}

/// Virtual time since the life began.
pub fn now() -> Duration {
    Duration::ZERO
}

/// Others run until this time has come.
pub fn wait_until(_time: Duration) {}

/// Others run until `condition` holds or `limit` has passed; whether it holds.
/// It is asked after every turn of somebody else, so it is cheap and touches nothing.
pub fn wait_for(_limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    condition()
}

/// A number from `0..below` (0 if that is empty), by the life's seed.
pub fn draw(_below: u64) -> u64 {
    0
}

/// True once in `n` times, by the life's seed.
pub fn one_in(n: u64) -> bool {
    draw(n) == 0
}

/// Lets somebody else run, if anybody can, without a touch.
pub fn let_others_run() {}

/// Starts an actor. It gets its first turn when the seed says so.
pub fn spawn(_name: &str, _process: Process, _work: impl FnOnce() + 'static) {}

/// Whose actor runs.
pub fn current() -> Process {
    WORLD
}

/// Runs `work` as the only actor of a simulation (it may spawn others), until all have
/// ended: for tests of the world's parts. Panics inside are passed on.
pub fn simulate<T: 'static>(_seed: u64, work: impl FnOnce() -> T + 'static) -> T {
    work()
}
