//! Orders of the rows of a batch: which columns stand by their like.
//!
//! Sorting is stable, so rows that compare equal keep the order of their
//! arrival, and their times stay nearly sorted.

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{RecordBatch, StringArray, UInt32Array};
use arrow_select::take::take_record_batch;

use crate::spool::format::error::Fault;

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The URL without the file's own name, then the address: best where file
    /// names are random.
    PathAddress,
    /// The URL without the file's own name, then the whole of it: best where
    /// URLs come again.
    PathUrl,
    /// The URL.
    Url,
    /// The resource, then the URL: where URLs don't name the resource.
    ResourceUrl,
    /// The address, then the URL: where a few addresses send most requests.
    AddressUrl,
}

impl Order {
    /// Every order.
    pub const ALL: [Self; 5] = [
        Self::PathAddress,
        Self::PathUrl,
        Self::Url,
        Self::ResourceUrl,
        Self::AddressUrl,
    ];

    /// Sorts rows of the nine columns.
    ///
    /// # Errors
    /// Where these columns are missing.
    pub fn sort(self, rows: &RecordBatch) -> Result<RecordBatch, Fault> {
        let (urls, addresses) = (text(rows, "url")?, text(rows, "remote_addr")?);
        let resources = rows
            .column_by_name("resource_id")
            .and_then(|column| column.as_primitive_opt::<UInt64Type>())
            .ok_or_else(|| missing("resource_id"))?;
        // Keys are made once a row, not once a comparison.
        let keys: Vec<(u64, [&str; 3])> = (0..rows.num_rows())
            .map(|row| {
                let (url, address) = (urls.value(row), addresses.value(row));
                let (directory, extension) = around_file_name(url);
                match self {
                    Self::PathAddress => (0, [directory, extension, address]),
                    Self::PathUrl => (0, [directory, extension, url]),
                    Self::Url => (0, [url, "", ""]),
                    Self::ResourceUrl => (resources.value(row), [url, "", ""]),
                    Self::AddressUrl => (0, [address, url, ""]),
                }
            })
            .collect();
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_by_key(|&row| keys[row as usize]);
        take_record_batch(rows, &UInt32Array::from(order))
            .map_err(|error| Fault::Parquet(error.to_string()))
    }
}

fn text<'r>(rows: &'r RecordBatch, column: &str) -> Result<&'r StringArray, Fault> {
    rows.column_by_name(column)
        .and_then(|values| values.as_string_opt())
        .ok_or_else(|| missing(column))
}

fn missing(column: &str) -> Fault {
    Fault::Schema(format!("{column} is missing"))
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
