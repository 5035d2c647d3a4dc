//! A file that somebody wants sent: where it lies, and whether it can go.
//!
//! Looks only; what is in the spool may move on a moment later, so the owner
//! looks again when its turn comes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use url::Url;

use crate::commands::{Misuse, wiring};
use crate::config::Loaded;
use crate::spool::disk::{Disk, LocalDisk};
use crate::spool::format::footer::{BatchFooter, Footer};
use crate::spool::format::metadata;
use crate::spool::format::{digest, read};
use crate::spool::layout::{Directory, Layout, Name};
use crate::spool::outlet;
use crate::spool::outlet::Wanted;
use crate::text::plural;
use crate::upload::request;

/// Rooms in which a batch may lie.
const OF_BATCHES: [Directory; 4] = [
    Directory::Sending,
    Directory::Batches,
    Directory::Rejected,
    Directory::Doubtful,
];

/// A file to be sent.
#[derive(Debug)]
pub(super) struct Subject {
    pub place: Place,
}

/// Where it lies.
#[derive(Debug)]
pub(super) enum Place {
    /// In the spool, as `directory/name`.
    Inside(String),
    /// Anywhere else.
    Outside {
        path: PathBuf,
        bytes: Bytes,
        footer: Box<BatchFooter>,
    },
}

/// Finds a file and looks whether it can be sent.
///
/// # Errors
/// [`Misuse`], with what to do instead.
pub(super) fn find(
    file: &Path,
    loaded: &Loaded,
    layout: &Layout,
    doubtful: bool,
) -> Result<Subject> {
    let in_spool = layout.root().join(file);
    let path = match file.exists() || !in_spool.exists() {
        true => file.to_owned(),
        false => in_spool,
    };
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else {
        return Err(misuse(file, "it is no file"));
    };
    let folder = std::fs::canonicalize(crate::spool::disk::parent(&path));
    let folder = folder.map_err(|error| misuse(file, error))?;
    let root = std::fs::canonicalize(layout.root()).ok();
    let metadata = std::fs::metadata(&path).map_err(|error| misuse(file, error))?;
    if !metadata.is_file() {
        return Err(misuse(file, "it is no file"));
    }
    if root.is_some_and(|root| folder.starts_with(&root)) {
        let directory = folder.file_name().unwrap_or_default().to_string_lossy();
        let place = format!("{directory}/{name}");
        if directory == Directory::Inbox.name() {
            return Err(misuse(file, "a request of the command line is there"));
        }
        Wanted::parse(&place, doubtful).map_err(|declined| Misuse(declined.to_string()))?;
        return Ok(Subject {
            place: Place::Inside(place),
        });
    }
    let max_body = loaded.config.upload.max_body;
    if metadata.len() > max_body {
        let problem = format!(
            "it is {} bytes long, and a request holds {max_body} (upload.max_body): split it",
            metadata.len()
        );
        return Err(misuse(file, problem));
    }
    let bytes = Bytes::from(std::fs::read(&path).map_err(|error| misuse(file, error))?);
    let settings = wiring::upload_options(&loaded.config).settings;
    let footer = outlet::foreign(&bytes, &settings).map_err(|fault| misuse(file, fault))?;
    if let Some(ours) = twin(layout, &digest::of(&bytes)) {
        let problem = format!("the spool holds this very batch: name {ours} instead");
        return Err(misuse(file, problem));
    }
    let path = folder.join(&*name);
    Ok(Subject {
        place: Place::Outside {
            path,
            bytes,
            footer: Box::new(footer),
        },
    })
}

fn misuse(file: &Path, problem: impl std::fmt::Display) -> anyhow::Error {
    Misuse(format!(
        "{}: {problem}; nothing was changed",
        file.display()
    ))
    .into()
}

