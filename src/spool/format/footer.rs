//! What a spool file says of itself, in its Parquet footer.
//!
//! Two keys of the footer's metadata: `spoolhouse` holds a JSON document (which
//! rows of which segments, which offsets of which topic), `spoolhouse.digest`
//! the SHA-256 of the whole file. A footer is untrusted until the digest holds;
//! a document of an unknown format version is refused, never guessed at.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::encoding::Encoding;
use super::error::Fault;
use super::{digest, metadata};

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
    /// Offsets per partition that this file accounts for, including messages that
    /// could not be decoded and holes in the log.
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
    pub fn from_metadata(parquet: &ParquetMetaData) -> Result<Self, Fault> {
        let text = metadata::key_value(parquet, DOCUMENT_KEY).ok_or(Fault::Foreign)?;
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
        let rows = u64::try_from(parquet.file_metadata().num_rows()).unwrap_or(u64::MAX);
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
}
