//! Asynchronous code in an actor: polled when it was woken or its next time has come.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{now, wait_for_or, with};

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a future to its end in the running actor. It waits for what wakes it and, through
/// [`wake_at`], for virtual time; tokio's channels and tokens work, its timers don't.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    loop {
        set_deadline(None);
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        let until = with(|sim| sim.running().and_then(|actor| actor.deadline)).flatten();
        wait_for_or(until, || flag.0.load(Ordering::Relaxed));
        flag.0.store(false, Ordering::Relaxed);
    }
}

/// Called in a poll: the running actor's future is to be polled again at this time.
pub fn wake_at(time: Duration) {
    let sooner = with(|sim| sim.running().and_then(|actor| actor.deadline)).flatten();
    set_deadline(Some(sooner.map_or(time, |sooner| sooner.min(time))));
}

/// Ends at this time: for futures under [`block_on`].
pub async fn sleep_until(time: Duration) {
    std::future::poll_fn(|_| match now() >= time {
        true => Poll::Ready(()),
        false => {
            wake_at(time);
            Poll::Pending
        }
    })
    .await
}

fn set_deadline(deadline: Option<Duration>) {
    with(|sim| {
        if let Some(actor) = sim.running() {
            actor.deadline = deadline;
        }
    });
}
