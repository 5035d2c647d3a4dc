//! Freezes the next batch out of the oldest segments.
//!
//! The order is the invariant: the batch is published, then what is left of a
//! partly used segment, then the sources are unlinked, then the directory is
//! synced. A crash at any point leaves every row in at least one file, and
//! recovery knows which of two is redundant. Memory is bounded by the body
//! limit, however well the rows compress.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec;

use arrow_array::RecordBatch;
use bytes::Bytes;

use super::fit::{self, Fit, PackOptions};
use super::rejection;
use crate::failpoint;
use crate::spool::disk::Access;
use crate::spool::format::batch::recipe::{Recipe, Strength};
use crate::spool::format::batch::recipe_search;
use crate::spool::format::encoding::Encoding;
use crate::spool::format::read::{self, Segment};
use crate::spool::format::{batch, digest, segment};
use crate::spool::layout::{Directory, Name};
use crate::spool::{Spool, quarantine};

/// How full of its limit a batch is to be, in percent: as much as its size can
/// be foretold to.
const FILL_PERCENT: f64 = 98.7;

/// Fewer rows are packed in the usual way: no trial would tell much.
const TRIAL_ROWS_MIN: u64 = 1_000;

/// What the last batches taught about the next.
#[derive(Debug)]
struct Learned {
    /// Size of a row.
    bytes_per_row: f64,
    /// Strong compression's size of quick compression's.
    full_of_quick: f64,
    /// What made the smallest file when it was last tried.
    recipe: Option<Recipe>,
    /// Full batches since then.
    since_trial: u64,
}

impl Default for Learned {
    fn default() -> Self {
        Self {
            bytes_per_row: fit::BYTES_PER_ROW_FIRST,
            full_of_quick: 0.92,
            recipe: None,
            since_trial: 0,
        }
    }
}

/// What packing came to.
#[derive(Debug)]
pub(super) enum Packed {
    /// A batch, published in `batches/` under this name.
    Batch(Name),
    /// The oldest row fits into no request; it is in `rejected/` now.
    OneRowTooLarge,
    /// No segment waits.
    Nothing,
}

/// Segments on their way into a batch, and those that may follow.
struct Sources {
    segments: Vec<Segment>,
    names: vec::IntoIter<Name>,
    /// Bytes that the segments' rows take.
    memory: u64,
}

impl Sources {
    fn rows(&self) -> u64 {
        self.segments.iter().map(|source| source.footer.rows).sum()
    }
}

/// Packs segments into batches, and learns from each.
#[derive(Debug)]
pub(super) struct Packer {
    spool: Spool,
    learned: Mutex<Learned>,
}

impl Packer {
    /// A packer of `spool` that has learned nothing yet.
    pub fn new(spool: Spool) -> Self {
        Self {
            spool,
            learned: Mutex::default(),
        }
    }

