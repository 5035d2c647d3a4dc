//! What can be seen of a spool without owning it. Changes nothing; the owner may
//! be at work, so every answer is one of a moment ago.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use crate::spool::disk::{Disk, LocalDisk};
use crate::spool::format::footer::{Footer, SegmentFooter};
use crate::spool::format::metadata;
use crate::spool::layout::{Directory, Layout, Name, error_sidecar, reason_sidecar};
use crate::spool::state::State;

/// What `spool.json` says.
///
/// # Errors
/// An I/O error from the spool's disk, or that the file can't be used.
pub fn state(disk: &dyn Disk, layout: &Layout) -> io::Result<State> {
    let bytes = disk.read(&layout.state())?;
    State::parse(&bytes).map_err(io::Error::other)
}

/// The segments in `sealed/`. A file that can't be read is passed over: the
/// owner sets it aside.
///
/// # Errors
/// An I/O error from the spool's disk.
pub fn sealed(disk: &dyn Disk, layout: &Layout) -> io::Result<Vec<SegmentFooter>> {
    let dir = layout.directory(Directory::Sealed);
    let footers = disk.list(&dir)?.into_iter().filter_map(|entry| {
        let metadata = metadata::read_end(disk, &dir.join(&entry.name));
        match Footer::from_metadata(&metadata.ok()?.ok()?) {
            Ok(Footer::Segment(footer)) => Some(footer),
            _ => None,
        }
    });
    Ok(footers.collect())
}

/// The process that owns the spool, as the kernel lists its lock: asking for
/// the lock ourselves could keep an owner from starting. `None` also where the
/// kernel doesn't tell.
///
/// # Errors
/// An I/O error from the spool's disk.
pub fn owner(layout: &Layout) -> io::Result<Option<u32>> {
    let inode = match fs::metadata(layout.lock()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata?.ino(),
    };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    Ok(locks.lines().find_map(|line| holder_of(inode, line)))
}

/// The holder in a line such as
/// `1: FLOCK  ADVISORY  WRITE 4242 fe:01:131090 0 EOF`, if it is this file's.
fn holder_of(inode: u64, line: &str) -> Option<u32> {
    let mut words = line.split_ascii_whitespace().skip(1);
    if (words.next(), words.next(), words.next())
        != (Some("FLOCK"), Some("ADVISORY"), Some("WRITE"))
    {
        return None; // who waits for it has an arrow in front
    }
    let pid = words.next()?.parse().ok()?;
    let file = words.next()?.rsplit(':').next()?.parse::<u64>().ok()?;
    (file == inode).then_some(pid)
}

/// What is seen of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Files that carry one of our names.
    pub files: u64,
    /// Their size, bytes.
    pub bytes: u64,
    /// Rows (in `undecodable/`: messages) of those whose footer can be read.
    pub rows: u64,
    /// Files whose footer can't be read.
    pub unreadable: u64,
    /// When the oldest was written.
    pub oldest: Option<SystemTime>,
}

/// Looks at every file of every directory, its footer only. `progress` is called
/// with the files seen so far and the number of all.
///
/// # Errors
/// An I/O error from the spool's disk, for a directory as a whole; a file that has
/// moved on is passed over.
pub fn directories(
    layout: &Layout,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<BTreeMap<Directory, Contents>> {
    let mut total = 0;
    for directory in Directory::ALL {
        total += entries(layout, directory)?.count() as u64;
    }
    let mut seen = 0;
    let mut contents = BTreeMap::new();
    for directory in Directory::ALL {
        let mut held = Contents::default();
        for entry in entries(layout, directory)? {
            seen += 1;
            progress(seen, total);
            held.add(&entry?)?;
        }
        contents.insert(directory, held);
    }
    Ok(contents)
}

/// The entries of a directory that may not be there yet.
pub(super) fn entries(
    layout: &Layout,
    directory: Directory,
) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(layout.directory(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        entries => Ok(Some(entries?).into_iter().flatten()),
    }
}

impl Contents {
    fn add(&mut self, entry: &fs::DirEntry) -> io::Result<()> {
        let name = entry.file_name();
        if Name::parse_with_suffix(&name.to_string_lossy()).is_some()
            && let Some(file) = SeenFile::look(entry)?
        {
            self.count(&file);
        }
        Ok(())
    }

    /// Counts a file.
    pub(super) fn count(&mut self, file: &SeenFile) {
        self.files += 1;
        self.bytes += file.bytes;
        self.rows += file.rows.unwrap_or(0);
        self.unreadable += u64::from(file.rows.is_none());
        self.oldest = [self.oldest, file.written].into_iter().flatten().min();
    }
}

/// What is seen of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenFile {
    bytes: u64,
    rows: Option<u64>,
    written: Option<SystemTime>,
}

impl SeenFile {
    /// Looks at a file and its footer; `None` if it has moved on.
    pub(super) fn look(entry: &fs::DirEntry) -> io::Result<Option<Self>> {
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        let rows = match metadata::read_end(&LocalDisk, &entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) | Ok(Err(_)) => None,
            Ok(Ok(footer)) => u64::try_from(footer.file_metadata().num_rows()).ok(),
        };
        Ok(Some(Self {
            bytes: metadata.len(),
            rows,
            written: metadata.modified().ok(),
        }))
    }
}

/// A file that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Concern {
    /// Its path in the spool.
    pub file: String,
    /// Why it is there, as the file beside it says.
    pub why: String,
}

/// The first `count` files, by name, that wait for a person.
///
/// # Errors
/// An I/O error from the spool's disk.
pub fn concerns(layout: &Layout, count: usize) -> io::Result<Vec<Concern>> {
    let mut concerns = Vec::new();
    for (directory, sidecar, key) in [
        (
            Directory::Rejected,
            error_sidecar as fn(&str) -> String,
            "message",
        ),
        (Directory::Doubtful, reason_sidecar, "reason"),
    ] {
        let mut names: Vec<String> = entries(layout, directory)?
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| !name.ends_with(".json") && !name.starts_with('.'))
            .collect();
        names.sort();
        names.truncate(count - concerns.len());
        for name in names {
            let why = text_in(&layout.file(directory, &sidecar(&name)), key);
            concerns.push(Concern {
                file: format!("{}/{name}", directory.name()),
                why: why.unwrap_or_else(|| "nothing beside it says why".to_owned()),
            });
        }
    }
    Ok(concerns)
}

/// The text under a key of a small JSON file.
fn text_in(path: &Path, key: &str) -> Option<String> {
    let (_, bytes) = LocalDisk.read_end(path, 64 * 1024).ok()?;
    let document: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    Some(document[key].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_read_from_the_kernels_list() {
        let line = "1: FLOCK  ADVISORY  WRITE 4242 fe:01:131090 0 EOF";
        assert_eq!(holder_of(131_090, line), Some(4242));
        assert_eq!(holder_of(131_091, line), None);
        for other in [
            "1: -> FLOCK  ADVISORY  WRITE 4243 fe:01:131090 0 EOF",
            "2: POSIX  ADVISORY  WRITE 4242 fe:01:131090 0 EOF",
            "3: FLOCK  ADVISORY  READ 4242 fe:01:131090 0 EOF",
            "",
        ] {
            assert_eq!(holder_of(131_090, other), None, "{other}");
        }
    }
}
