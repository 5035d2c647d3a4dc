//! What an operator wants sent next: found where it lies now, and put in line.
//!
//! A segment is frozen into a batch, so that its rows go under one token; a
//! batch that was rejected or in doubt goes back to `sending/`, since nobody
//! knows any more whether an attempt stored it: it is never split or packed
//! anew. All that is decided here follows from where the files are, so a
//! request that was cut short is simply carried out again.

use std::collections::BTreeMap;
use std::io;

use arrow_schema::SchemaRef;
use bytes::Bytes;

use super::fit::PackOptions;
use super::pack::Packed;
use super::{Batch, Outlet, rejection};
use crate::spool::disk;
use crate::spool::format::encoding::Encoding;
use crate::spool::format::error::Fault;
use crate::spool::format::footer::{BatchFooter, Footer, Source};
use crate::spool::format::metadata;
use crate::spool::format::{digest, read, schema};
use crate::spool::layout::{Directory, Name, reason_sidecar};

/// Why a file can't be sent, in words for an operator: what it is, and what to
/// do next. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Declined(pub String);

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A segment or a batch of the spool, wherever it lies when its turn comes.
    Ours {
        /// Its name.
        name: Name,
        /// What it is called in `doubtful/`, if it was asked for there.
        aside: Option<String>,
    },
    /// The copy of a file from outside the spool, by its name in `inbox/`.
    Copy(String),
}

impl Wanted {
    /// From a file's place, which is untrusted.
    ///
    /// # Errors
    /// [`Declined`] for what can't be sent, with or without `doubtful`.
    pub fn parse(place: &str, doubtful: bool) -> Result<Self, Declined> {
        let declined = |why: &str| Err(Declined(format!("{place}: {why}")));
        let Some((directory, file)) = place.split_once('/') else {
            return declined("it is no file of a room of the spool");
        };
        let Some(directory) = Directory::ALL
            .into_iter()
            .find(|known| known.name() == directory)
        else {
            return declined("the spool has no such room");
        };
        if directory == Directory::Inbox {
            let is_plain = file.ends_with(".parquet") && !file.contains('/');
            return match is_plain {
                true => Ok(Self::Copy(file.to_owned())),
                false => declined("it is no copy of a file"),
            };
        }
        // A second file of one name is `NAME.1` in doubtful/.
        let (stem, copy) = match file.rsplit_once(".parquet.") {
            Some((stem, copy)) if directory == Directory::Doubtful => {
                (format!("{stem}.parquet"), Some(copy))
            }
            _ => (file.to_owned(), None),
        };
        if copy.is_some_and(|copy| copy.parse::<u32>().is_err()) {
            return declined("it is no segment and no batch");
        }
        let Some(name) = Name::parse(&stem) else {
            return declined("it is no segment and no batch");
        };
        match (directory, &name) {
            (_, Name::Undecodable { .. }) | (Directory::Undecodable, _) => declined(
                "its messages are no records; after a fix, `spoolhouse replay-undecodable` decodes \
                 them anew",
            ),
            (Directory::Sealed, _) => declined(
                "its Kafka commit is not acknowledged yet, so another consumer may still get the \
                 same messages; it goes to ready/ by itself, or to doubtful/ with the reason",
            ),
            (Directory::Open, _) => declined("it is a draft that was not published yet"),
            (Directory::Doubtful, _) if !doubtful => declined(
                "nobody knows whether its rows are stored: read the .reason.json beside it, look \
                 in ClickHouse, and if they are to be stored ask again with --doubtful",
            ),
            _ => Ok(Self::Ours {
                aside: (directory == Directory::Doubtful).then(|| file.to_owned()),
                name,
            }),
        }
    }

    /// Whether this batch holds what is wanted, or a part of it.
    pub fn is_in(&self, batch: &Batch) -> bool {
        match self {
            Self::Copy(file) => batch.directory == Directory::Inbox && batch.file == *file,
            Self::Ours { name, .. } => match name {
                _ if batch.directory == Directory::Inbox => false,
                Name::Batch { digest, .. } => {
                    batch.digest == *digest || batch.footer.split_from.as_ref() == Some(digest)
                }
                Name::Segment { number, first_row } => batch.footer.covers.iter().any(|cover| {
                    let rows = cover.rows_of(*number);
                    rows.is_some_and(|(_, end)| end.is_none_or(|end| end > *first_row))
                }),
                Name::Undecodable { .. } => false,
            },
        }
    }
}

