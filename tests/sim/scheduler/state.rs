//! What a simulation is made of, and what a step does to it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::coroutine::Fiber;
use super::trace::Trace;
use super::{Class, Death, Failure, Process, Settings};

/// Thrown through an actor whose process was killed.
pub(super) struct Killed;

thread_local! {
    pub(super) static SIM: RefCell<Option<Sim>> = const { RefCell::new(None) };
}

/// What an actor is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Can go on.
    Ready,
    /// Can go on once somebody else has got on: `since` is how far they had got.
    Yielding { since: u64 },
    /// Waits for a time, if there is one, or (`asks`) for something else before that.
    Waiting { until: Option<Duration>, asks: bool },
}

pub(super) struct Actor {
    pub(super) name: String,
    pub(super) process: Process,
    pub(super) state: State,
    /// Taken out while it runs.
    pub(super) fiber: Option<Fiber>,
    /// The kind of its last touch.
    pub(super) kind: &'static str,
    /// The next time that a future of it asked for.
    pub(super) deadline: Option<Duration>,
}

pub(super) type Action = Box<dyn FnOnce()>;
pub(super) type Hook = Box<dyn FnOnce(Death)>;

#[derive(Default)]
pub(super) struct Mortal {
    pub(super) death: Option<Death>,
    /// Its actors are gone and its hook was called.
    pub(super) is_buried: bool,
    pub(super) hook: Option<Hook>,
}

pub(super) struct Sim {
    pub(super) settings: Settings,
    pub(super) now: Duration,
    pub(super) switches: ChaCha8Rng,
    pub(super) draws: ChaCha8Rng,
    pub(super) actors: BTreeMap<u64, Actor>,
    pub(super) next_actor: u64,
    pub(super) running: Option<u64>,
    pub(super) processes: BTreeMap<Process, Mortal>,
    /// Touches so far, by class.
    pub(super) touches: [u64; 3],
    /// What is to happen at the touch of this number.
    pub(super) armed: BTreeMap<(usize, u64), Vec<Action>>,
    pub(super) trace: Trace,
    pub(super) steps: u64,
    /// Turns in which somebody did more than yield.
    pub(super) progress: u64,
    /// Touches by kind.
    pub(super) kinds: BTreeMap<&'static str, u64>,
    pub(super) pairs: BTreeSet<(&'static str, &'static str)>,
    pub(super) failure: Option<Failure>,
    /// Everybody unwinds.
    pub(super) is_over: bool,
}

/// What becomes of an actor after a touch.
pub(super) enum Then {
    Stay,
    Yield,
    Sleep(Duration),
}

impl Sim {
    pub(super) fn running(&mut self) -> Option<&mut Actor> {
        self.actors.get_mut(&self.running?)
    }

    /// How the process of the running actor ended, if it did.
    pub(super) fn death(&mut self) -> Option<Death> {
        if self.is_over {
            return Some(Death::Kill);
        }
        let process = self.running()?.process;
        self.processes.get(&process)?.death
    }

    pub(super) fn note(&mut self, kind: &'static str, details: fmt::Arguments<'_>) {
        let name = self.running.and_then(|id| self.actors.get(&id));
        let name = name.map_or("", |actor| actor.name.as_str());
        self.trace.note(self.now, name, kind, details);
    }

    pub(super) fn touched(
        &mut self,
        kind: &'static str,
        details: fmt::Arguments<'_>,
    ) -> (Then, Vec<Action>) {
        self.note(kind, details);
        *self.kinds.entry(kind).or_default() += 1;
        if let Some(actor) = self.running() {
            actor.kind = kind;
        }
        let mut actions = Vec::new();
        if let Some(class) = Class::of(kind) {
            let touches = &mut self.touches[class as usize];
            actions = self
                .armed
                .remove(&(class as usize, *touches))
                .unwrap_or_default();
            *touches += 1;
        }
        (self.step(), actions)
    }

    /// Counts a step; whether there may be more.
    pub(super) fn count_step(&mut self) -> bool {
        self.steps += 1;
        let is_fine = self.steps <= self.settings.steps_max;
        if !is_fine {
            self.fail(format!("no end after {} steps", self.steps));
        }
        is_fine
    }

    /// Counts a step and says who runs next.
    pub(super) fn step(&mut self) -> Then {
        if !self.count_step() {
            return Then::Yield;
        }
        if once_in(&mut self.switches, self.settings.delay_one_in) {
            let most = self.settings.delay_max.as_micros() as u64;
            return Then::Sleep(Duration::from_micros(below(&mut self.switches, most)));
        }
        match once_in(&mut self.switches, self.settings.switch_one_in) {
            true => Then::Yield,
            false => Then::Stay,
        }
    }

    /// Ends the life with what is wrong; the first word counts.
    pub(super) fn fail(&mut self, what: String) {
        let actor = self.running().map(|actor| actor.name.clone());
        self.failure.get_or_insert(Failure {
            what,
            actor: actor.unwrap_or_default(),
        });
        self.is_over = true;
    }

    pub(super) fn set_state(&mut self, state: State) {
        if let Some(actor) = self.running() {
            actor.state = state;
        }
    }
}

/// A number from `0..bound`, or 0.
pub(super) fn below(random: &mut ChaCha8Rng, bound: u64) -> u64 {
    match bound {
        0 => 0,
        bound => random.next_u64() % bound,
    }
}

/// True once in `n` times; never if that is 0.
pub(super) fn once_in(random: &mut ChaCha8Rng, n: u64) -> bool {
    n > 0 && below(random, n) == 0
}
