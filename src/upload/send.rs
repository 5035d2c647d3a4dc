//! The send loop: wait for the slot, post, act on the outcome. One request at a
//! time, and nothing newer before a batch whose fate is unknown.
//!
//! A batch is in `sending/` before its first byte leaves and is removed only on
//! [`Outcome::Stored`](super::outcome::Outcome::Stored). Trouble is tried again for as long as it takes; the only
//! ways out for a batch are stored, rejected (the data), split (the limit) and
//! doubtful (a limit that fell, an encoding that the server can't read, or settings
//! that were given up, after an attempt of unknown fate). What a person asks for at
//! the command line goes the same way, before what is merely next.

mod attempt;
mod report;
pub mod request_queue;
mod serve_requests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::outcome::disposition::{Disposition, History};
use super::proxy::Proxy;
use super::request::{self, Request, Target};
use super::settings::Settings;
use super::slot::pace_file::{self, Achieved, Saved};
use super::slot::pacer::{PaceOptions, Pacer};
use super::telemetry::View;
use crate::blocking::{self, Blocking, Threads};
use crate::spool::Outlet;
use crate::spool::format::encoding::Encoding;
use crate::spool::outlet::cpu_budget::Effort;
use crate::spool::outlet::{Batch, PackOptions};
use crate::time::{Clock, SystemClock};
use request_queue::RequestQueue;

/// How long to wait before a failed disk operation is tried again.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// How often an empty spool is looked at, should an arrival go unnoticed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Packing starts earlier than its slot by this and twice what it last took, so
/// that the batch is there when the slot opens, also on a machine that is busy.
const PACK_MARGIN: Duration = Duration::from_millis(500);

/// What the upload is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where batches go.
    pub target: Target,
    /// The settings of the insert; a batch freezes those of its packing.
    pub settings: Settings,
    /// Which encodings a batch may use.
    pub encoding: Encoding,
    /// How much CPU time packing may take.
    pub effort: Effort,
    /// What is configured about the proxy.
    pub pace: PaceOptions,
    /// How often a batch is posted that is refused for its data before it goes
    /// to `rejected/`; at least 1.
    pub data_attempts_max: u32,
    /// Where it can be seen how it gets on.
    pub view: View,
}

impl Options {
    /// How a batch of at most `bytes_max` bytes is to be packed.
    pub fn packing(&self, bytes_max: u64) -> PackOptions {
        PackOptions {
            bytes_max,
            settings: self.settings.clone(),
            encoding: self.encoding,
            effort: self.effort,
        }
    }
}

/// What the loop gets from outside: time, a place for what may block, and chance.
#[derive(Clone, Debug)]
pub struct Host {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Where the disk's work runs.
    pub blocking: Arc<dyn Blocking>,
    /// A random number from 0 up to 1, for the jitter of retries.
    pub random: fn() -> f64,
}

impl Default for Host {
    #[expect(
        clippy::disallowed_methods,
        reason = "the system's chance, for whoever hands in no other"
    )]
    /// The system's.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            blocking: Arc::new(Threads),
            random: rand::random,
        }
    }
}

/// Sends batches until `stop` is cancelled. A post that is under way then is
/// waited for: whoever can't wait may drop the future, and the batch stays in
/// `sending/` for the next start.
/// Trouble is tried again for as long as it takes.
pub async fn run<P: Proxy>(
    options: Options,
    proxy: P,
    outlet: Outlet,
    host: Host,
    stop: CancellationToken,
) {
    let mut sender = Sender::new(options, proxy, outlet, host);
    report::register(&sender.pacer);
    let mut post: Option<Post<P>> = None;
    while !stop.is_cancelled() {
        post = match post {
            Some(post) => sender.attempt(post, &stop).await,
            None => sender.find(&stop).await,
        };
    }
}

/// Carries out the requests that lie in `inbox/` and nothing else; returns
/// when each has its final answer, or was withdrawn, or at `stop`.
pub async fn carry_out_requests<P: Proxy>(
    options: Options,
    proxy: P,
    outlet: Outlet,
    host: Host,
    stop: CancellationToken,
) {
    let mut sender = Sender::new(options, proxy, outlet, host);
    let mut post: Option<Post<P>> = None;
    sender.look().await;
    while !stop.is_cancelled() && sender.requests.first().is_some() {
        post = match post {
            Some(post) => sender.attempt(post, &stop).await,
            None => sender.find_requested(&stop).await,
        };
        sender.look().await;
    }
}

/// What can be done about a row that fits into no request.
const TOO_LARGE_ADVICE: &str = "raise client_max_body_size at the proxy and upload.max_body";

/// A batch that is being sent.
#[derive(Debug)]
struct Post<P> {
    batch: Batch,
    request: Request,
    history: History,
    /// The request that it goes for.
    request_id: Option<Uuid>,
    /// The next attempt does not wait for the slot.
    is_early: bool,
    /// Another way than everything else takes.
    other_server: Option<Box<OtherServer<P>>>,
}

/// A server that a request names, with a pace of its own.
#[derive(Debug)]
struct OtherServer<P> {
    target: Target,
    proxy: P,
    pacer: Pacer,
}

struct Sender<P> {
    options: Options,
    outlet: Arc<Outlet>,
    proxy: P,
    host: Host,
    pacer: Pacer,
    pack_time: Duration,
    ready_time: Duration,
    full_batch: Option<Achieved>,
    requests: RequestQueue,
}

