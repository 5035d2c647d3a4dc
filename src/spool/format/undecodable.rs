//! Messages that could not be decoded, kept as they came: partition, offset, reason
//! and raw bytes. The one kind of file that may hold unmasked addresses, so it
//! is readable by its owner only and never leaves the spool.
//!
//! A message's length and SHA-256 stand beside it and stay when
//! [`undecodable_retention`](crate::spool::undecodable_retention) drops the bytes
//! themselves: what came, and when, is never forgotten silently.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use uuid::Uuid;

use super::digest;
use super::error::Fault;
use super::footer::{self, Footer, UndecodableFooter};
use super::metadata;
use super::read;
use crate::spool::layout::Name;

/// A message that could not be decoded, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Kafka partition.
    pub partition: i32,
    /// Kafka offset.
    pub offset: i64,
    /// Why it could not be decoded; holds nothing of the message itself.
    pub error: String,
    /// The message, byte for byte; empty for one without a value.
    pub bytes: Bytes,
}

/// A message as its file keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Kafka partition.
    pub partition: i32,
    /// Kafka offset.
    pub offset: i64,
    /// Why it could not be decoded; holds nothing of the message itself.
    pub error: String,
    /// The message's length, bytes.
    pub length: u64,
    /// SHA-256 of the message, 64 lower-case hex digits.
    pub sha256: String,
    /// The message; `None` once its bytes were dropped.
    pub payload: Option<Bytes>,
}

impl From<&Message> for Kept {
    fn from(message: &Message) -> Self {
        Self {
            partition: message.partition,
            offset: message.offset,
            error: message.error.clone(),
            length: message.bytes.len() as u64,
            sha256: digest::of(&message.bytes),
            payload: Some(message.bytes.clone()),
        }
    }
}

/// A file of undecodable messages, checked and read.
#[derive(Clone, Debug)]
pub struct Undecodable {
    /// What it says of itself.
    pub footer: UndecodableFooter,
    /// Its messages, in the order in which they came.
    pub messages: Vec<Kept>,
    /// The digest that it is stamped with: tells it from a rewritten one.
    pub digest: String,
}

/// Columns of the file.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("kafka_partition", DataType::Int32, false),
            Field::new("kafka_offset", DataType::Int64, false),
            Field::new("error", DataType::Utf8, false),
            Field::new("bytes", DataType::UInt64, false),
            Field::new("sha256", DataType::Utf8, false),
            // Null: the bytes were dropped to keep a budget or an age limit.
            Field::new("message", DataType::Binary, true),
        ]))
    });
    SCHEMA.clone()
}

/// Encodes messages under `footer`, whose counts are filled in here.
///
/// # Errors
/// Parquet's, passed on.
pub fn encode(messages: &[Kept], footer: &UndecodableFooter) -> Result<Bytes, Fault> {
    let dropped = messages.iter().filter(|kept| kept.payload.is_none());
    let footer = Footer::Undecodable(UndecodableFooter {
        rows: messages.len() as u64,
        dropped: dropped.count() as u64,
        ..footer.clone()
    });
    let properties = WriterProperties::builder()
        .set_created_by("spoolhouse".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        // Statistics would repeat raw bytes outside the column.
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let write = || -> Result<_, ParquetError> {
        let rows = rows(messages)?;
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options)?;
        writer.write(&rows)?;
        Ok(writer)
    };
    footer::close(write().map_err(Fault::parquet)?, &footer)
}

fn rows(messages: &[Kept]) -> Result<RecordBatch, ParquetError> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(
            messages.iter().map(|kept| kept.partition),
        )),
        Arc::new(Int64Array::from_iter_values(
            messages.iter().map(|kept| kept.offset),
        )),
        Arc::new(StringArray::from_iter_values(
            messages.iter().map(|kept| &kept.error),
        )),
        Arc::new(UInt64Array::from_iter_values(
            messages.iter().map(|kept| kept.length),
        )),
        Arc::new(StringArray::from_iter_values(
            messages.iter().map(|kept| &kept.sha256),
        )),
        Arc::new(
            messages
                .iter()
                .map(|kept| kept.payload.as_deref())
                .collect::<BinaryArray>(),
        ),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// Checks a file's digest, footer, name, columns and every payload's own
