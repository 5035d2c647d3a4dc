//! The batch file: what one insert carries, encoded for size, since bytes per
//! row are the throughput.
//!
//! Sorted so that like stands by like (path without the file's own name, then
//! address), integers split by byte under gzip, texts under a strong zstd, one
//! row group and one page per column, no statistics. The same rows in the same
//! order give the same bytes.

use arrow_array::{Array, RecordBatch, StringArray, UInt32Array};
use arrow_select::take::take_record_batch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::fault::Fault;
use super::footer::{BatchFooter, Footer};
use super::schema;

/// Compression level of texts; zstd 19 is larger and slower on random hex.
const TEXT_ZSTD_LEVEL: i32 = 16;

/// Compression level of byte-split integers.
const INTEGER_GZIP_LEVEL: u32 = 6;

/// Takes the nine columns out of segment rows.
fn log_columns(rows: &RecordBatch) -> Result<RecordBatch, Fault> {
    let indices: Vec<usize> = (0..schema::LOG_COLUMNS.len()).collect();
    let projected = rows
        .project(&indices)
        .map_err(|error| Fault::Schema(error.to_string()))?;
    RecordBatch::try_new(schema::batch(), projected.columns().to_vec())
        .map_err(|error| Fault::Schema(error.to_string()))
}

/// Encodes the nine columns of `rows` (of a segment or a batch) as one batch file.
///
/// # Errors
/// Parquet's, passed on.
pub fn encode(rows: &RecordBatch, footer: &BatchFooter) -> Result<Bytes, Fault> {
    let sorted = sort(&log_columns(rows)?)?;
    let options = ArrowWriterOptions::new()
        .with_properties(properties(rows.num_rows()).map_err(Fault::parquet)?)
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema::batch(), options)
        .map_err(Fault::parquet)?;
    writer.write(&sorted).map_err(Fault::parquet)?;
    let document = Footer::Batch(footer.clone());
    writer.append_key_value_metadata(document.to_key_value().map_err(Fault::document)?);
    Ok(writer.into_inner().map_err(Fault::parquet)?.into())
}

fn sort(rows: &RecordBatch) -> Result<RecordBatch, Fault> {
    let (Some(urls), Some(addresses)) = (text(rows, "url"), text(rows, "remote_addr")) else {
        return Err(Fault::Schema("url and remote_addr are missing".into()));
    };
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_by_key(|&row| {
        let row = row as usize;
        let (directory, extension) = around_file_name(urls.value(row));
        (directory, extension, addresses.value(row))
    });
    take_record_batch(rows, &UInt32Array::from(order))
        .map_err(|error| Fault::Parquet(error.to_string()))
}

fn text<'r>(rows: &'r RecordBatch, column: &str) -> Option<&'r StringArray> {
    rows.column_by_name(column)?.as_any().downcast_ref()
}

/// A URL's directory and extension: what many rows share.
fn around_file_name(url: &str) -> (&str, &str) {
    let (directory, file) = match url.rfind('/') {
        Some(slash) => url.split_at(slash),
        None => ("", url),
    };
    let extension = file.rfind('.').map_or("", |dot| &file[dot..]);
    (directory, extension)
}

fn properties(rows: usize) -> Result<WriterProperties, parquet::errors::ParquetError> {
    let gzip = Compression::GZIP(GzipLevel::try_new(INTEGER_GZIP_LEVEL)?);
    let zstd = Compression::ZSTD(ZstdLevel::try_new(TEXT_ZSTD_LEVEL)?);
    let mut properties = WriterProperties::builder()
        .set_created_by(String::new())
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None)
        // One page per column; page limits are looked at once per write batch.
        .set_data_page_size_limit(usize::MAX)
        .set_data_page_row_count_limit(usize::MAX)
        .set_write_batch_size(rows.max(1));
    for name in schema::LOG_COLUMNS {
        let column = || name.into();
        properties = match name {
            "cache_status" | "method" | "response_status" => properties
                .set_column_compression(column(), zstd)
                .set_column_dictionary_enabled(column(), true),
            "remote_addr" => properties
                .set_column_compression(column(), zstd)
                .set_column_encoding(column(), Encoding::DELTA_BYTE_ARRAY),
            "url" => properties
                .set_column_compression(column(), zstd)
                .set_column_encoding(column(), Encoding::PLAIN),
            _ => properties
                .set_column_compression(column(), gzip)
                .set_column_encoding(column(), Encoding::BYTE_STREAM_SPLIT),
        };
    }
    Ok(properties.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_is_left_out_of_the_order() {
        assert_eq!(around_file_name("/img/a/0f3c.png"), ("/img/a", ".png"));
        assert_eq!(around_file_name("/img"), ("", ""));
        assert_eq!(around_file_name("no slash.gif"), ("", ".gif"));
        assert_eq!(around_file_name(""), ("", ""));
    }
}
