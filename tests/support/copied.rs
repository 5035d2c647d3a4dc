//! Copies of the golden spool, which has files in every room.
#![allow(dead_code)] // every test uses its own part of it

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// A directory with a copy of it under `spool/`.
pub fn golden_spool() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/spool");
    for entry in walkdir::WalkDir::new(&from) {
        let entry = entry.unwrap();
        let place = entry.path().strip_prefix(&from).unwrap();
        let to = dir.path().join("spool").join(place);
        match entry.file_type().is_dir() {
            true => fs::create_dir(to).unwrap(),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
    dir
}
