//! Decides how many rows of the oldest segments make the next batch, and what
//! its footer says of them. No I/O: the caller encodes and writes.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use bytes::Bytes;
use uuid::Uuid;

use super::cpu_budget::Effort;
use crate::spool::format::encoding::Encoding;
use crate::spool::format::error::Fault;
use crate::spool::format::footer::{BatchFooter, Cover, OffsetRange};
use crate::spool::format::read::Segment;
use crate::spool::format::schema;

/// A batch at least this full is not packed again in search of a few more rows, in percent.
pub(super) const FULL_PERCENT: u64 = 97;

/// Size of a row that is reckoned with before a batch has told better.
pub const BYTES_PER_ROW_FIRST: f64 = 24.0;

/// No more segments are read for a batch once their rows take so many times the
/// body limit in memory; logs take 8 to 16 times.
pub(super) const MEMORY_PER_BODY_BYTE: u64 = 32;

/// How many times rows are encoded in search of the best fill.
const ATTEMPTS: usize = 5;

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

/// What fits into one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// So many rows, encoded.
    Rows(u64, Bytes),
    /// Not even one row; the encoded row.
    Nothing(Bytes),
}

/// Finds how many of `available` rows fill `limit` bytes, starting with
/// `guess` and correcting by what `encode` made of it.
///
/// # Errors
/// Those of `encode`.
pub(super) fn fit(
    available: u64,
    guess: u64,
    limit: u64,
    mut encode: impl FnMut(u64) -> Result<Bytes, Fault>,
) -> Result<Fit, Fault> {
    let mut best: Option<(u64, Bytes)> = None;
    let mut too_many = available + 1;
    let mut rows = guess.clamp(1, available.max(1));
    for attempt in 1.. {
        let file = encode(rows)?;
        let size = file.len() as u64;
        let scaled = u64::try_from(u128::from(rows) * u128::from(limit) / u128::from(size.max(1)))
            .unwrap_or(u64::MAX);
        if size <= limit {
            let full = size * 100 >= limit * FULL_PERCENT;
            best = Some((rows, file));
            if full || rows + 1 == too_many {
                break;
            }
            // One percent less than proportion says: a little under beats over.
            rows = (scaled - scaled / 100).clamp(rows + 1, too_many - 1);
        } else {
            if rows == 1 {
                return Ok(Fit::Nothing(file));
            }
            too_many = rows;
            let least = best.as_ref().map_or(1, |(rows, _)| rows + 1);
            if least == too_many {
                break;
            }
            rows = (scaled - scaled / 50).clamp(least, too_many - 1);
            if best.is_none() && attempt >= ATTEMPTS {
                rows = too_many / 2;
            }
        }
        if best.is_some() && attempt >= ATTEMPTS {
            break;
        }
    }
    // The loop ends only with a best, or by returning.
    Ok(best.map_or(Fit::Nothing(Bytes::new()), |(rows, file)| {
        Fit::Rows(rows, file)
    }))
}

/// Which rows a batch of the first `rows` rows takes from each of `segments`.
/// Segments without rows are taken along while rows before or after them are.
pub(super) fn take(segments: &[Segment], rows: u64) -> Vec<(usize, Range<u64>)> {
    let mut left = rows;
    let mut taken = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        if left == 0 && segment.footer.rows > 0 {
            break;
        }
        let part = left.min(segment.footer.rows);
        taken.push((index, 0..part));
        left -= part;
    }
    taken
}

/// The first rows of `segments` in order, `enough` if there are as many.
///
/// # Errors
/// Arrow's, passed on.
pub(super) fn join(segments: &[Segment], enough: u64) -> Result<RecordBatch, ArrowError> {
    let chunks: Vec<RecordBatch> = take(segments, enough)
        .into_iter()
        .map(|(index, part)| {
            let length = (part.end - part.start) as usize;
            segments[index].rows.slice(part.start as usize, length)
        })
        .collect();
    concat_batches(&schema::segment(), &chunks)
}

