//! Ingest's door into the spool.
//!
//! The order is the promise: undecodable messages, then the segment, then the
//! position, each durable before the next; only then may the offsets be
//! committed, and only a commit that was acknowledged makes a segment ready.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::Serialize;
use uuid::Uuid;

use super::Spool;
use super::disk::{self, Access};
use super::format::error::Fault;
use super::format::footer::{SegmentFooter, Source};
use super::format::read;
use super::format::segment::{Finished, OpenSegment};
use super::layout::{Directory, Name};
use super::quarantine::{self, Doubt};
use super::undecodable_retention::{Keeper, Limits};
use crate::spool::format::metadata;
use crate::time::epoch_ms;

/// Ingest's door.
#[derive(Clone, Debug)]
pub struct Intake {
    spool: Spool,
    /// Undecodable messages of an abandoned segment may still be there, under
    /// the number that the next one gets.
    orphaned: Arc<AtomicBool>,
    /// A turn that was cut short is begun anew.
    keeper: Arc<Mutex<Keeper>>,
}

/// Offsets that were lost upstream: one line of `gaps.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// When it was noticed, RFC 3339.
    pub time: String,
    /// The topic.
    pub source: Source,
    /// The partition.
    pub partition: i32,
    /// First offset that was lost.
    pub from: i64,
    /// First offset that was still there.
    pub to: i64,
}

impl Intake {
    /// The door of `spool`. There should be one.
    pub fn new(spool: Spool) -> Self {
        Self::with_limits(spool, Limits::default())
    }

    /// The door of `spool`, with other limits of undecodable messages.
    pub fn with_limits(spool: Spool, limits: Limits) -> Self {
        let keeper = Keeper::new(spool.clone(), limits);
        Self {
            spool,
            orphaned: Arc::default(),
            keeper: Arc::new(Mutex::new(keeper)),
        }
    }

    /// Identity of the spool.
    pub fn spool_id(&self) -> Uuid {
        self.spool.id()
    }

    /// Bytes that the spool takes on disk.
    pub fn bytes(&self) -> u64 {
        self.spool.bytes()
    }

