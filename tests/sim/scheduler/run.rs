//! The life of a simulation: turns are given out until its first actor has returned.
//!
//! Nothing of it outlives it: whoever is left then is unwound.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::coroutine::Fiber;
use super::state::{Actor, Killed, SIM, Sim, State, below};
use super::trace::Trace;
use super::{Process, WORLD, with};

/// What is left to chance, and how much of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides everything.
    pub seed: u64,
    /// Another actor takes over at one touch in so many; 0: only where it must.
    pub switch_one_in: u64,
    /// One touch in so many takes time, …
    pub delay_one_in: u64,
    /// … up to so much.
    pub delay_max: Duration,
    /// More steps than that are a livelock.
    pub steps_max: u64,
    /// More virtual time than that, too.
    pub time_max: Duration,
    /// Whether the trace is kept, not only its hash.
    pub keep_trace: bool,
}

impl Settings {
    /// Turns change often, and nothing takes time.
    pub fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            switch_one_in: 3,
            delay_one_in: 0,
            delay_max: Duration::ZERO,
            steps_max: 1_000_000,
            time_max: Duration::from_secs(100_000),
            keep_trace: false,
        }
    }
}

/// Why a life failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong.
    pub what: String,
    /// Whose turn it was.
    pub actor: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (in {})", self.what, self.actor)
    }
}

/// What is known of a life that is over.
#[derive(Debug)]
pub struct Report {
    /// What its first actor returned, or what went wrong before.
    pub failure: Option<Failure>,
    /// Equal for equal lives.
    pub hash: u64,
    /// What happened, if it was kept.
    pub trace: Vec<String>,
    /// Steps that it took.
    pub steps: u64,
    /// Virtual time that passed.
    pub time: Duration,
    /// Touches, by class.
    pub touches: [u64; 3],
    /// Touches, by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// At which kind of touch which fault struck.
    pub pairs: BTreeSet<(&'static str, &'static str)>,
}

thread_local! {
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
    /// What the last panic of this thread's actors said.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `root` and whatever it spawns, until it returns.
pub fn run(settings: Settings, root: impl FnOnce() -> Result<(), String> + 'static) -> Report {
    catch_panics();
    let sim = Sim {
        now: Duration::ZERO,
        switches: ChaCha8Rng::seed_from_u64(settings.seed),
        draws: ChaCha8Rng::seed_from_u64(settings.seed ^ u64::MAX),
        trace: Trace::new(settings.keep_trace),
        settings,
        actors: BTreeMap::new(),
        next_actor: 0,
        running: None,
        processes: BTreeMap::new(),
        touches: [0; 3],
        armed: BTreeMap::new(),
        steps: 0,
        progress: 0,
        kinds: BTreeMap::new(),
        pairs: BTreeSet::new(),
        failure: None,
        is_over: false,
    };
    assert!(SIM.replace(Some(sim)).is_none(), "one life at a time");
    IS_RUNNING.set(true);
    super::spawn("life", WORLD, move || {
        let done = root();
        with(|sim| match done {
            Ok(()) => sim.is_over = true,
            Err(what) => sim.fail(what),
        });
    });
    while let Some(next) = next_turn() {
        take_turn(next);
        bury_the_dead();
    }
    IS_RUNNING.set(false);
    let sim = SIM.take().expect("nobody else takes it");
    // What actions and hooks hold may look at the simulation when it goes.
    let (hash, trace) = sim.trace.into_parts();
    Report {
        failure: sim.failure,
        hash,
        trace,
        steps: sim.steps,
        time: sim.now,
        touches: sim.touches,
        kinds: sim.kinds,
        pairs: sim.pairs,
    }
}

/// Runs `work` as the first actor of a simulation, until it returns: for tests of the
/// world's parts. Panics inside are passed on.
pub fn simulate<T: 'static>(seed: u64, work: impl FnOnce() -> T + 'static) -> T {
    let done = Rc::new(RefCell::new(None));
    let put = done.clone();
    let report = run(Settings::of_seed(seed), move || {
        let value = work();
        put.replace(Some(value));
        Ok(())
    });
    if let Some(failure) = report.failure {
        panic!("seed {seed}: {failure}");
    }
    done.take().expect("it ended without a failure")
}

impl Sim {
    pub(super) fn spawn(&mut self, name: &str, process: Process, work: impl FnOnce() + 'static) {
        let id = self.next_actor;
        self.next_actor += 1;
        let fiber = Fiber::new(move || {
            if with(Sim::death).flatten().is_some() {
                return;
            }
            if let Err(payload) = catch_unwind(AssertUnwindSafe(work))
                && !payload.is::<Killed>()
            {
                let said = PANIC.take().unwrap_or_else(|| text_of(&*payload));
                with(|sim| sim.fail(said));
            }
        });
        self.actors.insert(
            id,
            Actor {
                name: name.to_owned(),
                process,
                state: State::Ready,
                fiber: Some(fiber),
                kind: "start",
                deadline: None,
            },
        );
    }

