//! What a body holds: read once per content, and held against the messages that its rows
//! say they are.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{UInt16Type, UInt32Type, UInt64Type};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};
use spoolhouse::spool::format::schema::LOG_COLUMNS;

use crate::messages::{MessageId, is_masked};
use crate::violations::Rule;

/// The rows of a batch.
#[derive(Debug, Default)]
pub struct Content {
    pub rows: u64,
    /// Resource ids by day: the partitions of both tables.
    pub days: BTreeMap<u32, Vec<u64>>,
    /// What is wrong with it.
    pub problems: Vec<(Rule, String)>,
}

/// SHA-256, 64 lower-case hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Contents that are kept, of all lives.
const KEPT: usize = 10_000;

/// What the body with this hash holds.
pub fn content(sha256: &str, body: &Bytes) -> Arc<Content> {
    thread_local!(static READ: RefCell<HashMap<String, Arc<Content>>> = RefCell::default());
    READ.with_borrow_mut(|read| {
        if let Some(content) = read.get(sha256) {
            return content.clone();
        }
        if read.len() >= KEPT {
            read.clear();
        }
        let mut content = Content::default();
        if let Err(problem) = content.read(body) {
            content.problems.push((Rule::Request, problem));
        }
        let content = Arc::new(content);
        read.insert(sha256.to_owned(), content.clone());
        content
    })
}

const SECONDS_PER_DAY: u32 = 86_400;

impl Content {
    fn read(&mut self, body: &Bytes) -> Result<(), String> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(body.clone());
        let reader = reader.map_err(|error| error.to_string())?;
        let (groups, schema) = (reader.metadata().num_row_groups(), reader.schema().clone());
        if groups != 1 {
            return Err(format!("{groups} row groups, where one is one block"));
        }
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        if names != LOG_COLUMNS {
            return Err(format!("its columns are {names:?}"));
        }
        if let Some(field) = schema.fields().iter().find(|field| field.is_nullable()) {
            return Err(format!("the column {} is not required", field.name()));
        }
        for rows in reader.build().map_err(|error| error.to_string())? {
            self.take(&rows.map_err(|error| error.to_string())?)?;
        }
        Ok(())
    }

    fn take(&mut self, rows: &RecordBatch) -> Result<(), String> {
        let number = |index: usize| {
            let column = rows.column(index).as_primitive_opt::<UInt64Type>();
            column.ok_or_else(|| format!("{} is no UINT64", LOG_COLUMNS[index]))
        };
        let text = |index: usize| match rows.column(index).data_type() {
            DataType::Utf8 => Ok(rows.column(index).as_string::<i32>()),
            other => Err(format!("{} is {other}", LOG_COLUMNS[index])),
        };
        let times = rows
            .column(0)
            .as_primitive_opt::<UInt32Type>()
            .ok_or("timestamp is no UINT32")?;
        let statuses = rows.column(4).as_primitive_opt::<UInt16Type>();
        let statuses = statuses.ok_or("response_status is no UINT16")?;
        let (ids, bytes, millis) = (number(1)?, number(2)?, number(3)?);
        let (caches, methods, addresses, urls) = (text(5)?, text(6)?, text(7)?, text(8)?);
        for row in 0..rows.num_rows() {
            let id = MessageId::of_resource_id(ids.value(row));
            self.rows += 1;
            let day = times.value(row) / SECONDS_PER_DAY;
            self.days.entry(day).or_default().push(ids.value(row));
            if !is_masked(addresses.value(row)) {
                let problem = format!("{id}: the address {}", addresses.value(row));
                self.problems.push((Rule::Unmasked, problem));
            }
            let made = id.make();
            let is_right = made.row.as_ref().is_some_and(|right| {
                right.timestamp == times.value(row)
                    && right.bytes_sent == bytes.value(row)
                    && right.request_time_milli == millis.value(row)
                    && right.response_status == statuses.value(row)
                    && right.cache_status == caches.value(row)
                    && right.method == methods.value(row)
                    && right.remote_addr == addresses.value(row)
                    && right.url == urls.value(row)
            });
            if !is_right {
                self.problems.push((
                    Rule::Request,
                    format!("{id}: its row is not what was produced"),
                ));
            }
        }
        Ok(())
    }
}
