//! How the rows of a batch become bytes: an order, and an encoding per column.
//!
//! Only encodings that pyarrow, DuckDB, the ClickHouse engine and parquet-java
//! all read; the compatible ones among them are in Parquet since its first
//! version, for servers that know no others.

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use parquet::basic::{Compression, Encoding as ParquetEncoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::order::Order;
use crate::spool::format::encoding::Encoding;
use crate::spool::format::error::Fault;
use crate::spool::format::schema::LOG_COLUMNS;

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// To learn which of several ways is smaller, or when there is no time.
    Quick,
    /// To send.
    Full,
}

/// Strong zstd; 19 is larger and slower on random hex.
const ZSTD_FULL: i32 = 16;

/// The fastest zstd, which ranks encodings as the strong one does.
const ZSTD_QUICK: i32 = 1;

/// Of integers split by byte. Higher levels take longer and give nothing.
const GZIP: u32 = 6;

/// Encoding and compression of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Integers split by byte, gzip: best where values are random.
    SplitGzip,
    /// Integers split by byte, zstd.
    SplitZstd,
    /// Values by number, zstd: best where there are few.
    Dictionary,
    /// Values as they are, zstd: best where strong zstd finds repetitions.
    Plain,
    /// Texts without the beginning that they share with the one before, zstd.
    FrontCoded,
}

const INTEGERS: &[Codec] = &[
    Codec::SplitGzip,
    Codec::SplitZstd,
    Codec::Dictionary,
    Codec::Plain,
];
const TEXTS: &[Codec] = &[Codec::Plain, Codec::FrontCoded, Codec::Dictionary];
const COMPATIBLE: &[Codec] = &[Codec::Plain, Codec::Dictionary];
const FEW_VALUES: &[Codec] = &[Codec::Dictionary];

impl Codec {
    /// What may be tried for a column.
    pub fn candidates(column: &str, data_type: &DataType, encoding: Encoding) -> &'static [Self] {
        match (column, encoding) {
            ("response_status" | "cache_status" | "method", _) => FEW_VALUES,
            (_, Encoding::Compatible) => COMPATIBLE,
            (_, Encoding::Compact) if *data_type == DataType::Utf8 => TEXTS,
            (_, Encoding::Compact) => INTEGERS,
        }
    }

    /// Sets it for a column.
    ///
    /// # Errors
    /// None that a caller can cause; Parquet's, passed on.
    fn apply(
        self,
        properties: WriterPropertiesBuilder,
        column: &str,
        strength: Strength,
    ) -> Result<WriterPropertiesBuilder, Fault> {
        let level = match strength {
            Strength::Quick => ZSTD_QUICK,
            Strength::Full => ZSTD_FULL,
        };
        let zstd = Compression::ZSTD(ZstdLevel::try_new(level).map_err(Fault::parquet)?);
        let gzip = Compression::GZIP(GzipLevel::try_new(GZIP).map_err(Fault::parquet)?);
        let path = || ColumnPath::from(column);
        let (compression, encoding) = match self {
            Self::SplitGzip => (gzip, ParquetEncoding::BYTE_STREAM_SPLIT),
            Self::SplitZstd => (zstd, ParquetEncoding::BYTE_STREAM_SPLIT),
            Self::Plain => (zstd, ParquetEncoding::PLAIN),
            Self::FrontCoded => (zstd, ParquetEncoding::DELTA_BYTE_ARRAY),
            Self::Dictionary => {
                let properties = properties.set_column_compression(path(), zstd);
                return Ok(properties.set_column_dictionary_enabled(path(), true));
            }
        };
        Ok(properties
            .set_column_compression(path(), compression)
            .set_column_encoding(path(), encoding))
    }
}

/// An order and an encoding for each of the nine columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What rows are sorted by.
    pub order: Order,
    /// The encodings, in the order of the columns.
    pub codecs: [Codec; LOG_COLUMNS.len()],
    encoding: Encoding,
}

impl Recipe {
    /// What does well without a look at the rows.
    pub fn usual(encoding: Encoding) -> Self {
        let codecs = LOG_COLUMNS.map(|column| match (column, encoding) {
            ("response_status" | "cache_status" | "method", _) => Codec::Dictionary,
            (_, Encoding::Compatible) | ("url", Encoding::Compact) => Codec::Plain,
            ("remote_addr", Encoding::Compact) => Codec::FrontCoded,
            _ => Codec::SplitGzip,
        });
        Self::new(Order::PathAddress, codecs, encoding)
    }

    /// These codecs, which must be candidates under `encoding`.
    pub fn new(order: Order, codecs: [Codec; LOG_COLUMNS.len()], encoding: Encoding) -> Self {
        Self {
            order,
            codecs,
            encoding,
        }
    }

    /// Which encodings it keeps to.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Parquet's settings for `rows`.
    ///
    /// # Errors
    /// Parquet's, passed on.
    pub fn properties(
        &self,
        rows: &RecordBatch,
        strength: Strength,
    ) -> Result<WriterProperties, Fault> {
        let columns = rows.columns().iter().zip(LOG_COLUMNS).zip(self.codecs);
        let mut properties = bare(rows.num_rows());
        for ((values, column), codec) in columns {
            // Some servers can't read a dictionary of one value, whose indices
            // are zero bits wide (ClickHouse issue 88743).
            let codec = match self.encoding {
                Encoding::Compatible if is_constant(values) => Codec::Plain,
                _ => codec,
            };
            properties = codec.apply(properties, column, strength)?;
        }
        Ok(properties.build())
    }
}

/// Parquet's settings for one column alone.
///
/// # Errors
/// Parquet's, passed on.
pub fn properties_of(
    column: &str,
    codec: Codec,
    rows: usize,
    strength: Strength,
) -> Result<WriterProperties, Fault> {
    Ok(codec.apply(bare(rows), column, strength)?.build())
}

/// Nothing in the file but the rows: one row group, one page per column.
fn bare(rows: usize) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(String::new())
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None)
        .set_dictionary_page_size_limit(usize::MAX)
        // Page limits are looked at once per write batch.
        .set_data_page_size_limit(usize::MAX)
        .set_data_page_row_count_limit(usize::MAX)
        .set_write_batch_size(rows.max(1))
}

fn is_constant(values: &ArrayRef) -> bool {
    fn same<T: PartialEq>(mut values: impl Iterator<Item = T>) -> bool {
        let first = values.next();
        values.all(|value| Some(value) == first)
    }
    match values.data_type() {
        DataType::UInt16 => same(values.as_primitive::<UInt16Type>().values().iter()),
        DataType::UInt32 => same(values.as_primitive::<UInt32Type>().values().iter()),
        DataType::UInt64 => same(values.as_primitive::<UInt64Type>().values().iter()),
        DataType::Utf8 => same(values.as_string::<i32>().iter()),
        _ => false,
    }
}