impl<P: Proxy> Sender<P> {
    fn new(options: Options, proxy: P, outlet: Outlet, host: Host) -> Self {
        let saved = pace_file::load(&outlet.pace_file());
        let (pace, full_batch) =
            saved.map_or((None, None), |saved| (Some(saved.pace), saved.full_batch));
        Self {
            pacer: Pacer::new(options.pace.clone(), pace),
            outlet: Arc::new(outlet.advising(TOO_LARGE_ADVICE)),
            proxy,
            host,
            options,
            pack_time: Duration::ZERO,
            ready_time: Duration::ZERO,
            full_batch,
            requests: RequestQueue::default(),
        }
    }

    /// Finds what goes next, shortly before its slot opens.
    async fn find(&mut self, stop: &CancellationToken) -> Option<Post<P>> {
        self.look().await;
        if self.requests.first().is_some() {
            return self.find_requested(stop).await;
        }
        let lead = self.pack_time * 2 + PACK_MARGIN;
        let wait = self.pacer.wait(self.host.clock.wall()).saturating_sub(lead);
        if self.pause(wait, stop).await != Pause::Over {
            return None;
        }
        let options = self.options.packing(self.pacer.body_bytes_max());
        let started = self.host.clock.now();
        match self.on_disk(move |outlet| outlet.next(&options)).await {
            Ok(Some(batch)) => {
                self.pack_time = self.host.clock.now().saturating_duration_since(started);
                Some(self.prepare(batch))
            }
            Ok(None) => {
                let outlet = self.outlet.clone();
                tokio::select! {
                    biased;
                    _ = self.pause(LOOK_AGAIN, stop) => {}
                    () = outlet.arrival() => {}
                }
                None
            }
            Err(error) => {
                disk_trouble("packing the next batch", &error);
                self.pause(DISK_RETRY, stop).await;
                None
            }
        }
    }

    fn prepare(&self, batch: Batch) -> Post<P> {
        let request = request::insert(&self.options.target, &batch.digest, &batch.footer.settings);
        if batch.fate_unknown && !batch.is_copy() {
            tracing::info!(
                batch = batch.name(),
                "found in sending/: it may have been stored; posting the same bytes under the same token",
            );
        }
        Post {
            request,
            history: History {
                may_be_stored: batch.fate_unknown,
                ..History::default()
            },
            request_id: None,
            is_early: false,
            other_server: None,
            batch,
        }
    }

    /// Puts the batch where it belongs; gives the post back if it goes again.
    async fn act(
        &mut self,
        fate: Disposition,
        mut post: Post<P>,
        stop: &CancellationToken,
    ) -> Option<Post<P>> {
        let mut batch = post.batch.clone();
        let done = match fate {
            Disposition::Again => return Some(post),
            Disposition::AgainRecalled => {
                let recalled =
                    self.on_disk(move |outlet| outlet.recall(&mut batch).map(|()| batch));
                match recalled.await {
                    Ok(batch) => return Some(Post { batch, ..post }),
                    Err(error) => Err(error),
                }
            }
            Disposition::Remove => self.on_disk(move |outlet| outlet.stored(&batch)).await,
            Disposition::Split => {
                let bytes_max = self.pacer_of(&mut post).body_bytes_max();
                self.on_disk(move |outlet| outlet.split(&batch, bytes_max))
                    .await
            }
            Disposition::Reject(reason) => {
                metrics::counter!("spoolhouse_batches_rejected_total").increment(1);
                let why = report::rejection(&reason, &post, self.host.clock.wall());
                self.on_disk(move |outlet| outlet.reject(&batch, &why))
                    .await
            }
            Disposition::Doubt(fault) => {
                self.on_disk(move |outlet| outlet.doubt(&batch, &fault))
                    .await
            }
        };
        if let Err(error) = done {
            // The file is still there: the next look finds it and goes on.
            disk_trouble("putting a sent batch where it belongs", &error);
            self.pause(DISK_RETRY, stop).await;
        }
        None
    }

    /// How long until a post may go.
    fn wait(&mut self, post: &mut Post<P>) -> Duration {
        let now = self.host.clock.wall();
        match post.is_early {
            true => Duration::ZERO,
            false => self.pacer_of(post).wait(now),
        }
    }

    /// The pace of the way that a post takes.
    fn pacer_of<'p>(&'p mut self, post: &'p mut Post<P>) -> &'p mut Pacer {
        match &mut post.other_server {
            Some(other_server) => &mut other_server.pacer,
            None => &mut self.pacer,
        }
    }

    /// Saves what was learned, of the way that everything takes.
    async fn save_pace(&mut self, post: &Post<P>) {
        if post.other_server.is_some() {
            return;
        }
        let mut saved = Saved {
            pace: self.pacer.pace().clone(),
            full_batch: self.full_batch,
        };
        if !post.batch.is_copy() {
            let (rows, bytes) = (post.batch.footer.rows, post.batch.bytes.len() as u64);
            saved.note(Achieved { rows, bytes }, self.pacer.body_bytes_max());
            self.full_batch = saved.full_batch;
        }
        let saving = self.on_disk(move |outlet| pace_file::save(&outlet.pace_file(), &saved));
        if let Err(error) = saving.await {
            disk_trouble("saving the pace", &error);
        }
    }

    /// Runs disk work where it may block.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Outlet) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let outlet = self.outlet.clone();
        blocking::run(&*self.host.blocking, move || work(&outlet))
            .await
            .map_err(io::Error::other)?
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// The time passed.
    Over,
    /// Everything is to stop.
    Stopped,
    /// Somebody asked for something.
    Requested,
}

fn disk_trouble(what: &str, error: &io::Error) {
    metrics::counter!("spoolhouse_disk_errors_total").increment(1);
    tracing::warn!(%error, "{what} failed; nothing is lost, trying again");
}