/// What came of looking for what is wanted.
#[derive(Debug)]
pub enum Brought {
    /// This goes next: what is wanted, a part of it, or what must go before it.
    Batch(Box<Batch>),
    /// It was rejected, and lies there since.
    Rejected(String),
    /// It is nowhere in the spool: only what ClickHouse confirmed leaves it.
    Gone,
    /// It can't be sent.
    Declined(Declined),
}

/// What [`Outlet::bring`] may do to find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leave {
    /// Take it back from `rejected/` or `doubtful/`. Once per request: what is
    /// rejected again stays there.
    pub take_back: bool,
    /// Pass what lies in `sending/`: it goes to another server than this does.
    pub pass: bool,
}

/// Finds what is wanted and puts it in line.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(super) fn bring(
    outlet: &Outlet,
    wanted: &Wanted,
    leave: Leave,
    options: &PackOptions,
) -> io::Result<Brought> {
    for name in outlet.names(Directory::Sending)? {
        if let Some(batch) = outlet.read(Directory::Sending, &name)?
            && (!leave.pass || wanted.is_in(&batch))
        {
            return Ok(Brought::Batch(Box::new(batch)));
        }
    }
    let (name, aside) = match wanted {
        Wanted::Copy(file) => return read_copy(outlet, file, options),
        Wanted::Ours { name, aside } => (name, aside),
    };
    if let Some(batch) = batch_in(outlet, Directory::Batches, wanted)? {
        return Ok(Brought::Batch(Box::new(batch)));
    }
    if let Name::Segment { number, .. } = name
        && let Some(batch) = freeze_segment(outlet, *number, options)?
    {
        return Ok(Brought::Batch(Box::new(batch)));
    }
    if let Some(mut batch) = batch_in(outlet, Directory::Rejected, wanted)? {
        if !leave.take_back {
            return Ok(Brought::Rejected(batch.name()));
        }
        // Never posted: it may still be split.
        let to = match rejection::was_posted(&outlet.spool, &batch.name()) {
            true => Directory::Sending,
            false => Directory::Batches,
        };
        let name = batch.name();
        outlet.move_back(
            (Directory::Rejected, &name),
            (to, &batch.name),
            &batch.bytes,
        )?;
        batch.directory = to;
        batch.fate_unknown = to == Directory::Sending;
        return Ok(Brought::Batch(Box::new(batch)));
    }
    match aside {
        Some(aside) if leave.take_back => take_from_doubtful(outlet, name, aside, options),
        _ => where_else(outlet, name),
    }
}