    /// Those who could go on now, without time passing.
    fn ready(&self) -> Vec<u64> {
        let is_ready = |actor: &Actor| match actor.state {
            State::Ready => true,
            State::Yielding { since } => since != self.progress,
            State::Waiting { until, .. } => until.is_some_and(|until| until <= self.now),
        };
        let ready = self.actors.iter().filter(|(_, actor)| is_ready(actor));
        ready.map(|(id, _)| *id).collect()
    }

    /// Lets time pass to the next deadline; whether there is one.
    fn pass_time(&mut self) -> bool {
        let deadlines = self.actors.values().filter_map(|actor| match actor.state {
            State::Waiting { until, .. } => until,
            _ => None,
        });
        let Some(next) = deadlines.min() else {
            return false;
        };
        self.now = self.now.max(next);
        if self.now > self.settings.time_max {
            self.fail(format!("no end after {:?}", self.now));
        }
        true
    }

    /// The next one to have a turn.
    fn pick(&mut self) -> Option<u64> {
        if self.is_over {
            return self.actors.keys().next().copied();
        }
        loop {
            let ready = self.ready();
            if ready.is_empty() && !self.pass_time() {
                self.fail("everybody waits, and nothing will come".to_owned());
            }
            if self.is_over {
                return self.actors.keys().next().copied();
            }
            if !ready.is_empty() {
                let place = below(&mut self.switches, ready.len() as u64);
                return ready.get(place as usize).copied();
            }
        }
    }

    /// The actors of processes that died, and those processes.
    fn dead(&self) -> (Vec<u64>, Vec<Process>) {
        let died = |process: &Process| {
            let mortal = self.processes.get(process);
            mortal.is_some_and(|mortal| mortal.death.is_some() && !mortal.is_buried)
        };
        let actors = self.actors.iter();
        let actors = actors.filter(|(_, actor)| died(&actor.process));
        let actors = actors.map(|(id, _)| *id).collect();
        (
            actors,
            self.processes
                .keys()
                .copied()
                .filter(|process| died(process))
                .collect(),
        )
    }
}

/// Asks everybody who waits for something whether it has come, then picks.
fn next_turn() -> Option<u64> {
    let asking = with(|sim| {
        let asks = |actor: &Actor| matches!(actor.state, State::Waiting { asks: true, .. });
        let asking = sim.actors.iter().filter(|(_, actor)| asks(actor));
        asking.map(|(id, _)| *id).collect::<Vec<_>>()
    })?;
    for id in asking {
        resume(id);
    }
    with(Sim::pick).flatten()
}

/// A turn, which counts as progress unless it was spent on yielding again.
fn take_turn(id: u64) {
    let is_yielding = |sim: &mut Sim| {
        let state = sim.actors.get(&id).map(|actor| actor.state);
        matches!(state, Some(State::Yielding { .. }))
    };
    let was_yielding = with(is_yielding).unwrap_or(false);
    resume(id);
    if !was_yielding || !with(is_yielding).unwrap_or(false) {
        with(|sim| sim.progress += 1);
    }
}

/// Lets an actor run until it gives the turn back.
fn resume(id: u64) {
    let fiber = with(|sim| {
        let actor = sim.actors.get_mut(&id)?;
        sim.running = Some(id);
        actor.fiber.take()
    });
    let Some(mut fiber) = fiber.flatten() else {
        return;
    };
    let has_ended = fiber.resume();
    with(|sim| {
        sim.running = None;
        if has_ended {
            sim.actors.remove(&id);
        } else if let Some(actor) = sim.actors.get_mut(&id) {
            actor.fiber = Some(fiber);
        }
    });
}

/// Unwinds the actors of those who were killed, and then does what is left to do.
fn bury_the_dead() {
    loop {
        let (actors, processes) = with(|sim| sim.dead()).unwrap_or_default();
        actors.into_iter().for_each(resume);
        if processes.is_empty() {
            return;
        }
        for process in processes {
            let hook = with(|sim| {
                let mortal = sim.processes.get_mut(&process)?;
                mortal.is_buried = true;
                Some((mortal.hook.take()?, mortal.death?))
            });
            if let Some((hook, death)) = hook.flatten() {
                hook(death);
            }
        }
    }
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic".to_owned())
}

/// Keeps what a panic in a life says, instead of printing it: a life that fails is told
/// with its seed.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match IS_RUNNING.get() {
            true => drop(PANIC.replace(Some(info.to_string()))),
            false => usual(info),
        }));
    });
}
