//! Packs the oldest segments in memory, as the upload would, to see what a full
//! batch of them takes. Changes nothing; whatever can't be read is passed over.

use std::io;

use super::PackOptions;
use super::fit;
use crate::spool::disk::Disk;
use crate::spool::format::batch::{self, recipe_search};
use crate::spool::format::read;
use crate::spool::layout::{Directory, Layout, Name};
use crate::spool::read_only::snapshot;

/// Rows are taken until they would fill a batch at so many bytes each; logs
/// take 12 to 30.
const BYTES_PER_ROW_LEAST: u64 = 12;

/// What a trial batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialBatch {
    /// Its rows.
    pub rows: u64,
    /// Its size, bytes.
    pub bytes: u64,
}

/// Packs the oldest segments up to `options.bytes_max`. `None` if there are no
/// rows that could be packed.
///
/// # Errors
/// An I/O error from the spool's disk, or Parquet's.
pub fn full_batch(
    disk: &dyn Disk,
    layout: &Layout,
    options: &PackOptions,
) -> io::Result<Option<TrialBatch>> {
    let spool = snapshot::state(disk, layout)?.spool;
    let enough = options.bytes_max / BYTES_PER_ROW_LEAST;
    let memory_max = options.bytes_max.saturating_mul(fit::MEMORY_PER_BODY_BYTE);
    let mut segments = Vec::new();
    let (mut rows, mut memory) = (0, 0);
    for (directory, name) in oldest(disk, layout)? {
        if rows >= enough || memory >= memory_max {
            break;
        }
        // The owner may have moved it on, or is about to set it aside.
        let file = disk.read(&layout.file(directory, &name.to_string()));
        let Some(segment) = file
            .ok()
            .and_then(|file| read::segment(&name, file, spool).ok())
        else {
            continue;
        };
        rows += segment.footer.rows;
        memory += segment.rows.get_array_memory_size() as u64;
        segments.push(segment);
    }
    if rows == 0 {
        return Ok(None);
    }
    let joined = fit::join(&segments, rows).map_err(io::Error::other)?;
    let recipe = recipe_search::choose(&joined, options.encoding).map_err(io::Error::other)?;
    let strength = options.effort.strength(options.bytes_max);
    let guess = (options.bytes_max as f64 / fit::BYTES_PER_ROW_FIRST) as u64;
    let fit = fit::fit(rows, guess, options.bytes_max, |rows| {
        let footer = fit::footer(spool, &segments, rows, options);
        batch::encode(&joined.slice(0, rows as usize), &footer, &recipe, strength)
    });
    Ok(match fit.map_err(io::Error::other)? {
        fit::Fit::Rows(rows, bytes) => Some(TrialBatch {
            rows,
            bytes: bytes.len() as u64,
        }),
        fit::Fit::Nothing(_) => None,
    })
}

/// The segments that wait, oldest first.
fn oldest(disk: &dyn Disk, layout: &Layout) -> io::Result<Vec<(Directory, Name)>> {
    let mut found = Vec::new();
    for directory in [Directory::Ready, Directory::Sealed] {
        let files = layout.files(disk, directory)?;
        found.extend(files.into_iter().map(|(name, _)| (directory, name)));
    }
    Ok(found)
}
