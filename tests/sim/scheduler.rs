//! Who runs next: one actor at a time, chosen by a seed, in virtual time.
//!
//! An actor is a stackful coroutine on the one thread of its life. Whenever it touches
//! disk, broker, proxy or clock, another may take over; time stands still while anybody
//! can run, and jumps to the next deadline when nobody can. So a seed decides everything,
//! and the same seed lives the same life.
//!
//! Why not somebody else's: *shuttle* wants its own types for locks and threads in
//! production code, and knows neither virtual time nor a process that is killed; *madsim*
//! replaces tokio for the whole tree of dependencies by a `cfg`; *turmoil* simulates a
//! network under tokio, and neither our disk nor the ingest thread is on it. Production
//! code here is asynchronous in the send loop and synchronous in the ingest loop and in
//! the spool, where most of what can go wrong goes wrong; coroutines serve both.

mod coroutine;
mod future;
mod run;
mod state;
mod trace;

use std::fmt;
use std::panic::resume_unwind;
use std::thread::panicking;
use std::time::Duration;

use state::{Action, Killed, SIM, Sim, State, Then, below, once_in};

pub use future::{block_on, sleep_until, wake_at};
pub use run::{Failure, Report, Settings, run, simulate};

/// Who is killed together: the actors of one Spoolhouse process. [`WORLD`] never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(pub u32);

/// Everything that outlives a process: broker, proxy, ClickHouse.
pub const WORLD: Process = Process(0);

/// How a process ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// What it wrote stays as it is.
    Kill,
    /// What was not synced may be gone.
    PowerCut,
}

/// Where a touch belongs: the first word of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Class {
    /// Changes of the disk ("disk.").
    Disk,
    /// Calls of the broker ("broker.").
    Broker,
    /// Steps of a request ("proxy.").
    Proxy,
}

impl Class {
    fn of(kind: &str) -> Option<Self> {
        match kind.split_once('.')?.0 {
            "disk" => Some(Self::Disk),
            "broker" => Some(Self::Broker),
            "proxy" => Some(Self::Proxy),
            _ => None,
        }
    }
}

/// What the life holds, if there is one.
fn with<T>(look: impl FnOnce(&mut Sim) -> T) -> Option<T> {
    SIM.with_borrow_mut(|sim| sim.as_mut().map(look))
}

/// Whether an actor runs, and not unwinding.
fn is_acting() -> bool {
    !panicking() && with(|sim| sim.running.is_some()).unwrap_or(false)
}

/// Gives the turn away; unwinds if the process was killed meanwhile.
fn pause(state: State) {
    pause_or_die(state);
    die_if_killed();
}

fn pause_or_die(state: State) {
    with(|sim| sim.set_state(state));
    coroutine::suspend();
}

/// Unwinds the running actor if its process is dead.
pub fn die_if_killed() {
    if !panicking() && with(Sim::death).flatten().is_some() {
        resume_unwind(Box::new(Killed));
    }
}

/// Called before each operation at the boundary (disk, broker, proxy, clock), with the
/// operation's kind ("broker.commit": one of few, what is counted) and its details (for
/// the trace). Another actor may run before it returns. If the actor's process was killed,
/// it unwinds instead; during an unwind, and outside of a simulation, it does nothing.
///
/// Hold no lock and no `RefCell` borrow of the world's over it.
pub fn touch(kind: &'static str, details: fmt::Arguments<'_>) {
    if touch_to_the_last(kind, details).is_some() {
        die_if_killed();
    }
}

/// [`touch`] for an operation that may have happened although its process died in it: how
/// it died. The caller sees to the operation and then calls [`die_if_killed`].
pub fn touch_to_the_last(kind: &'static str, details: fmt::Arguments<'_>) -> Option<Death> {
    if !is_acting() {
        return None;
    }
    let (then, actions) = with(|sim| sim.touched(kind, details))?;
    actions.into_iter().for_each(|action| action());
    go_on(then);
    with(Sim::death).flatten()
}

/// A touch that changes nothing and is not worth a line of the trace.
pub fn touch_lightly() {
    if !is_acting() {
        return;
    }
    with(Sim::step).into_iter().for_each(go_on);
    die_if_killed();
}

fn go_on(then: Then) {
    match then {
        Then::Stay => {}
        Then::Yield => pause_or_die(State::Ready),
        Then::Sleep(time) => pause_or_die(State::Waiting {
            until: Some(now() + time),
            asks: false,
        }),
    }
}

/// Adds a line to the trace; nobody else runs.
pub fn note(kind: &'static str, details: fmt::Arguments<'_>) {
    with(|sim| sim.note(kind, details));
}

