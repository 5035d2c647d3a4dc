//! The way out of the spool, for the upload.
//!
//! Invariant: a batch is frozen before it is sent and removed only when it is stored.
//! After an error nothing is given out before the spool was mended: only a look at
//! the disk tells how far the change came. May touch `ready/`, `batches/`, `sending/`
//! and `rejected/`, and what is taken back from `doubtful/`.

pub mod cpu_budget;
mod fit;
mod manual_send;
mod pack;
mod rejection;
pub mod trial_pack;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use uuid::Uuid;

use super::disk::{self, Access};
use super::format::batch::recipe::Strength;
use super::format::error::Fault;
use super::format::footer::BatchFooter;
use super::format::{batch, digest, read, schema};
use super::inbox::{self, Answer, Request};
use super::layout::{Directory, Name};
use super::quarantine::{self, Doubt};
use super::state_file::StateFile;
use super::{Spool, start};
use crate::failpoint;
use fit::Fit;
use pack::{Packed, Packer, name_of};

pub use fit::{BYTES_PER_ROW_FIRST, PackOptions};
pub use manual_send::{Brought, Declined, Leave, Wanted, foreign};
pub use rejection::Rejection;

/// Gives batches out, and does with each what became of it.
#[derive(Debug)]
pub struct Outlet {
    spool: Spool,
    packer: Packer,
    /// What can be done about a row that fits into no request.
    too_large_advice: &'static str,
    /// A change failed: how far it came is not known before [`Spool::mend`] looked.
    unsettled: AtomicBool,
    /// Digest of the batch whose split was begun: no attempt can have stored it.
    split: Mutex<Option<String>>,
}

/// A frozen batch: same bytes, same token, same settings until it is stored.
#[derive(Clone, Debug)]
pub struct Batch {
    name: Name,
    /// What the file is called in its directory.
    file: String,
    /// SHA-256 of the bytes, hex: the insert's deduplication token.
    pub digest: String,
    /// The file.
    pub bytes: Bytes,
    /// What it says of itself.
    pub footer: BatchFooter,
    /// Whether an earlier process may have posted it.
    pub fate_unknown: bool,
    directory: Directory,
}

impl Batch {
    /// The batch's name.
    pub fn name(&self) -> String {
        self.name.to_string()
    }

    /// The times of its records, seconds since 1970.
    ///
    /// # Errors
    /// Parquet's, passed on.
    pub fn record_times(&self) -> Result<Vec<u32>, Fault> {
        read::times(self.bytes.clone())
    }

    /// Whether it is a copy of a file from outside the spool: it stays where it
    /// is, whatever becomes of it.
    pub fn is_copy(&self) -> bool {
        self.directory == Directory::Inbox
    }

    /// Whether it is where its first byte may leave from.
    pub fn is_begun(&self) -> bool {
        matches!(self.directory, Directory::Sending | Directory::Inbox)
    }
}

impl Outlet {
    /// The outlet of `spool`. There should be one.
    pub fn new(spool: Spool) -> Self {
        Self {
            packer: Packer::new(spool.clone()),
            too_large_advice: "raise that",
            spool,
            unsettled: AtomicBool::new(false),
            split: Mutex::new(None),
        }
    }

    /// The same outlet, but that it says what can be done about a row that fits into
    /// no request: whoever sends knows what limits a request.
    #[must_use]
    pub fn advising(self, too_large_advice: &'static str) -> Self {
        Self {
            too_large_advice,
            ..self
        }
    }

