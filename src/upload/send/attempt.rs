//! One attempt: everything ready before the slot, the post when it opens, and what is
//! learned and shown of its outcome.
//!
//! The batch is in `sending/`, and the attempt noted, before the first byte leaves.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use super::{DISK_RETRY, Pause, Post, Sender, disk_trouble, report};
use crate::blocking;
use crate::failpoint;
use crate::spool::outlet::Batch;
use crate::upload::latency::{self, Latency};
use crate::upload::outcome::Outcome;
use crate::upload::outcome::disposition::Configured;
use crate::upload::proxy::{Posted, Proxy};

/// What goes to disk before a post is written, and a connection made, this long before
/// the slot opens, or twice as long before as it last took: the slot then waits for
/// nothing.
const READY_LEAD_LEAST: Duration = Duration::from_millis(10);

/// ... and at most this long: a person's request can't go first any more.
const READY_LEAD_MAX: Duration = Duration::from_secs(1);

impl<P: Proxy> Sender<P> {
    /// One attempt at the next slot; gives the post back unless it is done with.
    pub(super) async fn attempt(
        &mut self,
        mut post: Post<P>,
        stop: &CancellationToken,
    ) -> Option<Post<P>> {
        let lead = (self.ready_time * 2).clamp(READY_LEAD_LEAST, READY_LEAD_MAX);
        let wait = self.wait(&mut post).saturating_sub(lead);
        match self.pause(wait, stop).await {
            Pause::Over => {}
            Pause::Stopped => return Some(post),
            Pause::Requested => return self.make_way(post),
        }
        let begun = self.host.clock.now();
        let mut post = match self.begin(post).await {
            Ok(post) => post,
            Err((post, error)) => {
                disk_trouble("moving a batch to sending/", &error);
                self.pause(DISK_RETRY, stop).await;
                return post;
            }
        };
        let before = self.pacer_of(&mut post).clone();
        let posted = self.post(&mut post, begun).await;
        let outcome = &posted.outcome();
        let size = post.batch.bytes.len() as u64;
        let (now, jitter) = (self.host.clock.wall(), (self.host.random)());
        self.pacer_of(&mut post).record(outcome, size, now, jitter);
        if post.is_early && matches!(outcome, Outcome::Throttled { .. }) {
            // Nobody expected this slot to be open: that it wasn't teaches nothing.
            *self.pacer_of(&mut post) = before;
        }
        self.save_pace(&post).await;
        let fate = post.history.judge(
            outcome,
            &post.batch.footer,
            Configured {
                settings: &self.options.settings,
                encoding: self.options.encoding,
                data_attempts_max: self.options.data_attempts_max,
            },
        );
        self.show(&posted, outcome, &post).await;
        self.tell_request(outcome, &mut post).await;
        self.act(fate, post, stop).await
    }

    /// Moves the batch to `sending/`; after an error the post, unless it is lost (the
    /// file is where it was).
    async fn begin(&self, mut post: Post<P>) -> Result<Post<P>, (Option<Post<P>>, io::Error)> {
        let (outlet, mut batch) = (self.outlet.clone(), post.batch.clone());
        let moved = blocking::run(&*self.host.blocking, move || {
            let done = outlet.begin(&mut batch);
            (batch, done)
        });
        match moved.await {
            Ok((batch, done)) => {
                post.batch = batch;
                match done {
                    Ok(()) => Ok(post),
                    Err(error) => Err((Some(post), error)),
                }
            }
            Err(unfinished) => Err((None, io::Error::other(unfinished))),
        }
    }

    /// Posts when the slot opens. What had to be done for it, since `begun`, tells how
    /// long before its slot the next one has to begin.
    async fn post(&mut self, post: &mut Post<P>, begun: Instant) -> Posted {
        let wait = self.wait(post);
        let (slot, at) = (self.host.clock.now() + wait, self.host.clock.wall() + wait);
        self.pacer_of(post).sent(at);
        self.save_pace(post).await;
        self.ready_time = self.host.clock.now().saturating_duration_since(begun);
        let body = post.batch.bytes.clone();
        failpoint::hit("post.before");
        let proxy = post
            .other_server
            .as_ref()
            .map_or(&self.proxy, |other_server| &other_server.proxy);
        let posting = proxy.post(&post.request, body, slot);
        let clock = &*self.host.clock;
        let posted = self.options.view.heartbeat.during(posting, clock).await;
        failpoint::hit("post.answered");
        self.ready_time += posted.connecting.unwrap_or_default();
        if let Some(left) = posted.left {
            self.pacer_of(post).sent(left);
        }
        posted
    }

    /// Shows what became of an attempt.
    async fn show(&self, posted: &Posted, outcome: &Outcome, post: &Post<P>) {
        let now = self.host.clock.wall();
        let latency = match outcome {
            Outcome::Stored => self.latency_of(&post.batch, now).await,
            _ => None,
        };
        let pacer = post
            .other_server
            .as_ref()
            .map_or(&self.pacer, |other_server| &other_server.pacer);
        let attempt = report::attempt(outcome, post, posted.took, pacer, latency, now);
        match post.other_server.is_some() {
            true => self.options.view.note_elsewhere(attempt),
            false => report::show(&self.options.view, attempt, &self.pacer),
        }
    }

    /// How old a batch's records are now that it is stored. Those of a file from
    /// outside may be of any age, and tell nothing about the way.
    async fn latency_of(&self, batch: &Batch, now: SystemTime) -> Option<Latency> {
        if batch.is_copy() {
            return None;
        }
        let batch = batch.clone();
        let times = blocking::run(&*self.host.blocking, move || batch.record_times());
        let (latency, samples) = latency::of(times.await.ok()?.ok()?, now)?;
        let histogram = metrics::histogram!("spoolhouse_latency_seconds");
        samples
            .into_iter()
            .for_each(|sample| histogram.record(sample));
        Some(latency)
    }
}
