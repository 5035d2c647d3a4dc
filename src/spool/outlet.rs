//! Upload's door out of the spool.
//!
//! A batch is frozen before it is sent and removed only when it is stored.
//! After an error nothing is given out before the spool was mended: only a look
//! at the disk tells how far the change came.

pub mod cpu_budget;
pub mod fit;
pub mod manual_send;
mod pack;
pub mod trial_pack;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use pack::{Learned, Packed};

use super::Spool;
use super::disk::{self, Access};
use super::format::batch::recipe::{Encoding, Strength};
use super::format::error::Fault;
use super::format::footer::BatchFooter;
use super::format::{batch, digest, read, schema};
use super::layout::{Name, Room, error_sidecar};
use super::state_file::StateFile;
use crate::failpoint;
use cpu_budget::Effort;
use fit::Fit;

/// Upload's door.
#[derive(Debug)]
pub struct Outlet {
    pub(super) spool: Spool,
    learned: Mutex<Learned>,
    /// A change failed: how far it came is not known before [`Spool::mend`] looked.
    unsettled: AtomicBool,
    /// Digest of the batch whose split was begun: no attempt can have stored it.
    split: Mutex<Option<String>>,
}

/// How the next batch is to be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackOptions {
    /// Largest file, bytes.
    pub bytes_max: u64,
    /// ClickHouse settings that the batch freezes.
    pub settings: BTreeMap<String, String>,
    /// Which encodings it may use.
    pub encoding: Encoding,
    /// How much CPU time it may take.
    pub effort: Effort,
}

impl Default for PackOptions {
    /// For a stock nginx.
    fn default() -> Self {
        Self {
            bytes_max: 1 << 20,
            settings: BTreeMap::new(),
            encoding: Encoding::default(),
            effort: Effort::default(),
        }
    }
}

/// A frozen batch: same bytes, same token, same settings until it is stored.
#[derive(Clone, Debug)]
pub struct Batch {
    name: Name,
    /// What the file is called in its room.
    file: String,
    /// SHA-256 of the bytes, hex: the insert's deduplication token.
    pub digest: String,
    /// The file.
    pub bytes: Bytes,
    /// What it says of itself.
    pub footer: BatchFooter,
    /// Whether an earlier process may have posted it.
    pub fate_unknown: bool,
    room: Room,
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
        self.room == Room::Inbox
    }

    /// Whether it is where its first byte may leave from.
    pub fn is_begun(&self) -> bool {
        matches!(self.room, Room::Sending | Room::Inbox)
    }
}

/// Why a batch was rejected: the content of the file beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// When, RFC 3339.
    pub time: String,
    /// ClickHouse's exception code, if it gave one.
    pub code: Option<i32>,
    /// What was answered, shortened.
    pub message: String,
    /// The id under which ClickHouse logged the insert.
    pub query_id: String,
    /// How often it was posted.
    pub attempts: u32,
}

impl Outlet {
    /// The door of `spool`. There should be one.
    pub fn new(spool: Spool) -> Self {
        Self {
            spool,
            learned: Mutex::default(),
            unsettled: AtomicBool::new(false),
            split: Mutex::new(None),
        }
    }

    /// Notes that a change failed.
    fn settled<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.is_err() {
            self.unsettled.store(true, Ordering::Relaxed);
        }
        done
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
    /// The disk's; nothing is lost by calling again.
    pub fn next(&self, options: &PackOptions) -> io::Result<Option<Batch>> {
        self.mend_if_unsettled()?;
        self.settled(self.find(options))
    }

