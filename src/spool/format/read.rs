//! Reads spool files, trusting none of their bytes before they are checked.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt32Type};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use uuid::Uuid;

use super::digest;
use super::error::Fault;
use super::footer::{BatchFooter, Footer, OffsetRange, SegmentFooter};
use super::schema;
use crate::spool::format::metadata;
use crate::spool::layout::Name;

/// Rows that are read at once where a whole file is wanted.
const ROWS_AT_ONCE: usize = 1 << 20;

/// Rows that are read at once where they are looked at and let go.
const CHUNK_ROWS: usize = 4_096;

/// A segment, checked and read.
#[derive(Clone, Debug)]
pub struct Segment {
    /// What it says of itself.
    pub footer: SegmentFooter,
    /// Its rows, of [`schema::segment`].
    pub rows: RecordBatch,
}

/// Offsets per partition.
type Offsets = BTreeMap<i32, OffsetRange>;

impl Segment {
    /// The footer of what is left of a segment when its first `taken` rows are gone.
    pub fn remainder(&self, taken: u64) -> SegmentFooter {
        let (_, tail) = self.split_offsets(taken);
        SegmentFooter {
            first_row: self.footer.first_row + taken,
            rows: self.footer.rows - taken,
            offsets: tail,
            ..self.footer.clone()
        }
    }

    /// Splits a segment's offsets at row `taken`: a partition's tail starts at its
    /// first row that is left; one without such a row has no tail.
    pub fn split_offsets(&self, taken: u64) -> (Offsets, Offsets) {
        let mut head = self.footer.offsets.clone();
        let mut tail = BTreeMap::new();
        let partitions = self.rows.column_by_name(schema::KAFKA_PARTITION);
        let offsets = self.rows.column_by_name(schema::KAFKA_OFFSET);
        if let (Some(partitions), Some(offsets)) = (
            partitions.and_then(|column| column.as_primitive_opt::<Int32Type>()),
            offsets.and_then(|column| column.as_primitive_opt::<Int64Type>()),
        ) {
            for row in taken as usize..self.rows.num_rows() {
                let (partition, offset) = (partitions.value(row), offsets.value(row));
                if let Some(range) = head.get_mut(&partition)
                    && !tail.contains_key(&partition)
                {
                    tail.insert(partition, OffsetRange(offset, range.1));
                    range.1 = offset;
                }
            }
        }
        head.retain(|_, range| range.0 < range.1);
        (head, tail)
    }
}

/// Checks a segment's digest, footer, name and columns, and reads its rows.
pub fn segment(name: &Name, bytes: Bytes, spool: Uuid) -> Result<Segment, Fault> {
    digest::check(&bytes)?;
    let footer = segment_footer(name, &metadata::parse(&bytes)?, spool)?;
    let rows = rows(bytes, schema::segment())?;
    let held = rows.num_rows() as u64;
    if held != footer.rows {
        let said = footer.rows;
        return Err(Fault::Rows { said, held });
    }
    Ok(Segment { footer, rows })
}

/// Checks a batch against the digest in its name, and its footer against this spool.
pub fn batch(name: &Name, bytes: &Bytes, spool: Uuid) -> Result<BatchFooter, Fault> {
    let Name::Batch { number, digest } = name else {
        return Err(Fault::Foreign);
    };
    if digest::of(bytes) != *digest {
        return Err(Fault::Digest);
    }
    match Footer::from_metadata(&metadata::parse(bytes)?)? {
        Footer::Batch(footer) if footer.spool != spool => Err(Fault::OtherSpool(footer.spool)),
        Footer::Batch(footer) if footer.oldest_segment() != Some(*number) => {
            Err(Fault::Name("its oldest segment has another number".into()))
        }
        Footer::Batch(footer) => Ok(footer),
        _ => Err(Fault::Name("it holds no batch".into())),
    }
}

/// Checks what a segment's footer says against its name and this spool.
pub fn segment_footer(
    name: &Name,
    metadata: &parquet::file::metadata::ParquetMetaData,
    spool: Uuid,
) -> Result<SegmentFooter, Fault> {
    let Footer::Segment(footer) = Footer::from_metadata(metadata)? else {
        return Err(Fault::Name("it holds no segment".into()));
    };
    if footer.spool != spool {
        return Err(Fault::OtherSpool(footer.spool));
    }
    let true_name = Name::Segment {
        number: footer.segment,
        first_row: footer.first_row,
    };
    if true_name != *name {
        return Err(Fault::Name(format!("it is {true_name}")));
    }
    Ok(footer)
}

/// Reads the records' times out of a batch, seconds since 1970: this one column
/// only.
pub fn times(bytes: Bytes) -> Result<Vec<u32>, Fault> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
        .map_err(Fault::parquet)?;
    let column = ProjectionMask::columns(builder.parquet_schema(), ["timestamp"]);
    let chunks = builder
        .with_projection(column)
        .with_batch_size(ROWS_AT_ONCE)
        .build()
        .map_err(Fault::parquet)?;
    let mut times = Vec::new();
    for chunk in chunks {
        let chunk = chunk.map_err(|error| Fault::Parquet(error.to_string()))?;
        let column = chunk.columns().first();
        let column = column.and_then(|column| column.as_primitive_opt::<UInt32Type>());
        let column = column.ok_or_else(|| Fault::Schema("timestamp is no UINT32".into()))?;
        times.extend_from_slice(column.values());
    }
    Ok(times)
}

/// Reads every row of a file whose columns must be exactly those of `schema`.
pub fn rows(bytes: Bytes, schema: SchemaRef) -> Result<RecordBatch, Fault> {
    // In one piece, which is then not copied.
    let chunks = chunks_of(ROWS_AT_ONCE, bytes, &schema)?.collect::<Result<Vec<_>, _>>()?;
    concat_batches(&schema, &chunks).map_err(|error| Fault::Parquet(error.to_string()))
}

/// As [`rows`], a few thousand at a time.
pub fn chunks(
    bytes: Bytes,
    schema: &SchemaRef,
) -> Result<impl Iterator<Item = Result<RecordBatch, Fault>>, Fault> {
    chunks_of(CHUNK_ROWS, bytes, schema)
}

fn chunks_of(
    rows: usize,
    bytes: Bytes,
    schema: &SchemaRef,
) -> Result<impl Iterator<Item = Result<RecordBatch, Fault>>, Fault> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
        .map_err(Fault::parquet)?;
    if builder.schema().fields() != schema.fields() {
        let names: Vec<_> = builder
            .schema()
            .fields()
            .iter()
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect();
        return Err(Fault::Schema(names.join(", ")));
    }
    let chunks = builder
        .with_batch_size(rows)
        .build()
        .map_err(Fault::parquet)?;
    Ok(chunks.map(|rows| rows.map_err(|error| Fault::Parquet(error.to_string()))))
}
