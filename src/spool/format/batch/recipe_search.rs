//! Finds the recipe that makes the smallest file of given rows.
//!
//! Every order is tried on a sample, every column in each of its encodings under
//! the quickest compression, which ranks them as the strong one does at a
//! fiftieth of its time. Where two encodings of a column come close, the strong
//! compression of all rows decides. No clock has a part in it: the same rows
//! give the same recipe.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;

use super::log_columns;
use super::order::Order;
use super::recipe::{self, Codec, Recipe, Strength};
use crate::spool::format::encoding::Encoding;
use crate::spool::format::error::Fault;

/// Rows that orders are tried on.
const SAMPLE_ROWS: usize = 12_000;

/// An encoding that is this much larger than the best under quick compression
/// may still be smaller under the strong one, in percent.
const CLOSE_PERCENT: u64 = 110;

/// One column in one encoding.
struct Tried {
    codec: Codec,
    bytes: u64,
}

/// Finds the recipe for `rows` (of a segment or a batch).
///
/// # Errors
/// Parquet's, passed on.
pub fn choose(rows: &RecordBatch, encoding: Encoding) -> Result<Recipe, Fault> {
    let rows = log_columns(rows)?;
    let sample = rows.slice(0, rows.num_rows().min(SAMPLE_ROWS));
    let mut best: Option<(u64, Order, Vec<Vec<Tried>>)> = None;
    for order in Order::ALL {
        let columns = try_all(&order.sort(&sample)?, encoding)?;
        let bytes = columns.iter().map(|tried| smallest(tried).bytes).sum();
        if best.as_ref().is_none_or(|(least, ..)| bytes < *least) {
            best = Some((bytes, order, columns));
        }
    }
    let mut recipe = Recipe::usual(encoding);
    let Some((_, order, columns)) = best else {
        return Ok(recipe);
    };
    recipe.order = order;
    let sorted = order.sort(&rows)?;
    for (place, tried) in columns.iter().enumerate() {
        let close = smallest(tried).bytes * CLOSE_PERCENT / 100;
        let close: Vec<Codec> = tried
            .iter()
            .filter(|tried| tried.bytes <= close)
            .map(|tried| tried.codec)
            .collect();
        recipe.codecs[place] = match close[..] {
            [codec] => codec,
            _ => smallest(&try_each(&sorted, place, &close, Strength::Full)?).codec,
        };
    }
    Ok(recipe)
}

/// Every column in every encoding that it may have.
fn try_all(rows: &RecordBatch, encoding: Encoding) -> Result<Vec<Vec<Tried>>, Fault> {
    let fields = rows.schema().fields().clone();
    let columns = fields.iter().enumerate().map(|(place, field)| {
        let candidates = Codec::candidates(field.name(), field.data_type(), encoding);
        try_each(rows, place, candidates, Strength::Quick)
    });
    columns.collect()
}

fn try_each(
    rows: &RecordBatch,
    place: usize,
    codecs: &[Codec],
    strength: Strength,
) -> Result<Vec<Tried>, Fault> {
    let field = rows.schema().field(place).clone();
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let values: ArrayRef = rows.column(place).clone();
    let column = RecordBatch::try_new(schema.clone(), vec![values])
        .map_err(|error| Fault::Schema(error.to_string()))?;
    let one = |codec: &Codec| {
        let properties = recipe::properties_of(field.name(), *codec, column.num_rows(), strength)?;
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options)
            .map_err(Fault::parquet)?;
        writer.write(&column).map_err(Fault::parquet)?;
        let file = writer.into_inner().map_err(Fault::parquet)?;
        Ok(Tried {
            codec: *codec,
            bytes: file.len() as u64,
        })
    };
    codecs.iter().map(one).collect()
}

/// The first of the smallest; every column has at least one candidate.
fn smallest(tried: &[Tried]) -> &Tried {
    tried
        .iter()
        .min_by_key(|tried| tried.bytes)
        .unwrap_or(&Tried {
            codec: Codec::Plain,
            bytes: u64::MAX,
        })
}
