//! The golden spools: `tests/golden/format-N/` is a spool with one of everything,
//! frozen when format N was, and `format-N.toml` beside it says what every later
//! version has to make of it.
//!
//! A frozen spool never changes again, and neither does its list: both are what an
//! earlier version left on somebody's disk. Tests work on copies.
#![allow(dead_code)] // every program uses its own part of it

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tempfile::TempDir;

/// Offsets from the first up to, and without, the second. In a golden spool they
/// are the resource ids of the rows, too.
pub type Offsets = (u64, u64);

/// A golden spool and its list.
#[derive(Debug)]
pub struct Golden {
    /// The format that it was written in.
    pub format: u32,
    /// The frozen directory: look, copy, never write.
    pub dir: PathBuf,
    /// What has to come out of it.
    pub list: List,
}

/// What has to come out of a golden spool: the file `format-N.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Every file with the SHA-256 of its bytes.
    pub files: BTreeMap<String, String>,
    /// After it was opened.
    pub opened: Opened,
    /// What `verify` says of it.
    pub verified: Verified,
    /// After `run` has sent all that can be sent.
    pub drained: Drained,
}

/// A golden spool after it was opened.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// Position of each partition.
    pub positions: BTreeMap<i32, i64>,
    /// The number that the next segment gets.
    pub next_segment: u64,
    /// Segments that wait for the acknowledgement of their commit.
    pub sealed: Vec<u64>,
    /// Every file, with the ids of those that hold rows.
    pub files: Vec<String>,
}

/// What `verify` says of a golden spool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    /// Files with a fault, and the first word that names it.
    pub faults: BTreeMap<String, String>,
    /// Files that the next start clears up.
    pub notes: Vec<String>,
}

/// Where every offset of a golden spool is when all that can be sent was sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drained {
    /// In ClickHouse, log and totals, exactly once.
    pub stored: Vec<Offsets>,
    /// In no file any more: nobody committed them, so Kafka hands them out again.
    pub read_again: Vec<Offsets>,
    /// In a file that is kept for a person.
    pub kept: BTreeMap<String, Offsets>,
    /// Every file that is left for a person.
    pub files: Vec<String>,
}

impl Golden {
    fn of_format(format: u32) -> Self {
        let dir = directory().join(format!("format-{format}"));
        let list = fs::read_to_string(dir.with_extension("toml")).unwrap();
        let list = toml::from_str(&list).unwrap_or_else(|error| panic!("{dir:?}: {error}"));
        Self { format, dir, list }
    }

    /// Copies it to where nothing is yet.
    pub fn copy_to(&self, to: &Path) {
        for entry in walkdir::WalkDir::new(&self.dir) {
            let entry = entry.unwrap();
            let to = to.join(entry.path().strip_prefix(&self.dir).unwrap());
            match entry.file_type().is_dir() {
                true => fs::create_dir_all(to).unwrap(),
                false => drop(fs::copy(entry.path(), to).unwrap()),
            }
        }
    }

    /// Its files, relative to it.
    pub fn files(&self) -> BTreeSet<String> {
        files_below(&self.dir)
    }
}

/// Where the golden spools are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every golden spool, the oldest format first.
pub fn all() -> Vec<Golden> {
    let names = fs::read_dir(directory()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let format = |name: String| name.strip_prefix("format-")?.parse().ok();
    let mut formats: Vec<u32> = names.filter_map(format).collect();
    formats.sort_unstable();
    assert!(!formats.is_empty(), "no golden spool");
    formats.into_iter().map(Golden::of_format).collect()
}

/// The golden spool of the newest format.
pub fn newest() -> Golden {
    all().pop().unwrap()
}

/// A directory with a copy of the newest one under `spool/`.
pub fn golden_spool() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    newest().copy_to(&dir.path().join("spool"));
    dir
}

/// Every file below a directory, relative to it.
pub fn files_below(dir: &Path) -> BTreeSet<String> {
    let entries = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    let name = |entry: walkdir::DirEntry| {
        let name = entry.path().strip_prefix(dir).unwrap();
        name.to_str().unwrap().to_owned()
    };
    files.map(name).collect()
}
