//! The window: what was taken in since the last seal.
//!
//! Every offset that passes is accounted for exactly once: as a row, as an
//! undecodable message, or as a hole in the log. Memory is bounded by the roll
//! size, whatever the messages look like.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::decode::record::decode;
use super::decode::row_builder::Columns;
use crate::spool::format::error::Fault;
use crate::spool::format::segment::OpenSegment;
use crate::spool::format::undecodable::Message;

/// Rows are handed to the encoder in runs of this many …
const RUN_ROWS: usize = 8_192;

/// … or of this many bytes, if that is less.
const RUN_BYTES: usize = 1 << 20;

/// A window is sealed as well once its rows take so many times the roll size in
/// memory, since whoever reads the segment holds them: logs take 4 to 12 times.
const MEMORY_PER_ROLL_BYTE: u64 = 16;

/// When a window is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Age of its first message.
    pub roll_after: Duration,
    /// Encoded size, bytes. Exceeded by one run of rows at most.
    pub roll_bytes: u64,
}

impl Limits {
    /// The largest that a segment gets, bytes.
    pub fn segment_bytes_max(&self) -> u64 {
        self.roll_bytes.saturating_add(RUN_BYTES as u64)
    }
}

/// What was taken in since the last seal.
#[derive(Debug)]
pub struct Window {
    columns: Columns,
    segment: OpenSegment,
    opened: Option<Instant>,
    /// Bytes that the rows handed to the encoder took.
    memory: u64,
    counts: Counts,
}

/// Running counts of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that became rows.
    pub records: u64,
    /// Messages that are no record.
    pub undecodable: u64,
    /// Texts in which bytes that are no UTF-8 were replaced.
    pub texts_replaced: u64,
}

impl Window {
    /// An empty window.
    ///
    /// # Errors
    /// An error from Parquet's writer.
    pub fn new() -> Result<Self, Fault> {
        Ok(Self {
            columns: Columns::new(),
            segment: OpenSegment::new()?,
            opened: None,
            memory: 0,
            counts: Counts::default(),
        })
    }

    /// Takes in the message at `offset`; `position` is the offset after the
    /// one before it, so that a hole between the two is accounted for.
    ///
    /// # Errors
    /// An error from Parquet's writer.
    pub fn take(
        &mut self,
        partition: i32,
        position: i64,
        offset: i64,
        payload: Option<&[u8]>,
        now: Instant,
    ) -> Result<(), Fault> {
        self.opened.get_or_insert(now);
        let decoded = decode(payload.unwrap_or_default());
        match decoded {
            Ok(record) => {
                if self.columns.push(&record, partition, offset).is_err() {
                    self.flush()?;
                    // Any decoded record fits into empty columns.
                    self.columns
                        .push(&record, partition, offset)
                        .map_err(|full| Fault::Schema(full.to_string()))?;
                }
                self.counts.records += 1;
                self.counts.texts_replaced += u64::from(record.texts_replaced);
            }
            Err(error) => {
                metrics::counter!("spoolhouse_undecodable_total", "reason" => error.code())
                    .increment(1);
                self.counts.undecodable += 1;
                self.segment.keep_undecodable(Message {
                    partition,
                    offset,
                    error: error.to_string(),
                    bytes: Bytes::copy_from_slice(payload.unwrap_or_default()),
                });
            }
        }
        self.segment.cover(partition, position, offset + 1);
        if self.columns.len() >= RUN_ROWS || self.columns.bytes() >= RUN_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Whether nothing was taken in.
    pub fn is_empty(&self) -> bool {
        self.segment.is_empty()
    }

    /// Whether it is time to seal.
    pub fn is_due(&self, limits: &Limits, now: Instant) -> bool {
        let Some(opened) = self.opened else {
            return false;
        };
        now.duration_since(opened) >= limits.roll_after
            || self.segment.bytes() as u64 >= limits.roll_bytes
            || self.memory >= limits.roll_bytes.saturating_mul(MEMORY_PER_ROLL_BYTE)
    }

    /// Ends the window: the segment to seal, and what it counted.
    ///
    /// # Errors
    /// An error from Parquet's writer.
    pub fn close(mut self) -> Result<(OpenSegment, Counts), Fault> {
        self.flush()?;
        Ok((self.segment, self.counts))
    }

    fn flush(&mut self) -> Result<(), Fault> {
        if self.columns.is_empty() {
            return Ok(());
        }
        self.memory += self.columns.bytes() as u64;
        self.segment.write(&self.columns.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::message::Fields;

    #[test]
    fn rows_that_compress_to_nothing_are_bounded_by_the_memory_they_take() {
        const URL_BYTES: usize = 1_000;
        const MEMORY_MAX: u64 = 34 << 20;
        let limits = Limits {
            roll_after: Duration::MAX,
            roll_bytes: 2 << 20,
        };
        let message = Fields {
            url: &[b'/'; URL_BYTES],
            ..Fields::default()
        };
        let message = message.encode(capnp::message::HeapAllocator::new());
        let mut window = Window::new().unwrap();
        let mut rows = 0;
        let now = Instant::now();
        while !window.is_due(&limits, now) {
            window.take(0, rows, rows + 1, Some(&message), now).unwrap();
            rows += 1;
        }
        assert!(
            (window.segment.bytes() as u64) < limits.roll_bytes,
            "they should compress"
        );
        let memory = rows as u64 * URL_BYTES as u64;
        assert!(memory <= MEMORY_MAX, "{memory} bytes of texts");
    }
}
