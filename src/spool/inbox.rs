//! Requests of the command line to whoever owns the spool, and the answers.
//!
//! A request is one small JSON file that appears whole or not at all; the owner
//! writes its answer beside it, again at every change, and removes the request
//! once the answer is final. Whoever asked removes the answer. So a request
//! whose command died is carried out all the same, also by the next owner, and
//! one that is withdrawn is just removed. Everything found here is untrusted:
//! what is no request is set aside and keeps nobody from working.

use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Spool;
use super::disk::{self, Access, Disk};
use super::layout::{Directory, Layout};
use super::quarantine::{self, Doubt};

/// Version of the documents below.
pub const FORMAT: u32 = 1;

/// A larger file is no request and no answer.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024;

/// How long an answer that nobody fetched is kept, in milliseconds.
const ANSWER_MS_MAX: u64 = 3_600_000;

const REQUEST: &str = ".request.json";
const ANSWER: &str = ".answer.json";
const COPY: &str = ".parquet";
/// Endings of drafts, which their writers rename in a moment.
const DRAFT: &str = ".tmp";

/// A wish: send this file next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was made, in milliseconds since 1970: the oldest goes first.
    pub asked_at_ms: u64,
    /// The file, as `directory/name`.
    pub file: String,
    /// Whether to try at once instead of at the next slot.
    #[serde(default)]
    pub now: bool,
    /// Where to post it, if not where everything goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether a file of `doubtful/` may be meant: a person has decided.
    #[serde(default)]
    pub doubtful: bool,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is in line, or on its way.
    Waiting,
    /// ClickHouse has every row.
    Stored,
    /// It was not in the spool any more.
    Gone,
    /// Not stored, and kept: the message says where.
    Kept,
    /// It can't be sent like that; nothing was changed.
    Declined,
}

/// What the owner says to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was written, in milliseconds since 1970.
    pub answered_at_ms: u64,
    /// How far it has come.
    pub state: State,
    /// For people.
    pub message: String,
    /// The batch that goes, or went, last.
    pub batch: Option<String>,
    /// Rows that were stored so far.
    pub rows: u64,
    /// When the next attempt is due, in milliseconds since 1970.
    pub due_ms: Option<u64>,
}

impl Answer {
    /// Whether nothing more will come.
    pub fn is_final(&self) -> bool {
        self.state != State::Waiting
    }
}

fn path(layout: &Layout, id: Uuid, ending: &str) -> PathBuf {
    layout.file(Directory::Inbox, &format!("{id}{ending}"))
}

/// The name under which a file from outside the spool lies in `inbox/`.
pub fn copy_name(id: Uuid) -> String {
    format!("{id}{COPY}")
}

fn id_in(name: &str, ending: &str) -> Option<Uuid> {
    let id = name.strip_suffix(ending)?;
    let parsed = Uuid::parse_str(id).ok()?;
    // One spelling only.
    (parsed.to_string() == id).then_some(parsed)
}

/// Leaves a request, and before it a copy of the file that it speaks of if
/// that one is outside the spool.
///
/// # Errors
/// An I/O error from the spool's disk; nothing was asked for then.
pub fn ask(
    disk: &dyn Disk,
    layout: &Layout,
    id: Uuid,
    request: &Request,
    copy: Option<&[u8]>,
) -> io::Result<()> {
    if let Some(bytes) = copy {
        let path = path(layout, id, COPY);
        let draft = layout.file(Directory::Inbox, &format!("{id}{COPY}{DRAFT}"));
        disk::publish(disk, &draft, &path, bytes, Access::Shared)?;
    }
    let bytes = serde_json::to_vec_pretty(request)?;
    disk::replace(disk, &path(layout, id, REQUEST), &bytes)
}

/// What was answered so far.
///
/// # Errors
/// An I/O error from the spool's disk, or an answer that can't be read.
pub fn answer(disk: &dyn Disk, layout: &Layout, id: Uuid) -> io::Result<Option<Answer>> {
    read(disk, &path(layout, id, ANSWER))
}

/// Takes a request back, if it is still there: what was put in line stays there.
///
/// # Errors
/// An I/O error from the spool's disk.
pub fn withdraw(disk: &dyn Disk, layout: &Layout, id: Uuid) -> io::Result<()> {
    remove(disk, layout, id, &[REQUEST, COPY, ANSWER])
}

/// Removes an answer that was read.
///
/// # Errors
/// An I/O error from the spool's disk.
pub fn forget(disk: &dyn Disk, layout: &Layout, id: Uuid) -> io::Result<()> {
    remove(disk, layout, id, &[ANSWER])
}