/// The footer of a batch of the first `rows` rows of `segments`, of which there
/// is at least one.
pub(super) fn footer(
    spool: Uuid,
    segments: &[Segment],
    rows: u64,
    options: &PackOptions,
) -> BatchFooter {
    let taken = take(segments, rows);
    BatchFooter {
        spool,
        rows,
        source: segments[0].footer.source.clone(),
        covers: covers(segments, &taken),
        offsets: offsets(segments, &taken),
        settings: options.settings.clone(),
        encoding: options.encoding,
        split_from: None,
    }
}

/// The covers of the parts that [`take`] gave: consecutive whole segments run together.
pub(super) fn covers(segments: &[Segment], taken: &[(usize, Range<u64>)]) -> Vec<Cover> {
    let mut covers: Vec<Cover> = Vec::new();
    for (index, part) in taken {
        let footer = &segments[*index].footer;
        let end_row = (part.end < footer.rows).then_some(footer.first_row + part.end);
        match covers.last_mut() {
            Some(last)
                if last.end_row.is_none()
                    && last.last + 1 == footer.segment
                    && footer.first_row == 0 =>
            {
                last.last = footer.segment;
                last.end_row = end_row;
            }
            _ => covers.push(Cover {
                first: footer.segment,
                first_row: footer.first_row,
                last: footer.segment,
                end_row,
            }),
        }
    }
    covers
}

/// The offsets of the parts that [`take`] gave, adjoining ranges joined.
pub(super) fn offsets(
    segments: &[Segment],
    taken: &[(usize, Range<u64>)],
) -> BTreeMap<i32, Vec<OffsetRange>> {
    let mut offsets: BTreeMap<i32, Vec<OffsetRange>> = BTreeMap::new();
    for (index, part) in taken {
        let (head, _) = segments[*index].split_offsets(part.end);
        for (partition, range) in head {
            let ranges = offsets.entry(partition).or_default();
            match ranges.last_mut() {
                Some(last) if last.1 == range.0 => last.1 = range.1,
                _ => ranges.push(range),
            }
        }
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An encoder whose every row takes ten bytes and the file 100 more.
    fn ten_bytes_a_row(rows: u64) -> Result<Bytes, Fault> {
        Ok(vec![0; 100 + 10 * rows as usize].into())
    }

    fn rows_of(fit: Fit) -> u64 {
        match fit {
            Fit::Rows(rows, _) => rows,
            Fit::Nothing(_) => 0,
        }
    }

    #[test]
    fn a_wrong_guess_is_corrected_to_a_full_batch() {
        for guess in [1, 50, 3_000, 1_000_000] {
            let rows = rows_of(fit(100_000, guess, 20_000, ten_bytes_a_row).unwrap());
            assert!((1_930..=1_990).contains(&rows), "guess {guess}: {rows}");
        }
    }

    #[test]
    fn fewer_rows_than_the_limit_are_all_taken() {
        assert_eq!(rows_of(fit(7, 1_000, 20_000, ten_bytes_a_row).unwrap()), 7);
        assert_eq!(rows_of(fit(7, 2, 20_000, ten_bytes_a_row).unwrap()), 7);
    }

    #[test]
    fn one_row_over_the_limit_fits_nowhere() {
        let fit = fit(10, 10, 105, ten_bytes_a_row).unwrap();
        assert!(matches!(fit, Fit::Nothing(_)));
    }

    #[test]
    fn an_encoder_that_never_shrinks_smoothly_still_ends_under_the_limit() {
        // Nine tenths of the bytes sit in one row in the middle.
        let lumpy = |rows: u64| {
            let lump = if rows > 500 { 90_000 } else { 0 };
            Ok(Bytes::from(vec![0; lump + rows as usize]))
        };
        let rows = rows_of(fit(10_000, 9_000, 80_000, lumpy).unwrap());
        assert!((1..=500).contains(&rows), "{rows}");
    }
}