    /// Half a packing or half a split must not be sent: finishes or undoes it.
    fn mend_if_unsettled(&self) -> io::Result<()> {
        if self.unsettled.load(Ordering::Relaxed) {
            self.spool.mend()?;
            self.unsettled.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn find(&self, options: &PackOptions) -> io::Result<Option<Batch>> {
        for room in [Room::Sending, Room::Batches] {
            for name in self.names(room)? {
                let Some(batch) = self.read(room, &name)? else {
                    continue;
                };
                let as_configured = batch.footer.encoding == options.encoding
                    && batch.footer.settings == options.settings;
                if room == Room::Batches && !as_configured {
                    self.pack_anew(&batch, options)?;
                    return self.find(options);
                }
                return Ok(Some(batch));
            }
        }
        // One row that fits into no request is put aside; then the next ones.
        loop {
            match self.pack(self.ready_names()?, options)? {
                Packed::Batch(batch) => return Ok(Some(*batch)),
                Packed::Nothing => return Ok(None),
                Packed::OneRowTooLarge => {}
            }
        }
    }

    /// Moves a batch to `sending/`. Its first byte may leave only after this.
    ///
    /// # Errors
    /// The disk's; the batch must not be sent then.
    pub fn begin(&self, batch: &mut Batch) -> io::Result<()> {
        if !batch.is_begun() {
            self.settled(self.relocate(batch, Room::Sending))?;
            batch.room = Room::Sending;
        }
        Ok(())
    }

    /// Moves a batch back to `batches/`: every attempt was refused, and none can
    /// have stored anything. A start finds it as one that was never posted, and
    /// may pack it anew.
    ///
    /// # Errors
    /// The disk's; the batch must be found again before it is sent.
    pub fn recall(&self, batch: &mut Batch) -> io::Result<()> {
        if batch.room == Room::Sending {
            let name = batch.name();
            let to = (Room::Batches, &batch.name);
            self.settled(self.move_back((Room::Sending, &name), to, &batch.bytes))?;
            batch.room = Room::Batches;
        }
        Ok(())
    }

    /// Moves a file against the way that files go: written anew there, and only
    /// then removed here. A start makes renames durable in the order of the
    /// way, and would lose a file that was renamed against it.
    fn move_back(
        &self,
        (room, file): (Room, &str),
        (to, name): (Room, &Name),
        bytes: &[u8],
    ) -> io::Result<()> {
        self.spool.publish(to, name, bytes, Access::Shared)?;
        self.spool.remove(room, file)
    }

    /// Removes a batch that ClickHouse has confirmed, and before it what said
    /// why it was rejected once.
    ///
    /// # Errors
    /// The disk's; the batch is then posted again under the same token.
    pub fn stored(&self, batch: &Batch) -> io::Result<()> {
        if batch.is_copy() {
            return Ok(());
        }
        let removed = self
            .remove_error(batch)
            .and_then(|()| self.spool.remove(batch.room, &batch.name()));
        failpoint::hit("batch.removed");
        self.settled(removed)
    }

    /// Moves a batch to `rejected/`, the reason beside it first.
    ///
    /// # Errors
    /// The disk's.
    pub fn reject(&self, batch: &Batch, why: &Rejection) -> io::Result<()> {
        if batch.is_copy() {
            return Ok(());
        }
        let sidecar = error_sidecar(&batch.name());
        let why = serde_json::to_value(why)?;
        let done = self
            .spool
            .write_sidecar(Room::Rejected, &sidecar, &why)
            .and_then(|()| self.relocate(batch, Room::Rejected));
        self.settled(done)
    }

    /// Moves a batch to `doubtful/` with a reason.
    ///
    /// # Errors
    /// The disk's.
    pub fn doubt(&self, batch: &Batch, fault: &Fault) -> io::Result<()> {
        if batch.is_copy() {
            return Ok(());
        }
        self.settled(self.spool.set_aside(batch.room, &batch.name(), fault))
    }

    /// Splits a batch that no attempt can have stored into batches of at most
    /// `bytes_max`. The parts are published before the whole is removed; a row
    /// that fits into none is rejected.
    ///
    /// # Errors
    /// The disk's; [`Outlet::next`] then gives the whole batch out again.
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
        let recipe = self.recipe(options.encoding);
        let rows = match read::rows(batch.bytes.clone(), schema::batch()) {
            Ok(rows) => rows,
            Err(fault) => return self.doubt(batch, &fault),
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
            let (taken, room, bytes) = match fit.map_err(io::Error::other)? {
                Fit::Rows(taken, bytes) => (taken, Room::Batches, bytes),
                Fit::Nothing(bytes) => (1, Room::Rejected, bytes),
            };
            let name = name_of(batch.name.number(), &bytes);
            if room == Room::Rejected {
                self.explain_too_large(&name, bytes.len(), bytes_max)?;
            }
            self.spool.publish(room, &name, &bytes, Access::Shared)?;
            start += taken as usize;
        }
        self.stored(batch)
    }

    /// The file for what the upload has learned about the proxy.
    pub fn pace_file(&self) -> StateFile {
        StateFile::new(self.spool.inner.disk.clone(), self.spool.layout().pace())
    }

    fn names(&self, room: Room) -> io::Result<Vec<Name>> {
        let mut names: Vec<Name> = self
            .spool
            .disk()
            .list(&self.spool.layout().room(room))?
            .iter()
            .filter(|entry| entry.is_file)
            .filter_map(|entry| Name::parse(&entry.name))
            .collect();
        names.sort();
        Ok(names)
    }

    fn read(&self, room: Room, name: &Name) -> io::Result<Option<Batch>> {
        let path = self.spool.layout().file(room, &name.to_string());
        let bytes = self.spool.disk().read(&path)?;
        let footer = match read::batch(name, &bytes, self.spool.id()) {
            Ok(footer) => footer,
            Err(fault) => {
                self.spool.set_aside(room, &name.to_string(), &fault)?;
                return Ok(None);
            }
        };
        let digest = digest::of(&bytes);
        let split = self.split.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(Batch {
            name: name.clone(),
            file: name.to_string(),
            fate_unknown: room == Room::Sending && split.as_ref() != Some(&digest),
            digest,
            bytes,
            footer,
            room,
        }))
    }

    fn relocate(&self, batch: &Batch, to: Room) -> io::Result<()> {
        let name = batch.name();
        disk::relocate(
            self.spool.disk(),
            &self.spool.layout().file(batch.room, &name),
            &self.spool.layout().file(to, &name),
        )
    }

    fn explain_too_large(&self, name: &Name, bytes: usize, bytes_max: u64) -> io::Result<()> {
        let message = format!(
            "one row takes {bytes} bytes, and a request holds {bytes_max}: \
             raise client_max_body_size at the proxy and upload.max_body, then send it by hand"
        );
        tracing::error!(file = %format!("rejected/{name}"), message);
        metrics::counter!("spoolhouse_batches_rejected_total").increment(1);
        let why = Rejection {
            message,
            ..Rejection::default()
        };
        let sidecar = error_sidecar(&name.to_string());
        self.spool
            .write_sidecar(Room::Rejected, &sidecar, &serde_json::to_value(why)?)
    }
}

fn name_of(number: u64, bytes: &[u8]) -> Name {
    Name::Batch {
        number,
        digest: digest::of(bytes),
    }
}
