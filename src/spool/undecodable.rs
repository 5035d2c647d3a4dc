//! Messages that are no record, kept as they came: partition, offset, reason
//! and raw bytes. The one kind of file that may hold unmasked addresses, so it
//! is readable by its owner only and never leaves the spool.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use uuid::Uuid;

use super::fault::Fault;
use super::footer::{self, Footer, Source, UndecodableFooter};

/// A message that is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Kafka partition.
    pub partition: i32,
    /// Kafka offset.
    pub offset: i64,
    /// Why it is no record; holds nothing of the message itself.
    pub error: String,
    /// The message, byte for byte; empty for one without a value.
    pub bytes: Bytes,
}

/// Encodes the messages that arrived with segment `number`.
///
/// # Errors
/// Parquet's, passed on.
pub fn encode(
    messages: &[Message],
    number: u64,
    spool: Uuid,
    source: &Source,
) -> Result<Bytes, Fault> {
    let footer = Footer::Undecodable(UndecodableFooter {
        spool,
        segment: number,
        rows: messages.len() as u64,
        source: source.clone(),
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

fn rows(messages: &[Message]) -> Result<RecordBatch, ParquetError> {
    let schema = Schema::new(vec![
        Field::new("kafka_partition", DataType::Int32, false),
        Field::new("kafka_offset", DataType::Int64, false),
        Field::new("error", DataType::Utf8, false),
        Field::new("message", DataType::Binary, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(
            messages.iter().map(|message| message.partition),
        )),
        Arc::new(Int64Array::from_iter_values(
            messages.iter().map(|message| message.offset),
        )),
        Arc::new(StringArray::from_iter_values(
            messages.iter().map(|message| &message.error),
        )),
        Arc::new(BinaryArray::from_iter_values(
            messages.iter().map(|message| &message.bytes),
        )),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}
