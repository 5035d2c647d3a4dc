//! One attempt: everything ready before the slot, the post when it opens, and what is
//! learned and shown of its outcome.
//!
//! The batch is in `sending/`, and the attempt noted, before the first byte leaves.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use super::{DISK_RETRY, Pause, Post, Sender, disk_trouble, report};
use crate::failpoint;
use crate::spool::outlet::Batch;
use crate::upload::answer::Outcome;
use crate::upload::fate::Configured;
use crate::upload::latency::{self, Latency};
use crate::upload::transport::Posted;

/// What goes to disk before a post is written, and a connection made, this long before
/// the slot opens, or twice as long before as it last took: the slot then waits for
/// nothing.
const READY_LEAD_LEAST: Duration = Duration::from_millis(10);

/// ... and at most this long: a person's request can't go first any more.
const READY_LEAD_MAX: Duration = Duration::from_secs(1);

impl Sender {
    /// One attempt at the next slot; gives the post back unless it is done with.
    pub(super) async fn attempt(
        &mut self,
        mut post: Post,
        stop: &CancellationToken,
    ) -> Option<Post> {
        let lead = (self.ready_time * 2).clamp(READY_LEAD_LEAST, READY_LEAD_MAX);
        let wait = self.wait(&mut post).saturating_sub(lead);
        match self.pause(wait, stop).await {
            Pause::Over => {}
            Pause::Stopped => return Some(post),
            Pause::Requested => return self.make_way(post),
        }
        let begun = Instant::now();
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
        let outcome = &posted.outcome;
        let size = post.batch.bytes.len() as u64;
        let pacer = self.pacer_of(&mut post);
        pacer.record(outcome, size, SystemTime::now(), rand::random());
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
        self.show(&posted, &post).await;
        self.tell_request(outcome, &mut post).await;
        self.act(fate, post, stop).await
    }

    /// Moves the batch to `sending/`; after an error the post, unless it is lost (the
    /// file is where it was).
    async fn begin(&self, mut post: Post) -> Result<Post, (Option<Post>, io::Error)> {
        let outlet = self.outlet.clone();
        let moved = tokio::task::spawn_blocking(move || {
            let done = outlet.begin(&mut post.batch);
            (post, done)
        });
        match moved.await {
            Ok((post, Ok(()))) => Ok(post),
            Ok((post, Err(error))) => Err((Some(post), error)),
            Err(panicked) => Err((None, io::Error::other(panicked))),
        }
    }

    /// Posts when the slot opens. What had to be done for it, since `begun`, tells how
    /// long before its slot the next one has to begin.
    async fn post(&mut self, post: &mut Post, begun: Instant) -> Posted {
        let wait = self.wait(post);
        let slot = Instant::now() + wait;
        self.pacer_of(post).sent(SystemTime::now() + wait);
        self.save_pace(post).await;
        self.ready_time = begun.elapsed();
        let body = post.batch.bytes.clone();
        failpoint::hit("post.before");
        let transport = post.lane.as_ref().map_or(&self.transport, |l| &l.transport);
        let posting = transport.post(&post.request, body, slot.into());
        let posted = self.options.view.pulse.during(posting).await;
        failpoint::hit("post.answered");
        self.ready_time += posted.connecting.unwrap_or_default();
        if let Some(left) = posted.left {
            self.pacer_of(post).sent(left);
        }
        posted
    }

    /// Shows what became of an attempt.
    async fn show(&self, posted: &Posted, post: &Post) {
        let latency = match posted.outcome {
            Outcome::Stored => latency_of(&post.batch).await,
            _ => None,
        };
        let pacer = post.lane.as_ref().map_or(&self.pacer, |lane| &lane.pacer);
        let attempt = report::attempt(&posted.outcome, post, posted.took, pacer, latency);
        match post.lane.is_some() {
            true => self.options.view.note_elsewhere(attempt),
            false => report::show(&self.options.view, attempt, &self.pacer),
        }
    }
}

/// How old a batch's records are now that it is stored. Those of a file from
/// outside may be of any age, and tell nothing about the way.
async fn latency_of(batch: &Batch) -> Option<Latency> {
    if batch.is_copy() {
        return None;
    }
    let (batch, now) = (batch.clone(), SystemTime::now());
    let times = tokio::task::spawn_blocking(move || batch.record_times());
    let (latency, samples) = latency::of(times.await.ok()?.ok()?, now)?;
    let histogram = metrics::histogram!("spoolhouse_latency_seconds");
    samples
        .into_iter()
        .for_each(|sample| histogram.record(sample));
    Some(latency)
}
