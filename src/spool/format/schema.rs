//! The columns of spool files. The nine of the wire contract, under the names
//! of the ClickHouse table; a segment adds the two that say which message a row
//! was. Names, order and types are the on-disk format: they never change within
//! a format version.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef};

/// Names of the nine columns that go to ClickHouse, in the order of the table.
pub const LOG_COLUMNS: [&str; 9] = [
    "timestamp",
    "resource_id",
    "bytes_sent",
    "request_time_milli",
    "response_status",
    "cache_status",
    "method",
    "remote_addr",
    "url",
];

/// Name of the segment column that holds a row's Kafka partition.
pub const KAFKA_PARTITION: &str = "kafka_partition";

/// Name of the segment column that holds a row's Kafka offset.
pub const KAFKA_OFFSET: &str = "kafka_offset";

/// Columns of a batch: exactly the nine of the table, none of them nullable.
///
/// `timestamp` is whole seconds since 1970 as UINT32, which ClickHouse reads
/// into `DateTime` without loss.
pub fn batch() -> SchemaRef {
    static BATCH: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(log_fields())));
    BATCH.clone()
}

/// Columns of a segment: those of a batch, then [`KAFKA_PARTITION`] and [`KAFKA_OFFSET`].
pub fn segment() -> SchemaRef {
    static SEGMENT: LazyLock<SchemaRef> = LazyLock::new(|| {
        let mut fields = log_fields();
        fields.push(Field::new(KAFKA_PARTITION, DataType::Int32, false));
        fields.push(Field::new(KAFKA_OFFSET, DataType::Int64, false));
        Arc::new(Schema::new(fields))
    });
    SEGMENT.clone()
}

fn log_fields() -> Vec<Field> {
    let types = [
        DataType::UInt32,
        DataType::UInt64,
        DataType::UInt64,
        DataType::UInt64,
        DataType::UInt16,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Utf8,
    ];
    LOG_COLUMNS
        .into_iter()
        .zip(types)
        .map(|(name, data_type)| Field::new(name, data_type, false))
        .collect()
}
