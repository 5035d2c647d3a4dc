//! Asks the server through the proxy: at the slot that is expected, in one
//! request, and notes that the slot is used.
//!
//! `pace.json` belongs to the owner of the spool, so it is written only while
//! nobody else is: this process owns the spool meanwhile. It speaks of one proxy:
//! what is asked of another is not noted there.

#![allow(
    clippy::disallowed_methods,
    reason = "asks for a command, at a terminal: by the system's clocks"
)]

pub mod server_info;
pub mod table_sizes;

use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::outcome::{Answer, Outcome, Reason};
use super::proxy::TransportError;
use super::send;
use super::slot::pace_file::{self, Saved};
use super::slot::pacer::Pacer;
use super::transport::Transport;
use crate::spool::disk::lock::OwnerLock;
use crate::spool::layout::Layout;

/// The largest body that is tried.
const BODY_BYTES_MAX: u64 = 16 * bytesize::MIB;

/// A slot that others take is tried for so many intervals, and at least so long.
const TRIED_INTERVALS: u32 = 3;
const TRIED_LEAST: Duration = Duration::from_secs(10);

/// How often it is said how long it is to the slot.
const TICK: Duration = Duration::from_millis(200);

/// What is asked, and how.
pub struct Question<T> {
    /// The statement.
    pub statement: String,
    /// It is filled with blanks up to so many bytes, at most `BODY_BYTES_MAX`.
    pub bytes: u64,
    /// Reads the answer, or says what became of the request.
    pub read: fn(&Answer) -> Result<T, Outcome>,
    /// Whether the proxy's slot is waited for; otherwise it is asked at once, once.
    pub at_slot: bool,
    /// Why the slot can't be noted: pace.json speaks of another proxy.
    pub elsewhere: Option<&'static str>,
}

/// What was seen.
#[derive(Debug)]
pub struct Seen<T> {
    /// What the server says, or what became of the request.
    pub answer: Result<T, Outcome>,
    /// The size of a body that the proxy refused before, bytes.
    pub refused_bytes: Option<u64>,
    /// The size of the body that was answered, bytes.
    pub bytes: u64,
    /// How long the slot was waited for.
    pub waited: Duration,
    /// Whether the slot was noted in pace.json, or why not.
    pub noted: Result<(), String>,
}

/// How the wait for a slot goes.
#[derive(Clone, Copy, Debug)]
pub enum Waiting {
    /// So long it is to the slot.
    Left(Duration),
    /// The slot is there.
    Over,
}

/// Asks the server that `options` and `transport` lead to. `owner` is the process that owns the
/// spool; `waiting` is told again and again how long it is to the slot.
pub fn ask<T>(
    options: &send::Options,
    transport: Result<Transport, TransportError>,
    layout: &Layout,
    owner: Option<u32>,
    question: Question<T>,
    waiting: &mut dyn FnMut(Waiting),
) -> Seen<T> {
    let (lock, noted) = match question.elsewhere {
        Some(why) => (None, Err(why.to_owned())),
        None => own(layout, owner),
    };
    let saved = pace_file::load(&pace_file::local(layout));
    let (pace, full_batch) =
        saved.map_or((None, None), |saved| (Some(saved.pace), saved.full_batch));
    let bytes = question.bytes.min(BODY_BYTES_MAX);
    let bytes = bytes.max(question.statement.len() as u64);
    let mut asker = Asker {
        pacer: Pacer::new(options.pace.clone(), pace),
        seen: Seen {
            answer: Err(failed("no slot was open")),
            refused_bytes: None,
            bytes,
            waited: Duration::ZERO,
            noted,
        },
        save: &|pacer: &Pacer| {
            let pace = pacer.pace().clone();
            pace_file::save(&pace_file::local(layout), &Saved { pace, full_batch })
        },
        question,
        waiting,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match (transport, runtime) {
        (Ok(transport), Ok(runtime)) => runtime.block_on(asker.ask(options, &transport)),
        (Err(error), _) => asker.seen.answer = Err(failed(&error.to_string())),
        (_, Err(error)) => asker.seen.answer = Err(failed(&error.to_string())),
    }
    drop(lock);
    asker.seen
}

/// The spool, if there is one and nobody else has it.
fn own(layout: &Layout, owner: Option<u32>) -> (Option<OwnerLock>, Result<(), String>) {
    if let Some(pid) = owner {
        return (None, Err(format!("process {pid} owns the spool")));
    }
    if !layout.state().exists() {
        return (None, Err("there is no spool yet".to_owned()));
    }
    match OwnerLock::take(&layout.lock()) {
        Ok(lock) => (Some(lock), Ok(())),
        Err(error) => (None, Err(error.to_string())),
    }
}

fn failed(message: &str) -> Outcome {
    Outcome::NotSent(Reason {
        status: None,
        code: None,
        may_be_stored: false,
        message: message.to_owned(),
    })
}

struct Asker<'a, T> {
    pacer: Pacer,
    seen: Seen<T>,
    save: &'a dyn Fn(&Pacer) -> io::Result<()>,
    question: Question<T>,
    waiting: &'a mut dyn FnMut(Waiting),
}

impl<T> Asker<'_, T> {
    async fn ask(&mut self, options: &send::Options, transport: &Transport) {
        let begun = Instant::now();
        let mut first = None;
        loop {
            if self.question.at_slot {
                self.wait().await;
            }
            let waited = *first.get_or_insert_with(|| begun.elapsed());
            self.seen.waited = begun.elapsed();
            let outcome = self.attempt(options, transport).await;
            match outcome {
                Outcome::TooLarge if self.seen.bytes > self.question.statement.len() as u64 => {
                    // It took no slot. Everything else is still to be asked.
                    self.seen.refused_bytes = Some(self.seen.bytes);
                    self.seen.bytes = self.question.statement.len() as u64;
                }
                Outcome::Throttled { .. } if self.question.at_slot => {
                    let interval = self.pacer.interval();
                    if begun.elapsed() > waited + (interval * TRIED_INTERVALS).max(TRIED_LEAST) {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    async fn attempt(&mut self, options: &send::Options, transport: &Transport) -> Outcome {
        self.pacer.sent(SystemTime::now());
        self.note();
        let mut url = options.target.url.clone();
        // The server would refuse to look at a statement as long as this one.
        let blanks = format!("max_query_size={}", self.seen.bytes.max(bytesize::MIB) + 1);
        url.set_query(Some(&blanks));
        let body = server_info::body(&self.question.statement, self.seen.bytes);
        let answer = transport.ask(url, body).await;
        self.seen.answer = answer.and_then(|answer| (self.question.read)(&answer));
        let outcome = match &self.seen.answer {
            // The proxy let it through, as it lets a batch.
            Ok(_) => Outcome::Stored,
            Err(outcome) => outcome.clone(),
        };
        let now = SystemTime::now();
        self.pacer
            .record(&outcome, self.seen.bytes, now, rand::random());
        self.note();
        outcome
    }

    fn note(&mut self) {
        if self.seen.noted.is_ok()
            && let Err(error) = (self.save)(&self.pacer)
        {
            self.seen.noted = Err(error.to_string());
        }
    }

    /// Waits for the slot.
    async fn wait(&mut self) {
        loop {
            let left = self.pacer.wait(SystemTime::now());
            if left.is_zero() {
                break;
            }
            (self.waiting)(Waiting::Left(left));
            tokio::time::sleep(left.min(TICK)).await;
        }
        (self.waiting)(Waiting::Over);
    }
}
