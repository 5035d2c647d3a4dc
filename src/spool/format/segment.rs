//! The open segment: what ingest takes in between two fsyncs.
//!
//! It lives in memory, bounded by the roll size, and reaches the disk whole
//! when it is sealed: nothing of it is ever half on disk under a final name,
//! and dropping it publishes nothing. Its encoding is chosen for speed; the
//! batch that its rows end up in is encoded for size.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use uuid::Uuid;

use super::error::Fault;
use super::footer::{
    self, Footer, OffsetRange, ReplayedFrom, SegmentFooter, Source, UndecodableFooter,
};
use super::schema;
use super::undecodable::{self, Kept, Message};

/// A segment that is being written.
#[derive(Debug)]
pub struct OpenSegment {
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
    offsets: BTreeMap<i32, OffsetRange>,
    undecodable: Vec<Message>,
    undecodable_bytes: usize,
}

/// A finished segment, ready to be published as often as it takes.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What it holds.
    pub footer: SegmentFooter,
    /// The segment's file.
    pub bytes: Bytes,
    /// The file of its undecodable messages, if there were any.
    pub undecodable: Option<Bytes>,
}

impl OpenSegment {
    /// An empty segment.
    ///
    /// # Errors
    /// None that a caller can cause; Parquet's, passed on.
    pub fn new() -> Result<Self, Fault> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties())
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), schema::segment(), options)
            .map_err(Fault::parquet)?;
        Ok(Self {
            writer,
            rows: 0,
            offsets: BTreeMap::new(),
            undecodable: Vec::new(),
            undecodable_bytes: 0,
        })
    }

    /// Adds rows of [`schema::segment`].
    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), Fault> {
        self.writer.write(rows).map_err(Fault::parquet)?;
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    /// Keeps a message that could not be decoded.
    pub fn keep_undecodable(&mut self, message: Message) {
        self.undecodable_bytes += message.bytes.len();
        self.undecodable.push(message);
    }

    /// Notes that every offset of `partition` from `start` up to `end`
    /// (exclusive) is accounted for. Consecutive calls must join up.
    pub fn cover(&mut self, partition: i32, start: i64, end: i64) {
        self.offsets
            .entry(partition)
            .and_modify(|range| range.1 = end)
            .or_insert(OffsetRange(start, end));
    }

    /// Whether nothing was taken in, not even a hole in the log.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes that the segment would take on disk about now.
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size() + self.undecodable_bytes
    }

    /// Closes the file under its number; `now` is when its undecodable
    /// messages came, in seconds since 1970.
    ///
    /// # Errors
    /// Parquet's, passed on; nothing was published then.
    pub fn finish(
        self,
        number: u64,
        spool: Uuid,
        source: &Source,
        now: u64,
    ) -> Result<Finished, Fault> {
        let footer = SegmentFooter {
            spool,
            segment: number,
            first_row: 0,
            rows: self.rows,
            source: source.clone(),
            offsets: self.offsets,
            undecodable: self.undecodable.len() as u64,
            replayed_from: None,
        };
        let undecodable = if self.undecodable.is_empty() {
            None
        } else {
            let kept: Vec<Kept> = self.undecodable.iter().map(Kept::from).collect();
            let footer = UndecodableFooter {
                spool,
                segment: number,
                rows: 0,
                source: source.clone(),
                kept_at: now,
                dropped: 0,
            };
            Some(undecodable::encode(&kept, &footer)?)
        };
        let bytes = footer::close(self.writer, &Footer::Segment(footer.clone()))?;
        Ok(Finished {
            footer,
            bytes,
            undecodable,
        })
    }
}

/// Encodes rows that were undecodable before as the segment `number`. It
/// accounts for no offsets.
///
/// # Errors
/// Parquet's, passed on; nothing was published then.
pub fn encode_replayed(
    rows: &[RecordBatch],
    number: u64,
    origin: &UndecodableFooter,
    replayed_from: ReplayedFrom,
) -> Result<(SegmentFooter, Bytes), Fault> {
    let mut segment = OpenSegment::new()?;
    for rows in rows {
        segment.write(rows)?;
    }
    let footer = SegmentFooter {
        spool: origin.spool,
        segment: number,
        first_row: 0,
        rows: segment.rows,
        source: origin.source.clone(),
        offsets: BTreeMap::new(),
        undecodable: 0,
        replayed_from: Some(replayed_from),
    };
    let bytes = footer::close(segment.writer, &Footer::Segment(footer.clone()))?;
    Ok((footer, bytes))
}

/// Encodes rows that are left of a partly packed segment as a file of their own.
///
/// # Errors
/// Parquet's, passed on.
pub fn encode(footer: &SegmentFooter, rows: &RecordBatch) -> Result<Bytes, Fault> {
    let mut segment = OpenSegment::new()?;
    segment.write(rows)?;
    footer::close(segment.writer, &Footer::Segment(footer.clone()))
}

/// One row group; integers split by byte and texts as plain lengths and bytes
/// compress well under a fast zstd, and a dictionary pays only where a column
/// has few values.
fn properties() -> WriterProperties {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let mut properties = WriterProperties::builder()
        .set_created_by("spoolhouse".to_owned())
        .set_compression(zstd)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None);
    for field in schema::segment().fields() {
        let column = field.name().as_str().into();
        properties = match field.name().as_str() {
            "cache_status" | "method" | "response_status" | schema::KAFKA_PARTITION => {
                properties.set_column_dictionary_enabled(column, true)
            }
            "remote_addr" | "url" => {
                properties.set_column_encoding(column, Encoding::DELTA_LENGTH_BYTE_ARRAY)
            }
            _ => properties.set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT),
        };
    }
    for column in ["timestamp", schema::KAFKA_OFFSET] {
        properties =
            properties.set_column_statistics_enabled(column.into(), EnabledStatistics::Chunk);
    }
    properties.build()
}
