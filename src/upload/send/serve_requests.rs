//! What a person asks for at the command line: looked for in `inbox/` whenever
//! the loop waits, put in line, and answered. A request changes what goes next
//! and, if it says so, when; never how.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{DISK_RETRY, OtherServer, Pause, Post, Sender, disk_trouble};
use crate::spool::inbox::{Answer, State};
use crate::spool::outlet::Batch;
use crate::spool::outlet::Brought;
use crate::time::epoch_ms;
use crate::upload::outcome::Outcome;
use crate::upload::proxy::Proxy;
use crate::upload::request::{self, Target};
use crate::upload::send::request_queue::Served;
use crate::upload::slot::pacer::{PaceOptions, Pacer};

/// How often `inbox/` is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl<P: Proxy> Sender<P> {
    /// Waits. A request that comes meanwhile ends the wait.
    pub(super) async fn pause(&mut self, time: Duration, stop: &CancellationToken) -> Pause {
        let end = self.host.clock.now() + time;
        loop {
            if stop.is_cancelled() {
                return Pause::Stopped;
            }
            let left = end.saturating_duration_since(self.host.clock.now());
            if left.is_zero() {
                return Pause::Over;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Pause::Stopped,
                () = self.host.clock.sleep(left.min(LOOK_EVERY)) => {}
            }
            if self.look().await {
                return Pause::Requested;
            }
        }
    }

    /// Looks into `inbox/`; whether there is something new.
    pub(super) async fn look(&mut self) -> bool {
        self.options.view.heartbeat.beat(self.host.clock.now());
        // A copy: whoever waits for this may drop it at any moment.
        let mut requests = self.requests.clone();
        let now = self.host.clock.wall();
        let looked = self
            .on_disk(move |outlet| {
                requests
                    .look(outlet, now)
                    .map(|any_new| (requests, any_new))
            })
            .await;
        match looked {
            Ok((requests, any_new)) => {
                self.requests = requests;
                any_new
            }
            Err(error) => {
                tracing::debug!(%error, "inbox/ can't be read");
                false
            }
        }
    }

    /// Somebody asked for something while a batch waited for its slot: that
    /// batch goes on, for the request if it is what is wanted, or makes way if
    /// no byte of it has left.
    pub(super) fn make_way(&mut self, mut post: Post<P>) -> Option<Post<P>> {
        let Some(served) = self.requests.first() else {
            return Some(post);
        };
        let is_wanted = matches!(&served.wanted, Ok(wanted) if wanted.is_in(&post.batch));
        if post.request_id.is_some() || (post.batch.is_begun() && !is_wanted && served.to.is_none())
        {
            return Some(post);
        }
        if !post.batch.is_begun() || served.to.is_some() {
            return None; // it stays where it is and is found again
        }
        post.request_id = Some(served.id);
        post.is_early = served.now;
        Some(post)
    }

    /// Finds what the oldest request wants, or what must go before it. `None`
    /// once that request is answered.
    pub(super) async fn find_requested(&mut self, stop: &CancellationToken) -> Option<Post<P>> {
        let served = self.requests.first()?.clone();
        let wanted = match &served.wanted {
            Ok(wanted) => wanted.clone(),
            Err(declined) => {
                let end = self
                    .requests
                    .ends(served.id, State::Declined, declined.to_string());
                self.end(end, stop).await;
                return None;
            }
        };
        let other_server = match self.other_server(&served) {
            Ok(other_server) => other_server,
            Err(trouble) => {
                let end = self.requests.ends(served.id, State::Kept, trouble);
                self.end(end, stop).await;
                return None;
            }
        };
        let pacer = other_server
            .as_ref()
            .map_or(&self.pacer, |other_server| &other_server.pacer);
        let options = self.options.packing(pacer.body_bytes_max());
        let leave = served.leave();
        let look = wanted.clone();
        let found = self
            .on_disk(move |outlet| outlet.bring(&look, leave, &options))
            .await;
        let end = match found {
            Ok(Brought::Batch(batch)) => {
                let is_wanted = wanted.is_in(&batch);
                return Some(self.take_on(&served, *batch, is_wanted, other_server).await);
            }
            Ok(Brought::Gone) => self.requests.is_gone(served.id),
            Ok(Brought::Rejected(name)) => {
                let message = format!(
                    "ClickHouse refused the data: rejected/{name}, the .error.json beside it says why"
                );
                self.requests.ends(served.id, State::Kept, message)
            }
            // What was put in line before and can't go on was set aside meanwhile.
            Ok(Brought::Declined(declined)) => {
                let state = match served.is_brought {
                    true => State::Kept,
                    false => State::Declined,
                };
                self.requests.ends(served.id, state, declined.to_string())
            }
            Err(error) => {
                disk_trouble("looking for what was asked for", &error);
                let trouble = format!("the disk: {error}; nothing is lost, trying again");
                let told = self.requests.waits_for(served.id, trouble);
                self.answer(told).await;
                self.pause(DISK_RETRY, stop).await;
                return None;
            }
        };
        self.end(end, stop).await;
        None
    }

    /// Ends a request. One whose answer can't be written is still there, and is found
    /// again: not at once, or a full disk would keep the loop turning without a pause.
    async fn end(&mut self, answer: Option<(Uuid, Answer)>, stop: &CancellationToken) {
        if !self.answer(answer).await {
            self.pause(DISK_RETRY, stop).await;
        }
    }

    /// Makes a post of a batch for a request, or of what goes before it.
    async fn take_on(
        &mut self,
        served: &Served,
        batch: Batch,
        is_wanted: bool,
        other_server: Option<Box<OtherServer<P>>>,
    ) -> Post<P> {
        let mut post = self.prepare(batch);
        if is_wanted {
            if let Some(other_server) = &other_server {
                let (digest, settings) = (&post.batch.digest, &post.batch.footer.settings);
                post.request = request::insert(&other_server.target, digest, settings);
            }
            post.other_server = other_server;
            post.request_id = Some(served.id);
            post.is_early = served.now;
            tracing::info!(batch = post.batch.name(), "asked for at the command line");
        }
        let due = match post.is_early {
            true => self.host.clock.wall(),
            false => self.pacer_of(&mut post).next_at(),
        };
        let answer = match is_wanted {
            true => self.requests.waits(served.id, &post.batch, due),
            false => self.requests.waits_behind(served.id, &post.batch, due),
        };
        self.answer(answer).await;
        post
    }

    /// The way to the server that a request names.
    fn other_server(&self, served: &Served) -> Result<Option<Box<OtherServer<P>>>, String> {
        let Some(url) = &served.to else {
            return Ok(None);
        };
        let proxy = self.proxy.for_url(url);
        let proxy = proxy.map_err(|error| format!("{url}: {error}"))?;
        let pace = PaceOptions {
            url: url.to_string(),
            ..self.options.pace.clone()
        };
        Ok(Some(Box::new(OtherServer {
            target: Target {
                url: url.clone(),
                ..self.options.target.clone()
            },
            proxy,
            pacer: Pacer::new(pace, None),
        })))
    }

    /// Tells whoever waits for this batch what became of the attempt.
    pub(super) async fn tell_request(&mut self, outcome: &Outcome, post: &mut Post<P>) {
        let was_early = std::mem::take(&mut post.is_early);
        let due = self.pacer_of(post).next_at();
        let answer = match post.request_id {
            Some(id) => self
                .requests
                .attempted(id, &post.batch, outcome, was_early, due),
            None => self.requests.attempted_before(&post.batch, outcome, due),
        };
        self.answer(answer).await;
    }

    /// Writes an answer down, if there is one; whether that went well. One that can't
    /// be written is written at the next change, or found out anew by the next look.
    async fn answer(&mut self, answer: Option<(Uuid, Answer)>) -> bool {
        let Some((id, mut answer)) = answer else {
            return true;
        };
        answer.answered_at_ms = epoch_ms(self.host.clock.wall());
        let written = self.on_disk(move |outlet| outlet.answer(id, &answer)).await;
        if let Err(error) = &written {
            disk_trouble("answering the command line", error);
        }
        written.is_ok()
    }
}
