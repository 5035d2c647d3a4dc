//! Keeps `undecodable/` within a budget and an age, so that garbage can't stop
//! ingest and raw addresses needn't be kept for ever.
//!
//! What goes first are the oldest payloads: their place in the log, length and
//! hash stay. Only when those alone are past the budget, the oldest files go as
//! well, each leaving one line in `dropped.jsonl`. Only files whose segment is
//! sealed are touched; whatever fails is left as it is for the next turn.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Spool;
use super::disk::{self, Access};
use super::format::footer::{OffsetRange, Source};
use super::format::undecodable::{Undecodable, encode, read, read_footer};
use super::layout::{Directory, Name};
use super::quarantine;
use crate::spool::format::metadata;

/// How many files one turn rewrites at most: ingest waits for it.
const FILES_PER_TURN: usize = 8;

/// What `undecodable/` may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of all its Parquet files, bytes.
    pub bytes_max: u64,
    /// How old a payload may become; `None`: as old as it likes.
    pub age_max: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 256 << 20,
            age_max: None,
        }
    }
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Messages whose bytes were dropped.
    pub payloads_dropped: u64,
    /// Messages of which a line in `dropped.jsonl` is left.
    pub messages_forgotten: u64,
    /// Whether there is more to do.
    pub unfinished: bool,
}

/// Keeps [`Limits`]. Lists the directory once, then keeps count.
#[derive(Debug)]
pub struct Keeper {
    spool: Spool,
    limits: Limits,
    files: Option<BTreeMap<u64, Known>>,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    bytes: u64,
    /// Read from its footer when it was first needed.
    footer: Option<Facts>,
}

#[derive(Clone, Copy, Debug)]
struct Facts {
    kept_at: u64,
    has_payloads: bool,
}

/// A file that went whole: one line of `dropped.jsonl`.
#[derive(Debug, Serialize)]
struct Forgotten<'f> {
    time: String,
    segment: u64,
    source: &'f Source,
    offsets: BTreeMap<i32, OffsetRange>,
    messages: u64,
    bytes: u64,
    digest: &'f str,
}

/// Why payloads are dropped, as metrics name it.
const AGE: &str = "age";
const BUDGET: &str = "budget";

fn payloads_dropped(reason: &'static str) -> metrics::Counter {
    metrics::counter!("spoolhouse_undecodable_payloads_dropped_total", "reason" => reason)
}

impl Keeper {
    /// A keeper of `spool`'s undecodable messages.
    pub fn new(spool: Spool, limits: Limits) -> Self {
        for reason in [AGE, BUDGET] {
            // Shown before the first: a rate needs a start.
            payloads_dropped(reason).absolute(0);
        }
        Self {
            spool,
            limits,
            files: None,
        }
    }

