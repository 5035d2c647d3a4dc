//! The account: rules that hold at every moment, watched at the disk, at every commit and
//! at every request; and at the end, whether every message is there once.
//!
//! It reads the files of the spool by itself and asks no code under test. A rule that is
//! broken is noted in [`Violations`] at once. What it has to be told: every jump of the wall
//! clock ([`Audit::clock_jumped`]), and every position that a person sets otherwise
//! ([`Audit::position_reset`]).

mod balance;
mod durable;
pub mod files;
mod sending;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use crate::broker::Kafka;
use crate::clickhouse::ClickHouse;
use crate::disk::{LifeDisk, Observer, SPOOL};
use crate::messages::MessageId;
use crate::proxy::Nginx;
use crate::scheduler::{Process, current, now};
use crate::support::sim_disk::Op;
use crate::violations::Violations;

pub use balance::Account;
use files::Range;

/// The rest of the world.
#[derive(Clone, Debug)]
pub struct Parts {
    pub kafka: Kafka,
    pub clickhouse: ClickHouse,
    pub nginx: Nginx,
    pub violations: Violations,
    /// The interval that is configured for the proxy.
    pub interval: Duration,
}

#[derive(Default)]
struct State {
    /// Up to where offsets were found durable, by incarnation and partition.
    checked: BTreeMap<(u32, i32), i64>,
    /// Offsets that a person let be read again.
    repeated: Vec<Range>,
    /// When the wall clock jumped, and how far.
    jumps: Vec<(Duration, Duration)>,
    /// Processes whose last `pace.json` may not have been saved.
    pace_lost: BTreeSet<Process>,
    /// The request that `pace.json` announced last.
    announced: Option<u64>,
    /// Tokens of what a person asked for, and was put in line for that.
    asked_for: BTreeSet<String>,
    /// When a file came to `ready/`.
    ready_since: BTreeMap<PathBuf, Duration>,
}

/// Watches a life. Clones are the same one.
#[derive(Clone)]
pub struct Audit {
    parts: Parts,
    state: Arc<Mutex<State>>,
}

impl State {
    /// The process that acts has saved `pace.json`, or has not.
    fn pace_saved(&mut self, is_saved: bool) {
        match is_saved {
            true => self.pace_lost.remove(&current()),
            false => self.pace_lost.insert(current()),
        };
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit")
    }
}

/// An audit that watches. It no longer does when this is dropped; what it watches would
/// otherwise keep itself alive.
#[derive(Debug)]
pub struct Attached(Parts);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.kafka.on_commit(None);
        self.0.nginx.on_post(None);
    }
}

impl Audit {
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches this disk, and everything that is said to broker and proxy.
    pub fn attach(&self, disk: &LifeDisk) -> Attached {
        disk.observe(Arc::new(self.clone()));
        let (audit, on) = (self.clone(), disk.clone());
        let on_commit = move |sent: &_| audit.check_commit(&on, sent);
        self.parts.kafka.on_commit(Some(Arc::new(on_commit)));
        let (audit, on) = (self.clone(), disk.clone());
        let on_post = move |seen: &_, body: &_| audit.check_post(&on, seen, body);
        self.parts.nginx.on_post(Some(Arc::new(on_post)));
        Attached(self.parts.clone())
    }

    /// The wall clock was set forward or back by this much.
    pub fn clock_jumped(&self, by: Duration) {
        self.state().jumps.push((now(), by));
    }

    /// A person sets a position from one offset to another, or tries to. What lies between
    /// may be read again, and so be stored twice.
    pub fn position_reset(&self, topic_id: &str, partition: i32, from: i64, to: i64) {
        if let Some(incarnation) = MessageId::incarnation_of(topic_id) {
            self.state().repeated.push(Range {
                incarnation,
                partition,
                from: from.min(to),
                to: from.max(to),
                is_chosen: true,
            });
        }
    }
}

impl Observer for Audit {
    fn before(&self, disk: &LifeDisk, op: &Op) {
        match op {
            Op::Rename(from, to) => {
                let directories = (files::directory(from), files::directory(to));
                match directories {
                    ("", "") if files::name(to) == "spool.json" => self.check_positions(disk, from),
                    ("sealed", "ready") => self.check_release(disk, from),
                    ("open", "batches" | "rejected") => self.check_packed(disk, from, to),
                    (_, "sending") => self.note_asked_for(disk, to),
                    _ => {}
                }
                if files::is_published(to) && from != to {
                    self.check_replaced(disk, from, to);
                }
            }
            Op::Remove(path) if files::is_published(path) => self.check_removed(disk, path),
            _ => {}
        }
    }

    fn after(&self, _: &LifeDisk, op: &Op, done: &io::Result<()>) {
        let mut state = self.state();
        match op {
            Op::Rename(_, to) if files::directory(to) == "ready" => {
                state.ready_since.insert(to.clone(), now());
            }
            Op::Rename(_, to) if files::name(to) == "pace.json" => state.pace_saved(done.is_ok()),
            Op::Write(path, _) if files::name(path).starts_with("pace.json") && done.is_err() => {
                state.pace_saved(false);
            }
            Op::SyncDir(path) if path == Path::new(SPOOL) && done.is_err() => {
                state.pace_saved(false);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "audit/tests.rs"]
mod tests;
