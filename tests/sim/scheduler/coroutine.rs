//! Stackful coroutines: the one place of the simulator with `unsafe`.
//!
//! Production code deep inside the spool is synchronous and knows no simulator, so nobody
//! can hand a yielder down to where the disk is touched. It lies in a thread-local
//! instead, set whenever a coroutine runs and null whenever none does.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ptr;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// Room for the encoders of Parquet and Zstandard in a build that is hardly optimized.
const STACK_BYTES: usize = 2 << 20;

thread_local! {
    /// That of the coroutine that runs on this thread.
    static YIELDER: Cell<*const Yielder<(), ()>> = const { Cell::new(ptr::null()) };
    /// Stacks of coroutines that have ended, for the next ones.
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// A coroutine. It must run to its end before it is dropped.
pub(super) struct Fiber(Option<Coroutine<(), (), (), DefaultStack>>);

impl Fiber {
    /// One that will run `work`, which must not panic.
    pub(super) fn new(work: impl FnOnce() + 'static) -> Self {
        // It is handed over on the new stack, where there is room for little.
        let work: Box<dyn FnOnce()> = Box::new(work);
        let stack = STACKS.with_borrow_mut(Vec::pop);
        let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK_BYTES).unwrap());
        Self(Some(Coroutine::with_stack(stack, |yielder, ()| {
            YIELDER.set(yielder);
            work();
        })))
    }

    /// Lets it run until it suspends or ends; whether it has ended.
    pub(super) fn resume(&mut self) -> bool {
        let Some(coroutine) = &mut self.0 else {
            return true;
        };
        let result = coroutine.resume(());
        YIELDER.set(ptr::null());
        if let CoroutineResult::Yield(()) = result {
            return false;
        }
        if let Some(ended) = self.0.take() {
            STACKS.with_borrow_mut(|stacks| stacks.push(ended.into_stack()));
        }
        true
    }
}

/// Suspends the running coroutine until it is resumed.
pub(super) fn suspend() {
    let yielder = YIELDER.get();
    assert!(!yielder.is_null(), "no coroutine runs");
    // SAFETY: `Fiber::resume` sets the pointer to null before it returns, so it is that of
    // the coroutine whose stack this runs on, and that lives in the frame of its entry.
    unsafe { (*yielder).suspend(()) };
    // Others may have run meanwhile, and this coroutine's own yielder has not moved.
    YIELDER.set(yielder);
}
