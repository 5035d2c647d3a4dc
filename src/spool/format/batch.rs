//! The batch file: what one insert carries, encoded for size, since bytes per
//! row are the throughput.
//!
//! One row group and one page per column, no statistics, sorted so that like
//! stands by like; how exactly is a [`Recipe`].
//!
//! Invariant: the same rows in the same order under the same recipe give the same
//! bytes. Values to values: no I/O and no clock.

pub mod order;
pub mod recipe;
pub mod recipe_search;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;

use super::error::Fault;
use super::footer::{BatchFooter, Footer};
use super::schema;
use recipe::{Recipe, Strength};

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
pub fn encode(
    rows: &RecordBatch,
    footer: &BatchFooter,
    recipe: &Recipe,
    strength: Strength,
) -> Result<Bytes, Fault> {
    let sorted = recipe.order.sort(&log_columns(rows)?)?;
    let options = ArrowWriterOptions::new()
        .with_properties(recipe.properties(&sorted, strength)?)
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema::batch(), options)
        .map_err(Fault::parquet)?;
    writer.write(&sorted).map_err(Fault::parquet)?;
    let document = Footer::Batch(footer.clone());
    writer.append_key_value_metadata(document.to_key_value().map_err(Fault::document)?);
    Ok(writer.into_inner().map_err(Fault::parquet)?.into())
}
