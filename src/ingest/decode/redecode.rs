//! Undecodable messages once more: what decodes now becomes rows, what doesn't
//! is kept with the reason it has today.

use std::collections::BTreeMap;

use super::record::{Undecodable, decode};
use crate::ingest::decode::row_builder::Columns;
use crate::spool::format::error::Fault;
use crate::spool::format::undecodable::Kept;
use crate::spool::undecodable_replay::Decoded;

/// Rows are handed on in runs of this many …
const RUN_ROWS: usize = 8_192;

/// … or of this many bytes, if that is less.
const RUN_BYTES: usize = 1 << 20;

/// What became of the messages, counted by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that are records now.
    pub decoded: u64,
    /// Messages that are still none, by the code of the reason.
    pub undecodable: BTreeMap<&'static str, u64>,
    /// Messages whose bytes were dropped: nothing can be tried.
    pub dropped: u64,
}

/// Counts what would decode.
pub fn count(messages: &[Kept], counts: &mut Counts) {
    for message in messages {
        match message.payload.as_deref().map(decode) {
            None => counts.dropped += 1,
            Some(Ok(_)) => counts.decoded += 1,
            Some(Err(error)) => counts.note(error),
        }
    }
}

/// Decodes what decodes; messages keep their order.
///
/// # Errors
/// A record that fits into no column: it would be a defect.
pub fn redecode(messages: Vec<Kept>, counts: &mut Counts) -> Result<Decoded, Fault> {
    let mut columns = Columns::new();
    let mut decoded = Decoded::default();
    for mut message in messages {
        let Some(payload) = message.payload.clone() else {
            counts.dropped += 1;
            decoded.left.push(message);
            continue;
        };
        match decode(&payload) {
            Err(error) => {
                counts.note(error);
                message.error = error.to_string();
                decoded.left.push(message);
            }
            Ok(record) => {
                let (partition, offset) = (message.partition, message.offset);
                if columns.push(&record, partition, offset).is_err() {
                    decoded.rows.push(columns.finish());
                    // Any decoded record fits into empty columns.
                    columns
                        .push(&record, partition, offset)
                        .map_err(|full| Fault::Schema(full.to_string()))?;
                }
                counts.decoded += 1;
                if columns.len() >= RUN_ROWS || columns.bytes() >= RUN_BYTES {
                    decoded.rows.push(columns.finish());
                }
            }
        }
    }
    if !columns.is_empty() {
        decoded.rows.push(columns.finish());
    }
    Ok(decoded)
}

impl Counts {
    fn note(&mut self, error: Undecodable) {
        *self.undecodable.entry(error.code()).or_default() += 1;
    }
}
