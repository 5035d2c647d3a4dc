//! Which tests of a program may run at the same time. The test harness starts as many
//! at once as the machine has cores, whatever they do; what a test needs beside its own
//! thread is said here.
//!
//! - Whoever starts a process or a server of their own holds a [`place`]. There are as
//!   many as cores, within limits: so neither `--test-threads` nor a large machine makes
//!   more brokers and databases at once than memory holds. The helpers in `support` that
//!   start something take the place, so that no test forgets it.
//! - Whoever looks at a clock more closely than a busy machine keeps it, or loads all of
//!   the machine, calls [`quiet`] first: nobody else holds a place meanwhile.
//!
//! A test's thread has one place, whatever it starts, and gives it back with the last
//! thing that it started. So nobody waits for a place while holding one.
#![allow(dead_code)] // every program uses its own part of it

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, Weak};

/// Also with one core, for most tests wait most of the time.
const PLACES_MIN: usize = 2;

/// Each place may stand for a broker or a database: a gigabyte.
const PLACES_MAX: usize = 8;

/// A number of places, and who has them.
#[derive(Debug)]
pub struct Places {
    all: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    waiting_for_all: usize,
}

/// Places that are held until this is dropped.
#[derive(Debug)]
pub struct Held<'p> {
    places: &'p Places,
    count: usize,
}

impl Places {
    /// So many.
    pub const fn new(all: usize) -> Self {
        let state = State {
            taken: 0,
            waiting_for_all: 0,
        };
        Self {
            all,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Waits for a place. Those that wait for all of them go first, or they would wait
    /// until the last test has ended.
    pub fn one(&self) -> Held<'_> {
        let state = self.state.lock().unwrap();
        let is_full = |state: &mut State| state.taken >= self.all || state.waiting_for_all > 0;
        let mut state = self.changed.wait_while(state, is_full).unwrap();
        state.taken += 1;
        Held {
            places: self,
            count: 1,
        }
    }

    /// Waits for all places.
    pub fn all(&self) -> Held<'_> {
        let mut state = self.state.lock().unwrap();
        state.waiting_for_all += 1;
        let is_taken = |state: &mut State| state.taken > 0;
        let mut state = self.changed.wait_while(state, is_taken).unwrap();
        state.waiting_for_all -= 1;
        state.taken = self.all;
        Held {
            places: self,
            count: self.all,
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.places.state.lock().unwrap().taken -= self.count;
        self.places.changed.notify_all();
    }
}

/// The place, or all places, of a test's thread.
pub type Place = Arc<Held<'static>>;

thread_local! {
    static OURS: RefCell<Weak<Held<'static>>> = const { RefCell::new(Weak::new()) };
}

fn places() -> &'static Places {
    static PLACES: std::sync::OnceLock<Places> = std::sync::OnceLock::new();
    PLACES.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(PLACES_MIN, usize::from);
        Places::new(cores.clamp(PLACES_MIN, PLACES_MAX))
    })
}

/// A place for something that this test starts: its own if it has one, else one that
/// is waited for.
pub fn place() -> Place {
    OURS.with_borrow_mut(|ours| match ours.upgrade() {
        Some(place) => place,
        None => {
            let place = Arc::new(places().one());
            *ours = Arc::downgrade(&place);
            place
        }
    })
}

/// All places: waits until nobody else has one, and keeps them out.
///
/// # Panics
/// In a test that holds a place already: two of those would wait for each other.
pub fn quiet() -> Place {
    OURS.with_borrow_mut(|ours| {
        assert!(ours.upgrade().is_none(), "a test asks for quiet first");
        let all = Arc::new(places().all());
        *ours = Arc::downgrade(&all);
        all
    })
}
