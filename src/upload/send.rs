//! The send loop: wait for the slot, post, act on the outcome. One request at a
//! time, and nothing newer before a batch whose fate is unknown.
//!
//! A batch is in `sending/` before its first byte leaves and is removed only on
//! [`Outcome::Stored`](super::answer::Outcome::Stored). Trouble is tried again for as long as it takes; the only
//! ways out for a batch are stored, rejected (the data), split (the limit) and
//! doubtful (a limit that fell, an encoding that the server can't read, or settings
//! that were given up, after an attempt of unknown fate). What a person asks for at
//! the command line goes the same way, before what is merely next.

mod attempt;
mod report;
mod requested;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::desk::Desk;
use super::fate::{Fate, History};
use super::forecast::{Achieved, Saved};
use super::pacer::{PaceOptions, Pacer};
use super::request::{self, Request, Target};
use super::settings::Settings;
use super::transport::{Transport, TransportError, TransportOptions};
use super::view::View;
use crate::spool::Outlet;
use crate::spool::batch::recipe::Encoding;
use crate::spool::effort::Effort;
use crate::spool::outlet::{Batch, PackOptions};

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
    /// How to reach it.
    pub transport: TransportOptions,
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

/// Sends batches until `stop` is cancelled. A post that is under way then is
/// waited for: whoever can't wait may drop the future, and the batch stays in
/// `sending/` for the next start.
///
/// # Errors
/// When the HTTP client can't be set up; everything later is tried again.
pub async fn run(
    options: Options,
    outlet: Outlet,
    stop: CancellationToken,
) -> Result<(), TransportError> {
    let mut sender = Sender::new(options, outlet)?;
    report::register(&sender.pacer);
    let mut post: Option<Post> = None;
    while !stop.is_cancelled() {
        post = match post {
            Some(post) => sender.attempt(post, &stop).await,
            None => sender.find(&stop).await,
        };
    }
    Ok(())
}

/// Carries out the requests that lie in `inbox/` and nothing else; returns
/// when each has its final answer, or was withdrawn, or at `stop`.
///
/// # Errors
/// As [`run`].
pub async fn carry_out_requests(
    options: Options,
    outlet: Outlet,
    stop: CancellationToken,
) -> Result<(), TransportError> {
    let mut sender = Sender::new(options, outlet)?;
    let mut post: Option<Post> = None;
    sender.look().await;
    while !stop.is_cancelled() && sender.desk.first().is_some() {
        post = match post {
            Some(post) => sender.attempt(post, &stop).await,
            None => sender.find_requested(&stop).await,
        };
        sender.look().await;
    }
    Ok(())
}

/// A batch that is being sent.
#[derive(Debug)]
struct Post {
    batch: Batch,
    request: Request,
    history: History,
    /// The request that it goes for.
    request_id: Option<Uuid>,
    /// The next attempt does not wait for the slot.
    is_early: bool,
    /// Another way than everything else takes.
    lane: Option<Box<Lane>>,
}

/// A server that a request names, with a pace of its own.
#[derive(Debug)]
struct Lane {
    target: Target,
    transport: Transport,
    pacer: Pacer,
}

struct Sender {
    options: Options,
    outlet: Arc<Outlet>,
    transport: Transport,
    pacer: Pacer,
    pack_time: Duration,
    ready_time: Duration,
    full_batch: Option<Achieved>,
    desk: Desk,
}

impl Sender {
    fn new(options: Options, outlet: Outlet) -> Result<Self, TransportError> {
        let tls = options.target.url.scheme() == "https";
        let transport = Transport::new(options.transport.clone(), tls)?;
        let stored = outlet.load_pace().ok().flatten();
        let saved: Option<Saved> = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (pace, full_batch) =
            saved.map_or((None, None), |saved| (Some(saved.pace), saved.full_batch));
        Ok(Self {
            pacer: Pacer::new(options.pace.clone(), pace),
            outlet: Arc::new(outlet),
            transport,
            options,
            pack_time: Duration::ZERO,
            ready_time: Duration::ZERO,
            full_batch,
            desk: Desk::default(),
        })
    }

    /// Finds what goes next, shortly before its slot opens.
    async fn find(&mut self, stop: &CancellationToken) -> Option<Post> {
        self.look().await;
        if self.desk.first().is_some() {
            return self.find_requested(stop).await;
        }
        let lead = self.pack_time * 2 + PACK_MARGIN;
        let wait = self.pacer.wait(SystemTime::now()).saturating_sub(lead);
        if self.pause(wait, stop).await != Pause::Over {
            return None;
        }
        let options = self.options.packing(self.pacer.body_bytes_max());
        let started = Instant::now();
        match self.on_disk(move |outlet| outlet.next(&options)).await {
            Ok(Some(batch)) => {
                self.pack_time = started.elapsed();
                Some(self.prepare(batch))
            }
            Ok(None) => {
                let outlet = self.outlet.clone();
                tokio::select! {
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

    fn prepare(&self, batch: Batch) -> Post {
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
            lane: None,
            batch,
        }
    }

    /// Puts the batch where it belongs; gives the post back if it goes again.
    async fn act(&mut self, fate: Fate, mut post: Post, stop: &CancellationToken) -> Option<Post> {
        let mut batch = post.batch.clone();
        let done = match fate {
            Fate::Again => return Some(post),
            Fate::AgainRecalled => {
                let recalled =
                    self.on_disk(move |outlet| outlet.recall(&mut batch).map(|()| batch));
                match recalled.await {
                    Ok(batch) => return Some(Post { batch, ..post }),
                    Err(error) => Err(error),
                }
            }
            Fate::Remove => self.on_disk(move |outlet| outlet.stored(&batch)).await,
            Fate::Split => {
                let bytes_max = self.pacer_of(&mut post).body_bytes_max();
                self.on_disk(move |outlet| outlet.split(&batch, bytes_max))
                    .await
            }
            Fate::Reject(reason) => {
                metrics::counter!("spoolhouse_batches_rejected_total").increment(1);
                let why = report::rejection(&reason, &post);
                self.on_disk(move |outlet| outlet.reject(&batch, &why))
                    .await
            }
            Fate::Doubt(fault) => {
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
    fn wait(&mut self, post: &mut Post) -> Duration {
        match post.is_early {
            true => Duration::ZERO,
            false => self.pacer_of(post).wait(SystemTime::now()),
        }
    }

    /// The pace of the way that a post takes.
    fn pacer_of<'p>(&'p mut self, post: &'p mut Post) -> &'p mut Pacer {
        match &mut post.lane {
            Some(lane) => &mut lane.pacer,
            None => &mut self.pacer,
        }
    }

    /// Saves what was learned, of the way that everything takes.
    async fn save_pace(&mut self, post: &Post) {
        if post.lane.is_some() {
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
        let bytes = match serde_json::to_vec_pretty(&saved) {
            Ok(bytes) => bytes,
            Err(error) => return disk_trouble("saving the pace", &error.into()),
        };
        if let Err(error) = self.on_disk(move |outlet| outlet.save_pace(&bytes)).await {
            disk_trouble("saving the pace", &error);
        }
    }

    /// Runs disk work where it may block.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Outlet) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let outlet = self.outlet.clone();
        tokio::task::spawn_blocking(move || work(&outlet))
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
