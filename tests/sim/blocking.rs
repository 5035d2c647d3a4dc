//! Work that may block: an actor of its own, as it has a thread of its own in production.
//! Whoever waits for it may give up waiting, and it goes on all the same.

use spoolhouse::blocking::Blocking;

use crate::scheduler::{current, spawn};

/// Starts an actor of the same process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Actors;

impl Blocking for Actors {
    fn start(&self, work: Box<dyn FnOnce() + Send>) {
        spawn("disk work", current(), work);
    }
}
