//! What a spool file says of itself, in its Parquet footer.
//!
//! Two keys of the footer's metadata: `spoolhouse` holds a JSON document (which
//! rows of which segments, which offsets of which topic), `spoolhouse.digest`
//! the SHA-256 of the whole file. A footer is untrusted until the digest holds;
//! a document of an unknown format version is refused, never guessed at.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, io};

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batch::recipe::Encoding;
use super::digest;
use super::error::Fault;
use crate::spool::disk::Disk;

/// Version of the documents below; grows when their meaning changes.
pub const FORMAT: u32 = 1;

/// Footer key of the document.
const DOCUMENT_KEY: &str = "spoolhouse";

/// Which topic of which cluster: offsets mean nothing without it. A topic that
/// was deleted and created again has another id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Kafka's cluster id.
    pub cluster: String,
    /// The topic's name.
    pub topic: String,
    /// Kafka's topic id (a UUID in Kafka's base64 form).
    pub topic_id: String,
}

/// Offsets from `0` up to, but not including, `1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange(pub i64, pub i64);

/// A run of rows: from row `first_row` of segment `first` through row
/// `end_row` (exclusive; `None`: all rows) of segment `last`. Every number in
/// between is covered wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cover {
    /// Number of the first segment.
    pub first: u64,
    /// First covered row of the first segment.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_row: u64,
    /// Number of the last segment.
    pub last: u64,
    /// End of the covered rows of the last segment; absent: its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_row: Option<u64>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Cover {
    /// The covered rows of segment `number`: start and end, an absent end
    /// meaning the segment's own.
    pub fn rows_of(&self, number: u64) -> Option<(u64, Option<u64>)> {
        if !(self.first..=self.last).contains(&number) {
            return None;
        }
        let start = if number == self.first {
            self.first_row
        } else {
            0
        };
        let end = if number == self.last {
            self.end_row
        } else {
            None
        };
        Some((start, end))
    }
}

/// The document of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentFooter {
    /// Id of the spool that sealed it.
    pub spool: Uuid,
    /// The segment's number.
    pub segment: u64,
    /// First row of the original segment that this file holds.
    pub first_row: u64,
    /// Rows in this file.
    pub rows: u64,
    /// Where the messages came from.
    pub source: Source,
    /// Offsets per partition that this file accounts for, messages that were
    /// no record and holes in the log included.
    pub offsets: BTreeMap<i32, OffsetRange>,
    /// Messages that were kept in `undecodable/` under this number.
    pub undecodable: u64,
    /// Where its rows were found, if they were undecodable before. Such a
    /// segment accounts for no offsets: the first one to see them did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed_from: Option<ReplayedFrom>,
}

/// The file of undecodable messages that a segment's rows were replayed from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayedFrom {
    /// Its number.
    pub undecodable: u64,
    /// Its digest before the rows were taken out: a file of that number with
    /// this digest still holds them.
    pub digest: String,
}

/// The document of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchFooter {
    /// Id of the spool that froze it.
    pub spool: Uuid,
    /// Rows in this file.
    pub rows: u64,
    /// Where the messages came from.
    pub source: Source,
    /// Rows of segments that the batch took, oldest first.
    pub covers: Vec<Cover>,
    /// Offsets per partition, as in the segments.
    pub offsets: BTreeMap<i32, Vec<OffsetRange>>,
    /// ClickHouse settings of the insert, frozen with the bytes: other block
    /// settings under the same token would let rows in twice.
    pub settings: BTreeMap<String, String>,
    /// The encodings it keeps to; absent: compact.
    #[serde(default, skip_serializing_if = "Encoding::is_compact")]
    pub encoding: Encoding,
    /// Digest of the batch that this one is a part of, when that one was split
    /// for a body limit or packed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_from: Option<String>,
}

impl BatchFooter {
    /// Number of the oldest segment that the batch took rows from.
    pub fn oldest_segment(&self) -> Option<u64> {
        self.covers.first().map(|cover| cover.first)
    }
}

/// The document of a file of undecodable messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndecodableFooter {
    /// Id of the spool that kept it.
    pub spool: Uuid,
    /// Number of the segment that was sealed with it.
    pub segment: u64,
    /// Messages in this file.
    pub rows: u64,
    /// Where the messages came from.
    pub source: Source,
    /// When they came, seconds since 1970.
    pub kept_at: u64,
    /// How many of them have lost their bytes to the budget or the age limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

/// The document of any spool file: `{"format":1,"segment":{…}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Footer {
    /// Of a segment.
    Segment(SegmentFooter),
    /// Of a batch.
    Batch(BatchFooter),
    /// Of a file of undecodable messages.
    Undecodable(UndecodableFooter),
}

/// [`Footer`] as it is written. No tagged enum: serde can't read maps with
/// integer keys through one.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<SegmentFooter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<BatchFooter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undecodable: Option<UndecodableFooter>,
}

impl Footer {
    /// The footer's metadata entry.
    pub fn to_key_value(&self) -> Result<KeyValue, serde_json::Error> {
        let mut document = Document {
            format: FORMAT,
            ..Document::default()
        };
        match self.clone() {
            Self::Segment(footer) => document.segment = Some(footer),
            Self::Batch(footer) => document.batch = Some(footer),
            Self::Undecodable(footer) => document.undecodable = Some(footer),
        }
        let text = serde_json::to_string(&document)?;
        Ok(KeyValue::new(DOCUMENT_KEY.to_owned(), text))
    }