    /// Packs the next batch from these segments of `ready/`, the first ones first.
    /// `advice` is what can be done about a row that fits into no request.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn pack(
        &self,
        names: Vec<Name>,
        options: &PackOptions,
        advice: &str,
    ) -> io::Result<Packed> {
        let bytes_max = self.affordable(options.bytes_max)?;
        let fill = bytes_max as f64 * FILL_PERCENT / 100.0;
        let strength = options.effort.strength(bytes_max);
        let mut wanted = (fill / self.learned().bytes_per_row).ceil() as u64;
        let mut recipe = None;
        let mut sources = Sources {
            segments: Vec::new(),
            names: names.into_iter(),
            memory: 0,
        };
        loop {
            // A few more, should they turn out smaller than the last ones.
            let enough = wanted + wanted / 8;
            let memory_max = bytes_max.saturating_mul(fit::MEMORY_PER_BODY_BYTE);
            let loaded_all = self.load(&mut sources, enough, memory_max)?;
            let segments = &sources.segments;
            if sources.rows() == 0 {
                self.remove_sources(segments)?;
                return Ok(Packed::Nothing);
            }
            let rows = fit::join(segments, enough).map_err(io::Error::other)?;
            let available = rows.num_rows() as u64;
            let more = !loaded_all || available < sources.rows();
            let encode = |recipe: &Recipe, taken: u64, strength| {
                let footer = fit::footer(self.spool.id(), segments, taken, options);
                batch::encode(&rows.slice(0, taken as usize), &footer, recipe, strength)
            };
            let some = rows.slice(0, wanted.min(available) as usize);
            let recipe = match &recipe {
                Some(recipe) => recipe,
                None => recipe.insert(self.pick_recipe(&some, wanted, options)?),
            };
            // What quick compression makes of the rows foretells what the strong
            // one will, at a fraction of its time.
            let taken = some.num_rows() as u64;
            let quick = encode(recipe, taken, Strength::Quick).map_err(io::Error::other)?;
            let quick_bytes_per_row = quick.len() as f64 / taken as f64;
            let foretold = match strength {
                Strength::Quick => quick_bytes_per_row,
                Strength::Full => quick_bytes_per_row * self.learned().full_of_quick,
            };
            let guess = (fill / foretold) as u64;
            if guess > available && more {
                wanted = guess.max(enough + 1);
                continue;
            }
            let mut encoded = 0_u32;
            let fit = fit::fit(available, guess, bytes_max, |taken| {
                encoded += 1;
                encode(recipe, taken, strength)
            });
            drop(rows);
            tracing::debug!(?recipe, encoded, "packed");
            match fit.map_err(io::Error::other)? {
                Fit::Rows(taken, bytes) => {
                    let bytes_per_row = bytes.len() as f64 / taken as f64;
                    let is_full = bytes.len() as u64 * 100 >= bytes_max * fit::FULL_PERCENT;
                    // Small files have a large share of footer: more may fit than foretold.
                    if taken == available && !is_full && more {
                        wanted = ((fill / bytes_per_row) as u64).max(enough + 1);
                        continue;
                    }
                    self.learn(bytes_per_row, quick_bytes_per_row, strength);
                    let name = self.freeze(Directory::Batches, segments, taken, &bytes)?;
                    return Ok(Packed::Batch(name));
                }
                Fit::Nothing(_) if bytes_max < options.bytes_max => {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Fit::Nothing(bytes) => {
                    let name = name_of(segments[0].footer.segment, &bytes);
                    let (size, max) = (bytes.len(), options.bytes_max);
                    rejection::write_too_large(&self.spool, &name, size, max, advice)?;
                    self.freeze(Directory::Rejected, segments, 1, &bytes)?;
                    return Ok(Packed::OneRowTooLarge);
                }
            }
        }
    }

    /// What a batch may take, bytes. On a disk that is nearly full half of what
    /// is left: the rest of a segment has to find room, too, before anything is
    /// removed. Each batch that is stored then leaves more room for the next.
    fn affordable(&self, bytes_max: u64) -> io::Result<u64> {
        let free = self.spool.disk().free_bytes(self.spool.layout().root())?;
        Ok(bytes_max.min(free / 2).max(1))
    }

    /// The recipe that did best of late, or one found anew when it is time for
    /// that. A batch that will not be full is sent with room to spare in any.
    fn pick_recipe(
        &self,
        rows: &RecordBatch,
        wanted: u64,
        options: &PackOptions,
    ) -> io::Result<Recipe> {
        let every = options.effort.trial_every(options.bytes_max);
        let is_full = rows.num_rows() as u64 >= wanted.max(TRIAL_ROWS_MIN);
        let mut learned = self.learned();
        let known = learned
            .recipe
            .as_ref()
            .filter(|recipe| recipe.encoding() == options.encoding);
        let is_due = every.is_some_and(|every| known.is_none() || learned.since_trial >= every);
        if is_full && is_due {
            let found = recipe_search::choose(rows, options.encoding).map_err(io::Error::other)?;
            learned.recipe = Some(found);
            learned.since_trial = 0;
        }
        learned.since_trial += u64::from(is_full);
        drop(learned);
        Ok(self.recipe(options.encoding))
    }

    /// The recipe that did best of late.
    pub fn recipe(&self, encoding: Encoding) -> Recipe {
        let learned = self.learned();
        let known = learned.recipe.as_ref();
        known
            .filter(|recipe| recipe.encoding() == encoding)
            .cloned()
            .unwrap_or_else(|| Recipe::usual(encoding))
    }

    fn learn(&self, bytes_per_row: f64, quick_bytes_per_row: f64, strength: Strength) {
        let mut learned = self.learned();
        learned.bytes_per_row = bytes_per_row;
        if strength == Strength::Full {
            learned.full_of_quick = bytes_per_row / quick_bytes_per_row;
        }
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads segments of one topic until there are `enough` rows or they take
    /// `memory_max` bytes; whether there is none left that the batch could take.
    fn load(&self, sources: &mut Sources, enough: u64, memory_max: u64) -> io::Result<bool> {
        while sources.rows() < enough {
            if sources.memory >= memory_max {
                return Ok(true);
            }
            let Some(name) = sources.names.next() else {
                return Ok(true);
            };
            let text = name.to_string();
            let path = self.spool.layout().file(Directory::Ready, &text);
            match read::segment(&name, self.spool.disk().read(&path)?, self.spool.id()) {
                Err(fault) => quarantine::set_aside(&self.spool, Directory::Ready, &text, fault)?,
                Ok(next) => {
                    let other_topic = sources
                        .segments
                        .first()
                        .is_some_and(|first| first.footer.source != next.footer.source);
                    if other_topic {
                        // A batch speaks of one topic; this segment opens the next batch.
                        sources.names = Vec::new().into_iter();
                        return Ok(true);
                    }
                    sources.memory += next.rows.get_array_memory_size() as u64;
                    sources.segments.push(next);
                }
            }
        }
        Ok(false)
    }

    /// Publishes the first `rows` rows as a batch, then what is left of the last
    /// segment, then unlinks the sources, then syncs.
    fn freeze(
        &self,
        directory: Directory,
        sources: &[Segment],
        rows: u64,
        bytes: &Bytes,
    ) -> io::Result<Name> {
        let name = name_of(sources[0].footer.segment, bytes);
        self.spool
            .publish(directory, &name, bytes, Access::Shared)?;
        let taken = fit::take(sources, rows);
        if let Some((last, part)) = taken.last()
            && part.end < sources[*last].footer.rows
        {
            let source = &sources[*last];
            let rest = source.remainder(part.end);
            let left = source.rows.slice(part.end as usize, rest.rows as usize);
            let file = segment::encode(&rest, &left).map_err(io::Error::other)?;
            let rest_name = Name::Segment {
                number: rest.segment,
                first_row: rest.first_row,
            };
            self.spool
                .publish(Directory::Ready, &rest_name, &file, Access::Shared)?;
        }
        self.remove_sources(&sources[..taken.len()])?;
        Ok(name)
    }

    fn remove_sources(&self, sources: &[Segment]) -> io::Result<()> {
        if sources.is_empty() {
            return Ok(());
        }
        let dir = self.spool.layout().directory(Directory::Ready);
        for source in sources {
            let name = Name::Segment {
                number: source.footer.segment,
                first_row: source.footer.first_row,
            };
            let path = dir.join(name.to_string());
            self.spool
                .counting(&path, || self.spool.disk().remove(&path))?;
            failpoint::hit("sources.one-unlinked");
        }
        failpoint::hit("sources.unlinked");
        self.spool.disk().sync_dir(&dir)
    }
}

/// The name of a batch of these bytes.
pub(super) fn name_of(number: u64, bytes: &[u8]) -> Name {
    Name::Batch {
        number,
        digest: digest::of(bytes),
    }
}