/// length and hash, and reads it.
///
/// # Errors
/// What is wrong with it.
pub fn read(name: &Name, bytes: Bytes, spool: Uuid) -> Result<Undecodable, Fault> {
    digest::check(&bytes)?;
    let metadata = metadata::parse(&bytes)?;
    let footer = read_footer(name, &metadata, spool)?;
    let digest = digest::in_footer(&metadata)
        .ok_or(Fault::Foreign)?
        .to_owned();
    let messages = kept(&read::rows(bytes, schema())?)?;
    for message in &messages {
        if let Some(payload) = &message.payload
            && (payload.len() as u64 != message.length || digest::of(payload) != message.sha256)
        {
            return Err(Fault::Payload(message.offset));
        }
    }
    Ok(Undecodable {
        footer,
        messages,
        digest,
    })
}

/// Checks what a file's footer says against its name and this spool.
///
/// # Errors
/// What is wrong with it.
pub fn read_footer(
    name: &Name,
    metadata: &ParquetMetaData,
    spool: Uuid,
) -> Result<UndecodableFooter, Fault> {
    let Footer::Undecodable(footer) = Footer::from_metadata(metadata)? else {
        return Err(Fault::Name("it holds no undecodable messages".into()));
    };
    if footer.spool != spool {
        return Err(Fault::OtherSpool(footer.spool));
    }
    let true_name = Name::Undecodable {
        number: footer.segment,
    };
    if true_name != *name {
        return Err(Fault::Name(format!("it is {true_name}")));
    }
    Ok(footer)
}

/// The messages of rows that have the columns of [`schema`].
fn kept(rows: &RecordBatch) -> Result<Vec<Kept>, Fault> {
    let column = |name: &str| {
        rows.column_by_name(name)
            .ok_or_else(|| Fault::Schema(format!("{name} is missing")))
    };
    let partitions = column("kafka_partition")?.as_primitive::<Int32Type>();
    let offsets = column("kafka_offset")?.as_primitive::<Int64Type>();
    let errors = column("error")?.as_string::<i32>();
    let lengths = column("bytes")?.as_primitive::<UInt64Type>();
    let hashes = column("sha256")?.as_string::<i32>();
    let payloads = column("message")?.as_binary::<i32>();
    let message = |row: usize| Kept {
        partition: partitions.value(row),
        offset: offsets.value(row),
        error: errors.value(row).to_owned(),
        length: lengths.value(row),
        sha256: hashes.value(row).to_owned(),
        payload: payloads
            .is_valid(row)
            .then(|| Bytes::copy_from_slice(payloads.value(row))),
    };
    Ok((0..rows.num_rows()).map(message).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::format::footer::Source;

    #[test]
    fn messages_read_back_with_and_without_their_bytes() {
        let message = Message {
            partition: 3,
            offset: 7,
            error: "the message is empty".into(),
            bytes: Bytes::from_static(b"raw 1.2.3.4"),
        };
        let mut dropped = Kept::from(&Message {
            bytes: Bytes::new(),
            ..message.clone()
        });
        dropped.payload = None;
        let messages = [Kept::from(&message), dropped];
        let footer = UndecodableFooter {
            spool: Uuid::nil(),
            segment: 42,
            rows: 0,
            source: Source {
                cluster: "c".into(),
                topic: "t".into(),
                topic_id: "i".into(),
            },
            kept_at: 1_700_000_000,
            dropped: 0,
        };
        let file = encode(&messages, &footer).unwrap();
        let name = Name::Undecodable { number: 42 };
        let back = read(&name, file.clone(), Uuid::nil()).unwrap();
        assert_eq!(back.messages, messages);
        assert_eq!((back.footer.rows, back.footer.dropped), (2, 1));
        let other = Name::Undecodable { number: 43 };
        assert!(matches!(
            read(&other, file, Uuid::nil()),
            Err(Fault::Name(_))
        ));
    }
}