    /// Counts a file that was published; whether the budget is exceeded now.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn add(&mut self, number: u64, bytes: u64) -> io::Result<bool> {
        let known = Known {
            bytes,
            footer: None,
        };
        self.files()?.insert(number, known);
        Ok(self.total()? > self.limits.bytes_max)
    }

    /// Drops what is too old and what is too much, a few files at a time.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; calling again goes on where it stopped.
    pub fn turn(&mut self, now: SystemTime) -> io::Result<Turn> {
        let mut turn = Turn::default();
        let mut left = FILES_PER_TURN;
        // The newest may still wait for its segment.
        let sealed_below = self.spool.state().next_segment;
        let numbers: Vec<u64> = self
            .files()?
            .range(..sealed_below)
            .map(|(n, _)| *n)
            .collect();
        if let Some(age_max) = self.limits.age_max {
            for number in &numbers {
                let Some(facts) = self.facts(*number)? else {
                    continue;
                };
                let kept_at = UNIX_EPOCH + Duration::from_secs(facts.kept_at);
                let is_old = now.duration_since(kept_at).is_ok_and(|age| age >= age_max);
                if is_old && facts.has_payloads {
                    turn.payloads_dropped += self.drop_payloads(*number, AGE)?;
                    left -= 1;
                }
                if left == 0 {
                    turn.unfinished = true;
                    return Ok(turn);
                }
            }
        }
        for forget in [false, true] {
            for number in &numbers {
                if self.total()? <= self.limits.bytes_max {
                    return Ok(turn);
                }
                if left == 0 {
                    turn.unfinished = true;
                    return Ok(turn);
                }
                let Some(facts) = self.facts(*number)? else {
                    continue;
                };
                if forget {
                    turn.messages_forgotten += self.forget(*number, now)?;
                    left -= 1;
                } else if facts.has_payloads {
                    turn.payloads_dropped += self.drop_payloads(*number, BUDGET)?;
                    left -= 1;
                }
            }
        }
        Ok(turn)
    }

    /// Size of the files, bytes.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn total(&mut self) -> io::Result<u64> {
        Ok(self.files()?.values().map(|known| known.bytes).sum())
    }

    fn files(&mut self) -> io::Result<&mut BTreeMap<u64, Known>> {
        if self.files.is_none() {
            let mut files = BTreeMap::new();
            let layout = self.spool.layout();
            for (name, bytes) in layout.files(self.spool.disk(), Directory::Undecodable)? {
                if let Name::Undecodable { number } = name {
                    let known = Known {
                        bytes,
                        footer: None,
                    };
                    files.insert(number, known);
                }
            }
            self.files = Some(files);
        }
        Ok(self.files.get_or_insert_default())
    }

    fn known(&mut self, number: u64) -> io::Result<Option<&mut Known>> {
        Ok(self.files()?.get_mut(&number))
    }

    /// What a file's footer says; `None` if it is gone or was set aside.
    fn facts(&mut self, number: u64) -> io::Result<Option<Facts>> {
        match self.known(number)? {
            None => return Ok(None),
            Some(Known {
                footer: Some(facts),
                ..
            }) => return Ok(Some(*facts)),
            Some(_) => {}
        }
        let name = Name::Undecodable { number };
        let path = self
            .spool
            .layout()
            .file(Directory::Undecodable, &name.to_string());
        let metadata = match metadata::read_end(self.spool.disk(), &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.files()?.remove(&number); // somebody tidied up by hand
                return Ok(None);
            }
            read => read?,
        };
        let checked = metadata.and_then(|metadata| read_footer(&name, &metadata, self.spool.id()));
        match checked {
            Err(fault) => {
                quarantine::set_aside(
                    &self.spool,
                    Directory::Undecodable,
                    &name.to_string(),
                    fault,
                )?;
                self.files()?.remove(&number);
                Ok(None)
            }
            Ok(footer) => {
                let facts = Facts {
                    kept_at: footer.kept_at,
                    has_payloads: footer.dropped < footer.rows,
                };
                if let Some(known) = self.known(number)? {
                    known.footer = Some(facts);
                }
                Ok(Some(facts))
            }
        }
    }

    fn load(&mut self, name: &Name) -> io::Result<Option<Undecodable>> {
        let path = self
            .spool
            .layout()
            .file(Directory::Undecodable, &name.to_string());
        let bytes = self.spool.disk().read(&path)?;
        match read(name, bytes, self.spool.id()) {
            Ok(file) => Ok(Some(file)),
            Err(fault) => {
                quarantine::set_aside(
                    &self.spool,
                    Directory::Undecodable,
                    &name.to_string(),
                    fault,
                )?;
                self.files()?.remove(&name.number());
                Ok(None)
            }
        }
    }

    fn drop_payloads(&mut self, number: u64, reason: &'static str) -> io::Result<u64> {
        let name = Name::Undecodable { number };
        let Some(mut file) = self.load(&name)? else {
            return Ok(0);
        };
        let mut dropped = 0;
        for message in &mut file.messages {
            dropped += u64::from(message.payload.take().is_some());
        }
        let bytes = encode(&file.messages, &file.footer).map_err(io::Error::other)?;
        self.spool
            .publish(Directory::Undecodable, &name, &bytes, Access::Private)?;
        if let Some(known) = self.known(number)? {
            *known = Known {
                bytes: bytes.len() as u64,
                footer: Some(Facts {
                    kept_at: file.footer.kept_at,
                    has_payloads: false,
                }),
            };
        }
        payloads_dropped(reason).increment(dropped);
        Ok(dropped)
    }

    /// Removes a file, one line in its place.
    fn forget(&mut self, number: u64, now: SystemTime) -> io::Result<u64> {
        let name = Name::Undecodable { number };
        let Some(file) = self.load(&name)? else {
            return Ok(0);
        };
        let mut offsets: BTreeMap<i32, OffsetRange> = BTreeMap::new();
        for message in &file.messages {
            let end = message.offset + 1;
            let range = offsets
                .entry(message.partition)
                .or_insert(OffsetRange(message.offset, end));
            range.1 = range.1.max(end);
        }
        let line = Forgotten {
            time: humantime::format_rfc3339_seconds(now).to_string(),
            segment: number,
            source: &file.footer.source,
            offsets,
            messages: file.footer.rows,
            bytes: file.messages.iter().map(|message| message.length).sum(),
            digest: &file.digest,
        };
        let journal = self.spool.layout().dropped();
        disk::append_line(self.spool.disk(), &journal, &serde_json::to_vec(&line)?)?;
        self.spool
            .remove(Directory::Undecodable, &name.to_string())?;
        self.files()?.remove(&number);
        metrics::counter!("spoolhouse_undecodable_forgotten_total").increment(file.footer.rows);
        Ok(file.footer.rows)
    }
}