    /// Rows that the document says the file holds.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Segment(footer) => footer.rows,
            Self::Batch(footer) => footer.rows,
            Self::Undecodable(footer) => footer.rows,
        }
    }

    /// Reads the document out of Parquet metadata and holds it against the
    /// file's own row count.
    pub fn from_metadata(metadata: &ParquetMetaData) -> Result<Self, Fault> {
        let text = key_value(metadata, DOCUMENT_KEY).ok_or(Fault::Foreign)?;
        let version: Version = serde_json::from_str(text).map_err(Fault::document)?;
        if version.format != FORMAT {
            return Err(Fault::Format(version.format));
        }
        let document: Document = serde_json::from_str(text).map_err(Fault::document)?;
        let footer = match (document.segment, document.batch, document.undecodable) {
            (Some(footer), None, None) => Self::Segment(footer),
            (None, Some(footer), None) => Self::Batch(footer),
            (None, None, Some(footer)) => Self::Undecodable(footer),
            _ => return Err(Fault::Foreign),
        };
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(u64::MAX);
        if rows != footer.rows() {
            return Err(Fault::Rows {
                said: footer.rows(),
                held: rows,
            });
        }
        Ok(footer)
    }
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Value of a metadata key.
pub fn key_value<'m>(metadata: &'m ParquetMetaData, key: &str) -> Option<&'m str> {
    metadata
        .file_metadata()
        .key_value_metadata()?
        .iter()
        .find(|entry| entry.key == key)?
        .value
        .as_deref()
}

/// Closes a file with `footer` in it and stamps it with its digest.
///
/// # Errors
/// Parquet's, passed on.
pub fn close(mut writer: ArrowWriter<Vec<u8>>, footer: &Footer) -> Result<Bytes, Fault> {
    writer.append_key_value_metadata(footer.to_key_value().map_err(Fault::document)?);
    writer.append_key_value_metadata(digest::blank());
    let mut file = writer.into_inner().map_err(Fault::parquet)?;
    digest::stamp(&mut file)?;
    Ok(file.into())
}

/// The longest footer that is read from a file's end: ours take a few KiB, and a
/// length that somebody wrote there must not fill the memory.
pub const FOOTER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Length and magic at the very end of a Parquet file.
const TAIL_BYTES: u64 = 8;

/// Parses the Parquet metadata out of a whole file's bytes.
pub fn parse(bytes: &Bytes) -> Result<ParquetMetaData, Fault> {
    parse_end(bytes.len() as u64, bytes)
}

/// How many bytes at the end of a file of `size` the footer takes, given at
/// least the last eight of them.
pub fn length_in(size: u64, end: &[u8]) -> Result<u64, Fault> {
    let tail = end.last_chunk::<{ TAIL_BYTES as usize }>();
    let Some([a, b, c, d, b'P', b'A', b'R', b'1']) = tail else {
        return Err(Fault::Torn);
    };
    let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d])) + TAIL_BYTES;
    if length > size {
        return Err(Fault::Torn);
    }
    Ok(length)
}

/// Parses the metadata out of a file's last bytes, which must hold the whole footer.
pub fn parse_end(size: u64, end: &Bytes) -> Result<ParquetMetaData, Fault> {
    let length = length_in(size, end)?;
    let Some(start) = (end.len() as u64).checked_sub(length) else {
        return Err(Fault::Torn);
    };
    let thrift = &end[start as usize..end.len() - TAIL_BYTES as usize];
    ParquetMetaDataReader::decode_metadata(thrift).map_err(Fault::parquet)
}

/// Reads a file's last bytes and parses the metadata in them; `guess` is how
/// many are read at first.
///
/// # Errors
/// The disk's; what is wrong with the file comes as the inner result.
pub fn read_end(
    disk: &dyn Disk,
    path: &Path,
    guess: u64,
) -> io::Result<Result<ParquetMetaData, Fault>> {
    let (size, end) = bytes_at_end(disk, path, guess)?;
    Ok(parse_end(size, &end))
}

/// A file's size, and its last bytes: as many as its footer takes, if it has one
/// of at most [`FOOTER_BYTES_MAX`]. `guess` is how many are read at first.
///
/// # Errors
/// The disk's.
pub fn bytes_at_end(disk: &dyn Disk, path: &Path, guess: u64) -> io::Result<(u64, Bytes)> {
    let (size, end) = disk.read_end(path, guess)?;
    match length_in(size, &end) {
        Ok(length) if length > end.len() as u64 && length <= FOOTER_BYTES_MAX => {
            disk.read_end(path, length)
        }
        _ => Ok((size, end)),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({} in cluster {})",
            self.topic, self.topic_id, self.cluster
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cover_gives_the_rows_of_each_of_its_segments() {
        let cover = Cover {
            first: 40,
            first_row: 1200,
            last: 42,
            end_row: Some(10),
        };
        assert_eq!(cover.rows_of(39), None);
        assert_eq!(cover.rows_of(40), Some((1200, None)));
        assert_eq!(cover.rows_of(41), Some((0, None)));
        assert_eq!(cover.rows_of(42), Some((0, Some(10))));
        assert_eq!(cover.rows_of(43), None);
    }

    #[test]
    fn the_end_of_no_parquet_file_is_torn() {
        for end in [&b""[..], b"PAR1", b"\xff\xff\xff\xffPAR1", b"\0\0\0\0PARE"] {
            assert!(parse_end(end.len() as u64, &Bytes::copy_from_slice(end)).is_err());
        }
    }
}