fn remove(disk: &dyn Disk, layout: &Layout, id: Uuid, endings: &[&str]) -> io::Result<()> {
    for ending in endings {
        match disk.remove(&path(layout, id, ending)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    disk.sync_dir(&layout.directory(Directory::Inbox))
}

fn read<T: DeserializeOwned>(disk: &dyn Disk, path: &std::path::Path) -> io::Result<Option<T>> {
    match disk.read_end(path, DOCUMENT_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok((size, _)) if size > DOCUMENT_BYTES_MAX => {
            Err(io::Error::other(format!("{size} bytes are too many")))
        }
        Ok((_, bytes)) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(io::Error::other),
    }
}

/// The requests that are open, the oldest first. On the way it quarantines invalid
/// files and deletes expired answers.
///
/// # Errors
/// An I/O error from the spool's disk, for the directory as a whole; a single file
/// is passed over.
pub(super) fn requests(spool: &Spool, now_ms: u64) -> io::Result<Vec<(Uuid, Request)>> {
    let mut open = Vec::new();
    for entry in spool
        .disk()
        .list(&spool.layout().directory(Directory::Inbox))?
    {
        let name = entry.name.as_str();
        if name.starts_with('.') || name.ends_with(DRAFT) || id_in(name, COPY).is_some() {
            continue;
        }
        if let Some(id) = id_in(name, ANSWER).filter(|_| entry.is_file) {
            tidy(spool, id, now_ms);
        } else if let Some(id) = id_in(name, REQUEST).filter(|_| entry.is_file) {
            match request(spool, id) {
                Ok(Some(request)) => open.push((id, request)),
                Ok(None) => {}
                Err(error) => aside(spool, name, &error.to_string()),
            }
        } else {
            aside(spool, name, "its name is not one of ours");
        }
    }
    open.sort_by_key(|(id, request)| (request.asked_at_ms, *id));
    Ok(open)
}

/// Answers a request; a final answer ends it.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(super) fn give_answer(spool: &Spool, id: Uuid, answer: &Answer) -> io::Result<()> {
    let (disk, layout) = (spool.disk(), spool.layout());
    let bytes = serde_json::to_vec_pretty(answer)?;
    disk::replace(disk, &path(layout, id, ANSWER), &bytes)?;
    if answer.is_final() {
        remove(disk, layout, id, &[REQUEST, COPY])?;
    }
    Ok(())
}

/// A request; `None` if it was withdrawn, or answered for good already.
fn request(spool: &Spool, id: Uuid) -> io::Result<Option<Request>> {
    let (disk, layout) = (spool.disk(), spool.layout());
    let Some(request) = read::<Request>(disk, &path(layout, id, REQUEST))? else {
        return Ok(None);
    };
    if request.format != FORMAT {
        return Err(io::Error::other(format!(
            "format {} is unknown",
            request.format
        )));
    }
    match answer(disk, layout, id) {
        Ok(Some(answer)) if answer.is_final() => {
            remove(disk, layout, id, &[REQUEST, COPY])?;
            Ok(None)
        }
        _ => Ok(Some(request)),
    }
}

/// Removes an answer that can't be read, or is old and belongs to no request.
fn tidy(spool: &Spool, id: Uuid, now_ms: u64) {
    let (disk, layout) = (spool.disk(), spool.layout());
    let is_kept = match answer(disk, layout, id) {
        Ok(None) => true,
        Ok(Some(answer)) => {
            now_ms.saturating_sub(answer.answered_at_ms) < ANSWER_MS_MAX
                || disk::size(disk, &path(layout, id, REQUEST)).is_some()
        }
        Err(_) => false,
    };
    if !is_kept && let Err(error) = forget(disk, layout, id) {
        tracing::debug!(%error, %id, "an old answer can't be removed");
    }
}

fn aside(spool: &Spool, name: &str, why: &str) {
    let reason = Doubt::Request(why.to_owned());
    if let Err(error) = quarantine::set_aside(spool, Directory::Inbox, name, reason) {
        // Whatever it is, it must not keep anybody from working.
        tracing::warn!(file = %format!("inbox/{name}"), %error, "can't be set aside");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = Uuid::from_u128(7);
        assert_eq!(id_in(&format!("{id}{REQUEST}"), REQUEST), Some(id));
        for name in [
            format!("{}{REQUEST}", id.simple()),
            format!("{id}{ANSWER}"),
            format!("../{id}{REQUEST}"),
            REQUEST.to_owned(),
        ] {
            assert_eq!(id_in(&name, REQUEST), None, "{name}");
        }
    }
}