    /// Bytes that the spool's file system has left.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.spool.disk().free_bytes(self.spool.layout().root())
    }

    /// Closes an open segment under the next number. Nothing reaches the disk,
    /// and the number is used only once it is sealed: one finished segment at a time.
    ///
    /// # Errors
    /// Parquet's, passed on.
    pub fn finish(&self, segment: OpenSegment, source: &Source) -> Result<Finished, Fault> {
        let number = self.spool.state().next_segment;
        let now_s = epoch_ms(self.spool.clock().wall()) / 1_000;
        segment.finish(number, self.spool.id(), source, now_s)
    }

    /// Publishes a finished segment in `sealed/` and notes its positions.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; the call may be repeated until it succeeds.
    pub fn seal(&self, segment: &Finished) -> io::Result<()> {
        let footer = &segment.footer;
        if self.orphaned.load(Ordering::Relaxed) {
            self.remove_orphan(footer.segment)?;
        }
        if let Some(bytes) = &segment.undecodable {
            let name = Name::Undecodable {
                number: footer.segment,
            };
            self.spool
                .publish(Directory::Undecodable, &name, bytes, Access::Private)?;
        }
        let name = Name::segment(footer.segment);
        self.spool
            .publish(Directory::Sealed, &name, &segment.bytes, Access::Shared)?;
        self.spool.state().note_sealed(footer);
        self.spool.write_state()?;
        if let Some(bytes) = &segment.undecodable {
            self.count_undecodable(footer.segment, bytes.len() as u64);
        }
        Ok(())
    }

    fn count_undecodable(&self, number: u64, bytes: u64) {
        let added = self.keeper().add(number, bytes);
        match added {
            Ok(false) => {}
            Ok(true) => self.tidy_undecodable(self.spool.clock().wall()),
            Err(error) => untidy(&error),
        }
    }

    /// Drops undecodable messages that are too old or too many, a few files at
    /// a time. What fails is logged and counted, and tried again the next time:
    /// garbage never stops ingest.
    pub fn tidy_undecodable(&self, now: SystemTime) {
        let mut keeper = self.keeper();
        let done = keeper.turn(now);
        if let Ok(bytes) = keeper.total() {
            metrics::gauge!("spoolhouse_undecodable_bytes").set(bytes as f64);
        }
        match done {
            Ok(turn) if turn.payloads_dropped + turn.messages_forgotten > 0 => tracing::warn!(
                payloads_dropped = turn.payloads_dropped,
                messages_forgotten = turn.messages_forgotten,
                "undecodable messages are past their budget or age: the oldest lost their bytes; \
                 length and hash are kept",
            ),
            Ok(_) => {}
            Err(error) => untidy(&error),
        }
    }

    fn keeper(&self) -> std::sync::MutexGuard<'_, Keeper> {
        disk::lock(self.spool.disk(), &self.keeper)
    }

    /// Gives up a finished segment that could not be sealed. If it did reach
    /// `sealed/`, it stays there for the next assignment to adopt; if not, Kafka
    /// hands its messages out again, the undecodable ones included.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; the next seal sees to it then.
    pub fn abandon(&self, segment: &Finished) -> io::Result<()> {
        let number = segment.footer.segment;
        let sealed = Name::segment(number).to_string();
        let dir = self.spool.layout().directory(Directory::Sealed);
        if self
            .spool
            .disk()
            .list(&dir)?
            .iter()
            .any(|entry| entry.name == sealed)
        {
            return Ok(());
        }
        self.remove_orphan(number)
    }

    /// Removes undecodable messages under a number that no segment was sealed with.
    fn remove_orphan(&self, number: u64) -> io::Result<()> {
        let orphan = Name::Undecodable { number }.to_string();
        self.orphaned.store(true, Ordering::Relaxed);
        self.spool.remove(Directory::Undecodable, &orphan)?;
        self.orphaned.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Own position of a partition: the offset after the last one that is
    /// durably in the spool, if it belongs to `source`.
    pub fn position(&self, source: &Source, partition: i32) -> Option<i64> {
        self.spool.state().position(source, partition)
    }

    /// Records where reading starts, before the first read, so that a later
    /// gap can be counted.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn record_positions(
        &self,
        source: &Source,
        positions: &BTreeMap<i32, i64>,
    ) -> io::Result<()> {
        let entries = positions.iter().map(|(p, offset)| (*p, *offset));
        self.spool.state().set_positions(source, entries);
        self.spool.write_state()
    }

    /// The number of the last segment that was sealed, 0 before the first.
    pub fn last_segment(&self) -> u64 {
        self.spool.state().next_segment - 1
    }

    /// Appends a line to `gaps.jsonl`.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn record_gap(&self, gap: &Gap) -> io::Result<()> {
        self.append_gap(gap)
    }

    /// Appends a line to `gaps.jsonl` for offsets that the operator chose to skip.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn record_skip(&self, gap: &Gap) -> io::Result<()> {
        #[derive(Serialize)]
        struct Skip<'g> {
            #[serde(flatten)]
            gap: &'g Gap,
            by: &'static str,
        }
        self.append_gap(&Skip {
            gap,
            by: "operator",
        })
    }

    fn append_gap(&self, gap: &impl Serialize) -> io::Result<()> {
        let path = self.spool.layout().gaps();
        disk::append_line(self.spool.disk(), &path, &serde_json::to_vec(gap)?)
    }

    /// The segments whose commit is not known to be acknowledged, oldest first.
    /// They and the positions that they hold are durable then, also where a seal
    /// failed late.
    ///
    /// # Errors
    /// An I/O error from the spool's disk. A file that can't be read as a segment is
    /// quarantined, which is not an error.
    pub fn sealed(&self) -> io::Result<Vec<SegmentFooter>> {
        let dir = self.spool.layout().directory(Directory::Sealed);
        self.spool.disk().sync_dir(&dir)?;
        let mut footers = Vec::new();
        for entry in self.spool.disk().list(&dir)? {
            let footer = match Name::parse(&entry.name) {
                Some(name) if entry.is_file => {
                    let bytes = self.spool.disk().read(&dir.join(&entry.name))?;
                    metadata::parse(&bytes).and_then(|metadata| {
                        read::segment_footer(&name, &metadata, self.spool.id())
                    })
                }
                _ => Err(Fault::Foreign),
            };
            match footer {
                // Not ours to judge: the next start finishes the replay.
                Ok(footer) if footer.replayed_from.is_some() => {}
                Ok(footer) => footers.push(footer),
                Err(fault) => {
                    quarantine::set_aside(&self.spool, Directory::Sealed, &entry.name, fault)?
                }
            }
        }
        footers.sort_by_key(|footer| footer.segment);
        if !footers.is_empty() {
            let mut state = self.spool.state();
            footers.iter().for_each(|footer| state.note_sealed(footer));
            drop(state);
            self.spool.write_state()?;
        }
        Ok(footers)
    }

    /// Makes a segment ready, now that its commit is acknowledged. One without
    /// rows has nothing to send and is removed.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; the call may be repeated until it succeeds.
    pub fn ready(&self, segment: &SegmentFooter) -> io::Result<()> {
        let name = Name::segment(segment.segment).to_string();
        let sealed = self.spool.layout().file(Directory::Sealed, &name);
        if segment.rows == 0 {
            return self.spool.remove(Directory::Sealed, &name);
        }
        let _guard = self.spool.handover();
        let moved = disk::relocate(
            self.spool.disk(),
            &sealed,
            &self.spool.layout().file(Directory::Ready, &name),
        );
        match moved {
            // A move that failed late, and the outlet has packed it since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
        self.spool.inner.arrivals.notify_one();
        Ok(())
    }

    /// Puts a sealed segment aside: no rule says whether its rows were taken in
    /// by somebody else, too.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn doubt(&self, segment: &SegmentFooter, reason: &Doubt) -> io::Result<()> {
        let name = Name::segment(segment.segment).to_string();
        quarantine::set_aside(&self.spool, Directory::Sealed, &name, reason.clone())
    }
}

fn untidy(error: &io::Error) {
    tracing::warn!(%error, "undecodable messages could not be kept within their limits; trying again");
    metrics::counter!("spoolhouse_undecodable_tidy_failures_total").increment(1);
}