fn batch_in(outlet: &Outlet, directory: Directory, wanted: &Wanted) -> io::Result<Option<Batch>> {
    for name in outlet.names(directory)? {
        if let Some(batch) = outlet.read(directory, &name)?
            && wanted.is_in(&batch)
        {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// Freezes the first part of a segment in `ready/`, or all of it.
fn freeze_segment(
    outlet: &Outlet,
    number: u64,
    options: &PackOptions,
) -> io::Result<Option<Batch>> {
    loop {
        let mut names = outlet.ready_names()?;
        names.retain(|name| name.number() == number);
        if names.is_empty() {
            return Ok(None);
        }
        match outlet.pack(names, options)? {
            Packed::Batch(name) => return outlet.read(Directory::Batches, &name),
            Packed::Nothing => return Ok(None),
            Packed::OneRowTooLarge => {}
        }
    }
}

fn take_from_doubtful(
    outlet: &Outlet,
    name: &Name,
    aside: &str,
    options: &PackOptions,
) -> io::Result<Brought> {
    let spool = &outlet.spool;
    let from = spool.layout().file(Directory::Doubtful, aside);
    let bytes = match spool.disk().read(&from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return where_else(outlet, name),
        bytes => bytes?,
    };
    let size = bytes.len() as i64;
    let (to, checked) = match name {
        Name::Batch { .. } => (
            Directory::Sending,
            read::batch(name, &bytes, spool.id()).err(),
        ),
        _ => (
            Directory::Ready,
            read::segment(name, bytes.clone(), spool.id()).err(),
        ),
    };
    if let Some(fault) = checked {
        return Ok(Brought::Declined(Declined(format!(
            "doubtful/{aside} can't be sent: {fault}"
        ))));
    }
    outlet.move_back((Directory::Doubtful, aside), (to, name), &bytes)?;
    if Name::parse(aside).is_none() {
        // `NAME.1` did not count as one of ours.
        spool.count_bytes(size);
    }
    rejection::remove_sidecar(spool, Directory::Doubtful, &reason_sidecar(aside))?;
    let batch = match name {
        Name::Segment { number, .. } => freeze_segment(outlet, *number, options)?,
        _ => outlet.read(to, name)?,
    };
    Ok(batch.map_or(Brought::Gone, |batch| Brought::Batch(Box::new(batch))))
}

/// Says why something is not found where it can be sent from.
fn where_else(outlet: &Outlet, name: &Name) -> io::Result<Brought> {
    let text = name.to_string();
    for (directory, why) in [
        (
            Directory::Sealed,
            "its Kafka commit is not acknowledged yet; it goes to ready/ by itself",
        ),
        (
            Directory::Doubtful,
            "it was set aside; the .reason.json beside it says why",
        ),
    ] {
        let path = outlet.spool.layout().file(directory, &text);
        if disk::size(outlet.spool.disk(), &path).is_some() {
            return Ok(Brought::Declined(Declined(format!(
                "{}/{text}: {why}",
                directory.name()
            ))));
        }
    }
    Ok(Brought::Gone)
}

fn read_copy(outlet: &Outlet, file: &str, options: &PackOptions) -> io::Result<Brought> {
    let path = outlet.spool.layout().file(Directory::Inbox, file);
    let bytes = match outlet.spool.disk().read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Brought::Gone),
        bytes => bytes?,
    };
    let footer = match foreign(&bytes, &options.settings) {
        Ok(footer) => footer,
        Err(fault) => return Ok(Brought::Declined(Declined(fault.to_string()))),
    };
    let digest = digest::of(&bytes);
    Ok(Brought::Batch(Box::new(Batch {
        name: Name::Batch {
            number: 0,
            digest: digest.clone(),
        },
        file: file.to_owned(),
        digest,
        bytes,
        footer,
        // Nobody knows who posted it before: never split.
        fate_unknown: true,
        directory: Directory::Inbox,
    })))
}

/// Reads a file from outside the spool: any Parquet file of the nine columns.
/// One of ours is sent under the settings it was frozen with, any other under
/// `settings`.
///
/// # Errors
/// What is wrong with it.
pub fn foreign(bytes: &Bytes, settings: &BTreeMap<String, String>) -> Result<BatchFooter, Fault> {
    let metadata = metadata::parse(bytes)?;
    let columns: SchemaRef = schema::batch();
    let mut rows = 0;
    for chunk in read::chunks(bytes.clone(), &columns)? {
        rows += chunk?.num_rows() as u64;
    }
    match Footer::from_metadata(&metadata) {
        Ok(Footer::Batch(footer)) => Ok(footer),
        _ => Ok(BatchFooter {
            spool: uuid::Uuid::nil(),
            rows,
            source: Source {
                cluster: String::new(),
                topic: String::new(),
                topic_id: String::new(),
            },
            covers: Vec::new(),
            offsets: BTreeMap::new(),
            settings: settings.clone(),
            // Unknown; it is sent as it is.
            encoding: Encoding::default(),
            split_from: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_parsed_as_untrusted_input() {
        let batch = format!("batch-0000000039-{}.parquet", "a".repeat(64));
        for (place, doubtful) in [
            ("ready/seg-0000000042.parquet".to_owned(), false),
            ("ready/seg-0000000040-from-1200.parquet".to_owned(), false),
            (format!("rejected/{batch}"), false),
            (format!("doubtful/{batch}.2"), true),
            ("inbox/copy.parquet".to_owned(), false),
        ] {
            assert!(Wanted::parse(&place, doubtful).is_ok(), "{place}");
        }
        for place in [
            "",
            "seg-0000000042.parquet",
            "../ready/seg-0000000042.parquet",
            "ready/../spool.json",
            "ready//etc/passwd",
            "inbox/../../secret.parquet",
            "open/seg-0000000042.parquet",
            "sealed/seg-0000000042.parquet",
            "undecodable/und-0000000042.parquet",
            "doubtful/seg-0000000042.parquet.x",
        ] {
            assert!(Wanted::parse(place, true).is_err(), "{place}");
        }
        let parsed = Wanted::parse(&format!("doubtful/{batch}"), false);
        assert!(parsed.unwrap_err().to_string().contains("--doubtful"));
    }
}