/// Notes that a fault met the running actor at its last touch: what is counted.
pub fn fault(name: &'static str) {
    with(|sim| {
        let kind = sim.running().map_or("", |actor| actor.kind);
        sim.pairs.insert((kind, name));
        sim.note("fault:", format_args!("{name} at {kind}"));
    });
}

/// Ends the life with what is wrong.
pub fn fail(what: String) {
    with(|sim| sim.fail(what));
}

/// Virtual time since the life began.
pub fn now() -> Duration {
    with(|sim| sim.now).unwrap_or_default()
}

/// Others run until this time has come.
pub fn wait_until(time: Duration) {
    while is_acting() && now() < time {
        pause(State::Waiting {
            until: Some(time),
            asks: false,
        });
    }
}

/// Others run until `condition` holds or `limit` has passed (never, if that is
/// [`Duration::MAX`]); whether it holds.
/// It is asked after every turn of somebody else, so it is cheap and touches nothing.
pub fn wait_for(limit: Duration, condition: impl FnMut() -> bool) -> bool {
    let until = (limit < Duration::MAX).then(|| now() + limit);
    wait_for_or(until, condition)
}

/// [`wait_for`] with the time of its end, if it has one.
fn wait_for_or(until: Option<Duration>, mut condition: impl FnMut() -> bool) -> bool {
    let is_late = || until.is_some_and(|until| now() >= until);
    loop {
        if condition() {
            return true;
        }
        if is_late() || !is_acting() {
            return false;
        }
        pause(State::Waiting { until, asks: true });
        if condition() {
            // That was a question, not a turn: when it goes on is the seed's to say.
            pause(State::Ready);
        }
    }
}

/// A number from `0..below` (0 if that is empty), by the life's seed.
pub fn draw(bound: u64) -> u64 {
    with(|sim| below(&mut sim.draws, bound)).unwrap_or(0)
}

/// True once in `n` times (never if that is 0), by the life's seed.
pub fn one_in(n: u64) -> bool {
    with(|sim| once_in(&mut sim.draws, n)).unwrap_or(false)
}

/// Lets somebody else have a turn, in later virtual time if need be; whether there is a
/// simulation.
pub fn let_others_run() -> bool {
    if !is_acting() {
        return false;
    }
    let since = with(|sim| {
        sim.count_step();
        sim.progress
    });
    pause(State::Yielding {
        since: since.unwrap_or_default(),
    });
    true
}

/// Starts an actor. It gets its first turn when the seed says so.
pub fn spawn(name: &str, process: Process, work: impl FnOnce() + 'static) {
    with(|sim| sim.spawn(name, process, work));
}

/// Whose actor runs.
pub fn current() -> Process {
    with(|sim| sim.running().map(|actor| actor.process))
        .flatten()
        .unwrap_or(WORLD)
}

/// Ends a process. Its actors unwind before anybody else has a turn, then what was left
/// with [`on_death`] is called. One that kills its own process goes on to its next touch.
pub fn kill(process: Process, death: Death) {
    if process == WORLD {
        return;
    }
    with(|sim| {
        let mortal = sim.processes.entry(process).or_default();
        mortal.death.get_or_insert(death);
    });
}

/// What is to be done once a process was killed and all its actors are gone.
pub fn on_death(process: Process, hook: impl FnOnce(Death) + 'static) {
    with(|sim| sim.processes.entry(process).or_default().hook = Some(Box::new(hook)));
}

/// Whether a process was killed.
pub fn is_dead(process: Process) -> bool {
    with(|sim| {
        sim.processes
            .get(&process)
            .is_some_and(|mortal| mortal.is_buried)
    })
    .unwrap_or(false)
}

/// Whether any actor of a process is still there.
pub fn is_alive(process: Process) -> bool {
    with(|sim| sim.actors.values().any(|actor| actor.process == process)).unwrap_or(false)
}

/// At the touch of this number (from 0, over the whole life) of a class, `action` is called
/// by whoever touches. It changes what is simulated, and touches nothing.
pub fn at_touch(class: Class, number: u64, action: impl FnOnce() + 'static) {
    let action: Action = Box::new(action);
    with(|sim| {
        sim.armed
            .entry((class as usize, number))
            .or_default()
            .push(action)
    });
}

/// Touches of a kind so far.
pub fn touches(kind: &'static str) -> u64 {
    with(|sim| sim.kinds.get(kind).copied())
        .flatten()
        .unwrap_or(0)
}

#[cfg(test)]
#[path = "scheduler/tests.rs"]
mod tests;