/// A batch of the spool with this digest.
fn twin(layout: &Layout, digest: &str) -> Option<String> {
    OF_BATCHES.into_iter().find_map(|directory| {
        let files = layout.files(&LocalDisk, directory).ok()?.into_iter();
        let mut names = files.map(|(name, _)| name);
        let twin = names
            .find(|name| matches!(name, Name::Batch { digest: ours, .. } if ours == digest))?;
        Some(format!("{}/{twin}", directory.name()))
    })
}

impl Subject {
    pub fn is_outside(&self) -> bool {
        matches!(self.place, Place::Outside { .. })
    }

    /// What it is called in what we print.
    pub fn shown(&self) -> String {
        match &self.place {
            Place::Inside(place) => place.clone(),
            Place::Outside { path, .. } => path.display().to_string(),
        }
    }

    /// What would be done with it, in lines of text.
    ///
    /// # Errors
    /// When it can't be read, or is damaged.
    pub fn plan(
        &self,
        loaded: &Loaded,
        layout: &Layout,
        to: Option<&Url>,
        keep: bool,
    ) -> Result<String> {
        let mut target = wiring::upload_options(&loaded.config).target;
        if let Some(to) = to {
            target.url = to.clone();
        }
        let shown = self.shown();
        let (rows, length, token, settings, then) = match &self.place {
            Place::Outside { bytes, footer, .. } => (
                footer.rows,
                bytes.len() as u64,
                digest::of(bytes),
                footer.settings.clone(),
                match keep {
                    true => "it stays where it is",
                    false => "it is removed when it is stored",
                },
            ),
            Place::Inside(place) => match look(layout, place)? {
                (Footer::Segment(footer), bytes) => {
                    return Ok(format!(
                        "{shown}: {}, {bytes} bytes; it would be frozen into a batch of its own, \
                         or several, and posted to {}",
                        plural(footer.rows, "row"),
                        target.url
                    ));
                }
                (Footer::Batch(footer), bytes) => {
                    let name = self.name();
                    let Some(Name::Batch { digest, .. }) = name else {
                        return Err(Misuse(format!("{shown}: it is no batch")).into());
                    };
                    (
                        footer.rows,
                        bytes,
                        digest,
                        footer.settings,
                        "it leaves the spool when it is stored",
                    )
                }
                (Footer::Undecodable(_), _) => {
                    return Err(Misuse(format!("{shown}: it is no batch")).into());
                }
            },
        };
        let url = request::insert(&target, &token, &settings).url;
        Ok(format!(
            "{shown}: {}, {length} bytes, token {token}; {then}\n  POST {url}",
            plural(rows, "row")
        ))
    }

    fn name(&self) -> Option<Name> {
        let Place::Inside(place) = &self.place else {
            return None;
        };
        let (_, file) = place.split_once('/')?;
        let end = file.find(".parquet")? + ".parquet".len();
        Name::parse(&file[..end])
    }
}

/// Footer and size of a file of the spool, its bytes checked.
fn look(layout: &Layout, place: &str) -> Result<(Footer, u64)> {
    let path = layout.root().join(place);
    let told = || format!("can't read {place}");
    let name = place.split_once('/').map_or(place, |(_, name)| name);
    let bytes = LocalDisk.read(&path).with_context(told)?;
    let metadata = metadata::read_end(&LocalDisk, &path)
        .with_context(told)?
        .map_err(|fault| Misuse(format!("{place}: {fault}")))?;
    let footer = Footer::from_metadata(&metadata);
    let footer = footer.map_err(|fault| Misuse(format!("{place}: {fault}")))?;
    let checked = match (Name::parse(name), &footer) {
        (Some(name @ Name::Batch { .. }), Footer::Batch(footer)) => {
            read::batch(&name, &bytes, footer.spool).err()
        }
        _ => digest::check(&bytes).err(),
    };
    match checked {
        Some(fault) => Err(Misuse(format!("{place}: {fault}")).into()),
        None => Ok((footer, bytes.len() as u64)),
    }
}
