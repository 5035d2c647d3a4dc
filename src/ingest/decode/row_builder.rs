//! Rows into Arrow columns: what becomes the next segment, while it grows.
//!
//! Knows the order of [`schema::segment`] and nothing of files. Memory is bounded
//! by whoever pushes: [`Columns::bytes`] says when to stop.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{
    Int32Builder, Int64Builder, StringBuilder, UInt16Builder, UInt32Builder, UInt64Builder,
};

use crate::ingest::decode::record::Record;
use crate::spool::format::schema;

/// Bytes of a row in the columns of fixed width: four of 8, three of 4, one of 2.
const FIXED_BYTES_PER_ROW: usize = 4 * 8 + 2 * 4 + 2;

/// Bytes of a row's ends in the four columns of texts.
const TEXT_ENDS_BYTES_PER_ROW: usize = 4 * 4;

/// How much text one column may hold, in bytes: its ends are signed 32-bit numbers.
pub const TEXT_BYTES_MAX: usize = i32::MAX as usize;

/// The columns can't take another row before they are emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the columns are full: a column of texts holds at most {TEXT_BYTES_MAX} bytes")]
pub struct Full;

/// Rows on their way into a segment, column by column.
#[derive(Debug, Default)]
pub struct Columns {
    timestamp: UInt32Builder,
    resource_id: UInt64Builder,
    bytes_sent: UInt64Builder,
    request_time_milli: UInt64Builder,
    response_status: UInt16Builder,
    cache_status: StringBuilder,
    method: StringBuilder,
    remote_addr: StringBuilder,
    url: StringBuilder,
    kafka_partition: Int32Builder,
    kafka_offset: Int64Builder,
    rows: usize,
}

impl Columns {
    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one row and the message it came from.
    ///
    /// # Errors
    ///
    /// [`Full`] when a text no longer fits its column; nothing was appended then.
    /// After [`finish`](Self::finish) any record that
    /// [`decode`](super::record::decode) gives out fits.
    pub fn push(&mut self, record: &Record<'_>, partition: i32, offset: i64) -> Result<(), Full> {
        let remote_addr = record.remote_addr.as_str();
        for (column, text) in [
            (&self.cache_status, &*record.cache_status),
            (&self.method, &*record.method),
            (&self.remote_addr, remote_addr),
            (&self.url, &*record.url),
        ] {
            if column.values_slice().len() + text.len() > TEXT_BYTES_MAX {
                return Err(Full);
            }
        }
        self.timestamp.append_value(record.timestamp);
        self.resource_id.append_value(record.resource_id);
        self.bytes_sent.append_value(record.bytes_sent);
        self.request_time_milli
            .append_value(record.request_time_milli);
        self.response_status.append_value(record.response_status);
        self.cache_status.append_value(&record.cache_status);
        self.method.append_value(&record.method);
        self.remote_addr.append_value(remote_addr);
        self.url.append_value(&record.url);
        self.kafka_partition.append_value(partition);
        self.kafka_offset.append_value(offset);
        self.rows += 1;
        Ok(())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes that the rows take in memory; buffers may have grown to about twice as much.
    pub fn bytes(&self) -> usize {
        let texts = [
            &self.cache_status,
            &self.method,
            &self.remote_addr,
            &self.url,
        ];
        self.rows * (FIXED_BYTES_PER_ROW + TEXT_ENDS_BYTES_PER_ROW)
            + texts
                .iter()
                .map(|column| column.values_slice().len())
                .sum::<usize>()
    }

    /// Hands out the rows as one batch of [`schema::segment`] and begins anew.
    #[expect(
        clippy::expect_used,
        reason = "the columns are those of the segment's schema"
    )]
    pub fn finish(&mut self) -> RecordBatch {
        self.rows = 0;
        RecordBatch::try_new(
            schema::segment(),
            vec![
                Arc::new(self.timestamp.finish()),
                Arc::new(self.resource_id.finish()),
                Arc::new(self.bytes_sent.finish()),
                Arc::new(self.request_time_milli.finish()),
                Arc::new(self.response_status.finish()),
                Arc::new(self.cache_status.finish()),
                Arc::new(self.method.finish()),
                Arc::new(self.remote_addr.finish()),
                Arc::new(self.url.finish()),
                Arc::new(self.kafka_partition.finish()),
                Arc::new(self.kafka_offset.finish()),
            ],
        )
        // Types and order are fixed here and in the schema (a test holds them
        // together), no value is ever null, and every push appends to all columns.
        .expect("the columns are those of the segment's schema")
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{Int64Type, UInt32Type};

    use super::*;
    use crate::ingest::decode::anonymize::mask;

    fn record(url: &str) -> Record<'_> {
        Record {
            timestamp: 7,
            resource_id: 8,
            bytes_sent: 9,
            request_time_milli: 10,
            response_status: 200,
            cache_status: Cow::Borrowed("HIT"),
            method: Cow::Borrowed("GET"),
            remote_addr: mask(b"1.2.3.4"),
            url: Cow::Borrowed(url),
            texts_replaced: 0,
        }
    }

    #[test]
    fn rows_come_out_as_a_batch_of_the_segments_schema() {
        let mut columns = Columns::new();
        assert!(columns.is_empty());
        assert_eq!(columns.finish().num_rows(), 0);
        for offset in 0..3 {
            columns
                .push(&record("/a"), 5, offset)
                .expect("there is room");
        }
        assert_eq!(columns.len(), 3);
        assert_eq!(columns.bytes(), 3 * (58 + 3 + 3 + 7 + 2));

        let batch = columns.finish();
        assert_eq!(batch.schema(), schema::segment());
        assert_eq!(batch.num_rows(), 3);
        let address = batch.column_by_name("remote_addr").expect("it is there");
        assert_eq!(address.as_string::<i32>().value(2), "1.2.3.X");
        let offsets = batch
            .column_by_name(schema::KAFKA_OFFSET)
            .expect("it is there");
        assert_eq!(offsets.as_primitive::<Int64Type>().values(), &[0, 1, 2]);
    }

    #[test]
    fn the_builders_begin_anew_after_a_batch() {
        let mut columns = Columns::new();
        columns
            .push(&record("/first"), 0, 0)
            .expect("there is room");
        columns.finish();
        assert_eq!((columns.len(), columns.bytes()), (0, 0));
        columns
            .push(&record("/second"), 0, 1)
            .expect("there is room");
        let batch = columns.finish();
        assert_eq!(batch.num_rows(), 1);
        let timestamps = batch.column(0).as_primitive::<UInt32Type>();
        assert_eq!(timestamps.values(), &[7]);
    }
}
