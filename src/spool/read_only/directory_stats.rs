//! What the directories hold, looked at again and again by the process that owns them,
//! as figures and as metrics. Changes nothing.
//!
//! Sealed files never change and a move keeps the name, so a file's footer is
//! read once in its life: a look costs a listing. Only `undecodable/` is looked at
//! anew each time, whose files are rewritten under their names.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, SystemTime};

use super::snapshot::{self, Contents, SeenFile};
use crate::spool::layout::{Directory, Layout, Name};

/// Where rows wait for ClickHouse.
pub const UNSENT: [Directory; 4] = [
    Directory::Sealed,
    Directory::Ready,
    Directory::Batches,
    Directory::Sending,
];

/// Remembers the files of earlier looks.
#[derive(Debug)]
pub struct DirectoryStats {
    layout: Layout,
    known: HashMap<String, SeenFile>,
}

impl DirectoryStats {
    /// The statistics of the spool at `layout`.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            known: HashMap::new(),
        }
    }

    /// Looks at every directory.
    ///
    /// # Errors
    /// An I/O error from the spool's disk, for a directory as a whole; a file that
    /// has moved on is passed over.
    pub fn look(&mut self) -> io::Result<BTreeMap<Directory, Contents>> {
        let mut contents = BTreeMap::new();
        let mut seen = HashMap::with_capacity(self.known.len());
        for directory in Directory::ALL {
            let mut held = Contents::default();
            for entry in snapshot::entries(&self.layout, directory)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if Name::parse_with_suffix(&name).is_none() {
                    continue;
                }
                let known = match directory {
                    Directory::Undecodable => None,
                    _ => self.known.get(&name).copied(),
                };
                let Some(file) = known.map_or_else(|| SeenFile::look(&entry), |f| Ok(Some(f)))?
                else {
                    continue;
                };
                held.count(&file);
                seen.insert(name, file);
            }
            contents.insert(directory, held);
        }
        self.known = seen;
        Ok(contents)
    }
}

/// Age of the oldest file that waits for ClickHouse.
pub fn oldest_unsent(
    contents: &BTreeMap<Directory, Contents>,
    now: SystemTime,
) -> Option<Duration> {
    let oldest = UNSENT
        .iter()
        .filter_map(|directory| contents.get(directory)?.oldest);
    Some(age(oldest.min()?, now))
}

fn age(written: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(written).unwrap_or_default()
}

/// Shows a look as metrics.
pub fn publish(contents: &BTreeMap<Directory, Contents>, now: SystemTime) {
    for (directory, held) in contents {
        let directory = directory.name();
        metrics::gauge!("spoolhouse_room_files", "room" => directory).set(held.files as f64);
        metrics::gauge!("spoolhouse_room_bytes", "room" => directory).set(held.bytes as f64);
        metrics::gauge!("spoolhouse_room_rows", "room" => directory).set(held.rows as f64);
        let oldest = held.oldest.map(|written| age(written, now));
        metrics::gauge!("spoolhouse_room_oldest_seconds", "room" => directory)
            .set(oldest.unwrap_or_default());
    }
    let oldest = oldest_unsent(contents, now).unwrap_or_default();
    metrics::gauge!("spoolhouse_oldest_unsent_seconds").set(oldest);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_opened_once_and_counted_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (ready, sending) = (
            layout.directory(Directory::Ready),
            layout.directory(Directory::Sending),
        );
        fs::create_dir_all(&ready).unwrap();
        fs::create_dir_all(&sending).unwrap();
        let name = "seg-0000000007.parquet";
        fs::write(ready.join(name), "no footer").unwrap();
        fs::write(ready.join("notes.txt"), "somebody's").unwrap();
        let mut stats = DirectoryStats::new(layout);
        let contents = stats.look().unwrap();
        let held = &contents[&Directory::Ready];
        assert_eq!((held.files, held.bytes, held.unreadable), (1, 9, 1));
        assert!(oldest_unsent(&contents, SystemTime::now()).is_some());

        // Grown meanwhile, which no sealed file does: what it was is remembered.
        fs::write(ready.join(name), "still no footer").unwrap();
        fs::rename(ready.join(name), sending.join(name)).unwrap();
        let contents = stats.look().unwrap();
        assert_eq!(contents[&Directory::Ready], Contents::default());
        assert_eq!(contents[&Directory::Sending].bytes, 9);

        fs::remove_file(sending.join(name)).unwrap();
        assert_eq!(
            stats.look().unwrap()[&Directory::Sending],
            Contents::default()
        );
        assert!(stats.known.is_empty());
    }
}
