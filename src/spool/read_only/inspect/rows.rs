//! The rows of a file whose bytes nobody vouches for: when they happened, and
//! what the first of them look like. Holds a few of them at a time, shows no
//! address that isn't masked, and no binary value unless it is asked to.

use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Value, json};

use super::{Inspection, Options, Row};
use crate::spool::format::error::Fault;

/// Rows that are in memory at once.
const CHUNK_ROWS: usize = 4_096;

/// Characters of a text that are shown.
const TEXT_CHARS_MAX: usize = 4_096;

/// The column with the time of a row, seconds since 1970.
const TIME: &str = "timestamp";

/// The column with masked addresses.
const ADDRESS: &str = "remote_addr";

/// Adds times and sample to what is known.
pub(super) fn look(
    file: &File,
    metadata: Arc<ParquetMetaData>,
    options: &Options<'_>,
    found: &mut Inspection,
) -> Result<(), Fault> {
    let told = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::try_new(metadata, told).map_err(Fault::parquet)?;
    if let Some((column, field)) = metadata.schema().column_with_name(TIME)
        && *field.data_type() == DataType::UInt32
    {
        let wanted = ProjectionMask::roots(metadata.parquet_schema(), [column]);
        let held = times(file, &metadata, wanted, found)?;
        // A file of ours was held against its own word already.
        if held != found.rows {
            let said = found.rows;
            return Err(Fault::Rows { said, held });
        }
    }
    if options.rows > 0 {
        sample(file, &metadata, options, found)?;
    }
    Ok(())
}

/// A reader of its own; each has its place in the file.
fn reader(
    file: &File,
    metadata: &ArrowReaderMetadata,
) -> Result<ParquetRecordBatchReaderBuilder<File>, Fault> {
    let file = file.try_clone();
    let file = file.map_err(|error| Fault::Unreadable(error.to_string()))?;
    let metadata = metadata.clone();
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(
        file, metadata,
    ))
}

/// First and last time; the number of rows that have one.
fn times(
    file: &File,
    metadata: &ArrowReaderMetadata,
    wanted: ProjectionMask,
    found: &mut Inspection,
) -> Result<u64, Fault> {
    let chunks = reader(file, metadata)?
        .with_batch_size(CHUNK_ROWS)
        .with_projection(wanted)
        .build()
        .map_err(Fault::parquet)?;
    let mut held = 0;
    for rows in chunks {
        let rows = rows.map_err(damaged)?;
        held += rows.num_rows() as u64;
        let times = rows.column(0).as_primitive::<UInt32Type>();
        for time in times.iter().flatten() {
            let (first, last) = found.times.unwrap_or((time, time));
            found.times = Some((first.min(time), last.max(time)));
        }
    }
    Ok(held)
}

fn sample(
    file: &File,
    metadata: &ArrowReaderMetadata,
    options: &Options<'_>,
    found: &mut Inspection,
) -> Result<(), Fault> {
    let chunks = reader(file, metadata)?
        .with_batch_size(options.rows.min(CHUNK_ROWS))
        .with_limit(options.rows)
        .build()
        .map_err(Fault::parquet)?;
    for rows in chunks {
        let rows = rows.map_err(damaged)?;
        let shown = (0..rows.num_rows()).map(|row| shown(&rows, row, options));
        found.sample.extend(shown);
    }
    Ok(())
}

fn damaged(error: arrow_schema::ArrowError) -> Fault {
    Fault::parquet(ParquetError::General(error.to_string()))
}

fn shown(rows: &RecordBatch, row: usize, options: &Options<'_>) -> Row {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    let values = columns.map(|(field, column)| {
        let value = value(field.name(), column, row, options);
        (field.name().clone(), value)
    });
    Row(values.collect())
}

fn value(name: &str, column: &dyn Array, row: usize, options: &Options<'_>) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Int8 => json!(column.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => json!(column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => json!(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => json!(column.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => json!(column.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => json!(column.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => json!(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => json!(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => text(name, column.as_string::<i32>().value(row), options),
        DataType::Binary => binary(column.as_binary::<i32>().value(row), options),
        // Nobody of ours writes another one, and any of them may hold anything.
        other => json!(format!("<{other}>")),
    }
}

/// A text; an address only masked, whatever its column is called.
fn text(name: &str, text: &str, options: &Options<'_>) -> Value {
    if name == ADDRESS || text.trim().parse::<IpAddr>().is_ok() {
        return json!((options.mask)(text));
    }
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => json!(format!("{}…", &text[..end])),
        None => json!(text),
    }
}

/// Raw bytes as Rust writes them, or only how many there are.
fn binary(bytes: &[u8], options: &Options<'_>) -> Value {
    if options.payloads {
        json!(bytes.escape_ascii().to_string())
    } else {
        json!(format!("<{} bytes>", bytes.len()))
    }
}
