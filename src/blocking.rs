//! Where work runs that may block: the disk's, and what takes long to compute.
//!
//! The send loop hands it over and waits, so that the threads of the runtime stay
//! free. Handed in, so that a simulator can run the work where it likes.

use std::fmt;

use tokio::sync::oneshot;

/// A place for work that may block.
pub trait Blocking: fmt::Debug + Send + Sync {
    /// Starts `work`, now or later, on this thread or another.
    fn start(&self, work: Box<dyn FnOnce() + Send>);
}

/// The threads that a Tokio runtime keeps for this.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

impl Blocking for Threads {
    #[expect(clippy::disallowed_methods, reason = "the place for it")]
    fn start(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}

/// The work ended without a result: it panicked, or the runtime is going down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("work on the disk ended without a result")]
pub struct Unfinished;

/// Runs `work` there and gives its result.
///
/// # Errors
/// [`Unfinished`].
pub async fn run<T: Send + 'static>(
    on: &dyn Blocking,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    let (done, result) = oneshot::channel();
    on.start(Box::new(move || {
        // Nobody waits any more if the loop was told to stop.
        let _ = done.send(work());
    }));
    result.await.map_err(|_| Unfinished)
}