    /// Notes that a change failed.
    fn settled<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.is_err() {
            self.unsettled.store(true, Ordering::Relaxed);
        }
        done
    }

    /// Finds what an operator wants sent next, and puts it in line.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; nothing is lost by calling again.
    pub fn bring(
        &self,
        wanted: &Wanted,
        leave: Leave,
        options: &PackOptions,
    ) -> io::Result<Brought> {
        self.mend_if_unsettled()?;
        self.settled(manual_send::bring(self, wanted, leave, options))
    }

    /// The requests of the command line that are open, the oldest first. On the way
    /// it quarantines invalid files and deletes expired answers.
    ///
    /// # Errors
    /// An I/O error from the spool's disk, for the directory as a whole; a single
    /// file is passed over.
    pub fn requests(&self, now_ms: u64) -> io::Result<Vec<(Uuid, Request)>> {
        inbox::requests(&self.spool, now_ms)
    }

    /// Answers a request; a final answer ends it.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn answer(&self, id: Uuid, answer: &Answer) -> io::Result<()> {
        inbox::give_answer(&self.spool, id, answer)
    }

    /// Waits until a segment becomes ready; one that did since the last call counts.
    pub async fn arrival(&self) {
        self.spool.inner.arrivals.notified().await;
    }

    /// The batch that goes next: the one that may have been posted before
    /// anything newer, then the oldest frozen one, then one packed from the
    /// oldest segments. `None` if nothing waits.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; nothing is lost by calling again.
    pub fn next(&self, options: &PackOptions) -> io::Result<Option<Batch>> {
        self.mend_if_unsettled()?;
        self.settled(self.find(options))
    }

    /// Half a packing or half a split must not be sent: finishes or undoes it.
    fn mend_if_unsettled(&self) -> io::Result<()> {
        if self.unsettled.load(Ordering::Relaxed) {
            start::mend(&self.spool)?;
            self.unsettled.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn find(&self, options: &PackOptions) -> io::Result<Option<Batch>> {
        for directory in [Directory::Sending, Directory::Batches] {
            for name in self.names(directory)? {
                let Some(batch) = self.read(directory, &name)? else {
                    continue;
                };
                let as_configured = batch.footer.encoding == options.encoding
                    && batch.footer.settings == options.settings;
                if directory == Directory::Batches && !as_configured {
                    self.pack_anew(&batch, options)?;
                    return self.find(options);
                }
                return Ok(Some(batch));
            }
        }
        // One row that fits into no request is put aside; then the next ones.
        loop {
            match self.pack(self.ready_names()?, options)? {
                Packed::Batch(name) => return self.read(Directory::Batches, &name),
                Packed::Nothing => return Ok(None),
                Packed::OneRowTooLarge => {}
            }
        }
    }

    /// Moves a batch to `sending/`. Its first byte may leave only after this.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; the batch must not be sent then.
    pub fn begin(&self, batch: &mut Batch) -> io::Result<()> {
        if !batch.is_begun() {
            self.settled(self.relocate(batch, Directory::Sending))?;
            batch.directory = Directory::Sending;
        }
        Ok(())
    }

    /// Moves a batch back to `batches/`: every attempt was refused, and none can
    /// have stored anything. A start finds it as one that was never posted, and
    /// may pack it anew.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; the batch must be found again before it is sent.
    pub fn recall(&self, batch: &mut Batch) -> io::Result<()> {
        if batch.directory == Directory::Sending {
            let name = batch.name();
            let to = (Directory::Batches, &batch.name);
            self.settled(self.move_back((Directory::Sending, &name), to, &batch.bytes))?;
            batch.directory = Directory::Batches;
        }
        Ok(())
    }

    /// Moves a file against the way that files go: written anew there, and only
    /// then removed here. A start makes renames durable in the order of the
    /// way, and would lose a file that was renamed against it.
    fn move_back(
        &self,
        (directory, file): (Directory, &str),
        (to, name): (Directory, &Name),
        bytes: &[u8],
    ) -> io::Result<()> {
        self.spool.publish(to, name, bytes, Access::Shared)?;
        self.spool.remove(directory, file)
    }

    /// Removes a batch that ClickHouse has confirmed, and before it what said
    /// why it was rejected once.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; the batch is then posted again under the same token.
    pub fn stored(&self, batch: &Batch) -> io::Result<()> {
        if batch.is_copy() {
            return Ok(());
        }
        let removed = rejection::remove(&self.spool, &batch.name())
            .and_then(|()| self.spool.remove(batch.directory, &batch.name()));
        failpoint::hit("batch.removed");
        self.settled(removed)
    }

    /// Moves a batch to `rejected/`, the reason beside it first.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn reject(&self, batch: &Batch, why: &Rejection) -> io::Result<()> {
        if batch.is_copy() {
            return Ok(());
        }
        let done = rejection::write(&self.spool, &batch.name(), why)
            .and_then(|()| self.relocate(batch, Directory::Rejected));
        self.settled(done)
    }

    /// Moves a batch to `doubtful/` with a reason.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn doubt(&self, batch: &Batch, reason: &Doubt) -> io::Result<()> {
        if batch.is_copy() {
            return Ok(());
        }
        self.settled(quarantine::set_aside(
            &self.spool,
            batch.directory,
            &batch.name(),
            reason.clone(),
        ))
    }

    /// Splits a batch that no attempt can have stored into batches of at most
    /// `bytes_max`. The parts are published before the whole is removed; a row
    /// that fits into none is rejected.
    ///
    /// # Errors
    /// An I/O error from the spool's disk; [`Outlet::next`] then gives the whole batch out again.
    pub fn split(&self, batch: &Batch, bytes_max: u64) -> io::Result<()> {
        *self.split.lock().unwrap_or_else(PoisonError::into_inner) = Some(batch.digest.clone());
        // Out of sending/ first: should this be cut short, a start must not take
        // it for one that may be stored.
        let mut batch = batch.clone();
        self.recall(&mut batch)?;
        let options = PackOptions {
            bytes_max,
            encoding: batch.footer.encoding,
            settings: batch.footer.settings.clone(),
            ..PackOptions::default()
        };
        self.settled(self.split_into_parts(&batch, &options))
    }

    /// Freezes a batch that was never posted, or refused each time, as it is
    /// configured now: the server may not know a setting that it carries, or not
    /// read its encoding.
    fn pack_anew(&self, batch: &Batch, options: &PackOptions) -> io::Result<()> {
        tracing::info!(
            batch = batch.name(),
            encoding = ?options.encoding,
            "packed anew with the settings and the encoding that are configured now",
        );
        self.split_into_parts(batch, options)
    }

    fn split_into_parts(&self, batch: &Batch, options: &PackOptions) -> io::Result<()> {
        let bytes_max = options.bytes_max;
        let recipe = self.packer.recipe(options.encoding);
        let rows = match read::rows(batch.bytes.clone(), schema::batch()) {
            Ok(rows) => rows,
            Err(fault) => return self.doubt(batch, &fault.into()),
        };
        let mut start = 0;
        while start < rows.num_rows() {
            let left = rows.slice(start, rows.num_rows() - start);
            let guess = (bytes_max as f64 / batch.bytes.len() as f64 * rows.num_rows() as f64)
                .max(1.0) as u64;
            let footer = |rows| BatchFooter {
                rows,
                encoding: options.encoding,
                settings: options.settings.clone(),
                split_from: Some(batch.digest.clone()),
                ..batch.footer.clone()
            };
            let fit = fit::fit(left.num_rows() as u64, guess, bytes_max, |rows| {
                let rows = left.slice(0, rows as usize);
                let footer = footer(rows.num_rows() as u64);
                batch::encode(&rows, &footer, &recipe, Strength::Full)
            });
            let (taken, directory, bytes) = match fit.map_err(io::Error::other)? {
                Fit::Rows(taken, bytes) => (taken, Directory::Batches, bytes),
                Fit::Nothing(bytes) => (1, Directory::Rejected, bytes),
            };
            let name = name_of(batch.name.number(), &bytes);
            if directory == Directory::Rejected {
                let (size, advice) = (bytes.len(), self.too_large_advice);
                rejection::write_too_large(&self.spool, &name, size, bytes_max, advice)?;
            }
            self.spool
                .publish(directory, &name, &bytes, Access::Shared)?;
            start += taken as usize;
        }
        self.stored(batch)
    }

    /// The file for what the upload has learned about the proxy.
    pub fn pace_file(&self) -> StateFile {
        StateFile::new(self.spool.inner.disk.clone(), self.spool.layout().pace())
    }

    fn pack(&self, names: Vec<Name>, options: &PackOptions) -> io::Result<Packed> {
        self.packer.pack(names, options, self.too_large_advice)
    }

    fn ready_names(&self) -> io::Result<Vec<Name>> {
        let _guard = self.spool.handover();
        // A segment whose move could not be synced may come back in `sealed/`
        // when the power goes: what is packed has left it for good.
        for directory in [Directory::Ready, Directory::Sealed] {
            self.spool
                .disk()
                .sync_dir(&self.spool.layout().directory(directory))?;
        }
        self.names(Directory::Ready)
    }

    fn names(&self, directory: Directory) -> io::Result<Vec<Name>> {
        let files = self.spool.layout().files(self.spool.disk(), directory)?;
        Ok(files.into_iter().map(|(name, _)| name).collect())
    }

    fn read(&self, directory: Directory, name: &Name) -> io::Result<Option<Batch>> {
        let path = self.spool.layout().file(directory, &name.to_string());
        let bytes = self.spool.disk().read(&path)?;
        let footer = match read::batch(name, &bytes, self.spool.id()) {
            Ok(footer) => footer,
            Err(fault) => {
                quarantine::set_aside(&self.spool, directory, &name.to_string(), fault)?;
                return Ok(None);
            }
        };
        let digest = digest::of(&bytes);
        let split = self.split.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(Batch {
            name: name.clone(),
            file: name.to_string(),
            fate_unknown: directory == Directory::Sending && split.as_ref() != Some(&digest),
            digest,
            bytes,
            footer,
            directory,
        }))
    }

    fn relocate(&self, batch: &Batch, to: Directory) -> io::Result<()> {
        let name = batch.name();
        disk::relocate(
            self.spool.disk(),
            &self.spool.layout().file(batch.directory, &name),
            &self.spool.layout().file(to, &name),
        )
    }
}
