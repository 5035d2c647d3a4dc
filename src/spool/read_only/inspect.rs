//! What any one Parquet file is: ours or not, wherever it lies, whatever it is
//! called.
//!
//! Invariant: changes nothing and trusts nothing: its rows are looked at only once
//! its digest was found to be right, or if it never claimed one. A file is never
//! in memory as a whole.

mod rows;

use std::fs::File;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::ConvertedType;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use serde::Serialize;
use serde_json::Value;

use crate::spool::disk::{Disk, LocalDisk, parent};
use crate::spool::format::digest;
use crate::spool::format::error::Fault;
use crate::spool::format::footer::Footer;
use crate::spool::format::metadata;
use crate::spool::layout::{Name, error_sidecar, reason_sidecar};

/// How much of a file beside it is read.
const SIDECAR_BYTES_MAX: u64 = 64 * 1024;

/// What is wanted beside the facts, and what is needed for it.
pub struct Options<'o> {
    /// So many rows from the beginning.
    pub rows: usize,
    /// Binary values too, which may be messages that nobody has masked.
    pub payloads: bool,
    /// Masks an address.
    pub mask: &'o dyn Fn(&str) -> String,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Rows on their way into a batch.
    Segment,
    /// A frozen insert.
    Batch,
    /// Messages that could not be decoded.
    Undecodable,
    /// A Parquet file of somebody else's.
    Foreign,
}

/// All that is known of a file.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// What it is.
    pub kind: Kind,
    /// Its size, bytes.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Its size by its rows.
    pub bytes_per_row: Option<f64>,
    /// Its row groups.
    pub row_groups: usize,
    /// The size of its footer, bytes.
    pub footer_bytes: u64,
    /// The program that wrote it, if it says so.
    pub created_by: Option<String>,
    /// What it says of itself.
    #[serde(serialize_with = "document")]
    pub footer: Option<Footer>,
    /// First and last time of its rows, seconds since 1970.
    pub times: Option<(u32, u32)>,
    /// The digest that tells a flipped byte; of a batch also its token.
    pub digest: Option<Digest>,
    /// What a file of this content is called in a spool.
    pub true_name: Option<String>,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The file beside it that says why it is where it is.
    pub sidecar: Option<Sidecar>,
    /// What is wrong with it.
    pub faults: Vec<String>,
    /// Rows from its beginning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<Row>,
}

/// A digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// As computed from the bytes.
    pub sha256: String,
    /// Whether it is what the name of a batch, or the footer of another file,
    /// says; `None` if neither says anything.
    pub fits: Option<bool>,
}

/// A column, over all row groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub of_type: String,
    /// Its size in the file, bytes.
    pub bytes: u64,
    /// Its size before compression, bytes.
    pub uncompressed_bytes: u64,
    /// Encodings that its pages use.
    pub encodings: Vec<String>,
    /// How the pages are compressed.
    pub compression: String,
}

/// A file beside the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sidecar {
    /// Its name.
    pub file: String,
    /// What it says; a text if it is no JSON.
    pub says: Value,
}

/// A row: its values by column, in the file's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Vec<(String, Value)>);

impl Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Looks into one file.
///
/// # Errors
/// What keeps it from being read at all. What is only wrong with it is in
/// [`Inspection::faults`].
pub fn inspect(path: &Path, options: &Options<'_>) -> Result<Inspection, Fault> {
    let unreadable = |error: io::Error| Fault::Unreadable(error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Fault::Unreadable("it is no regular file".to_owned()));
    }
    let (bytes, end) = metadata::bytes_at_end(&LocalDisk, path).map_err(unreadable)?;
    let footer_bytes = metadata::length_in(bytes, &end)?;
    let metadata = Arc::new(metadata::parse_end(bytes, &end)?);
    let mut faults = Vec::new();
    let own = match Footer::from_metadata(&metadata) {
        Ok(own) => Some(own),
        Err(Fault::Foreign) => None,
        Err(fault) => {
            faults.push(fault.to_string());
            None
        }
    };
    let kind = match own {
        Some(Footer::Segment(_)) => Kind::Segment,
        Some(Footer::Batch(_)) => Kind::Batch,
        Some(Footer::Undecodable(_)) => Kind::Undecodable,
        None => Kind::Foreign,
    };
    let text = path.file_name().unwrap_or_default().to_string_lossy();
    let name = Name::parse_with_suffix(&text);
    let digest = match &own {
        Some(own) => Some(digest_of(&file, own, name.as_ref(), bytes, &end).map_err(unreadable)?),
        None => None,
    };
    let true_name = own.as_ref().and_then(|own| true_name(own, &digest));
    faults.extend(name_fault(name.as_ref(), true_name.as_ref(), &digest));
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    let mut inspection = Inspection {
        kind,
        bytes,
        rows,
        bytes_per_row: (rows > 0).then(|| bytes as f64 / rows as f64),
        row_groups: metadata.num_row_groups(),
        footer_bytes,
        created_by: metadata.file_metadata().created_by().map(str::to_owned),
        footer: own,
        times: None,
        digest,
        true_name: true_name.map(|name| name.to_string()),
        columns: columns(&metadata),
        sidecar: sidecar(path, &text),
        faults,
        sample: Vec::new(),
    };
    let digest = inspection.digest.as_ref();
    let is_damaged = digest.is_some_and(|digest| digest.fits == Some(false));
    if !is_damaged && let Err(fault) = look(&file, metadata, options, &mut inspection) {
        inspection.faults.push(fault.to_string());
    }
    Ok(inspection)
}

/// Looks at the rows. The Parquet reader panics on some bytes that nobody vouches
/// for: that is a fault of the file.
fn look(
    file: &File,
    metadata: Arc<ParquetMetaData>,
    options: &Options<'_>,
    found: &mut Inspection,
) -> Result<(), Fault> {
    // What was found until then is whole in itself.
    let looked = AssertUnwindSafe(|| rows::look(file, metadata, options, found));
    panic::catch_unwind(looked).unwrap_or_else(|_| {
        let problem = "the Parquet reader can't make sense of a page".to_owned();
        Err(Fault::Parquet(problem))
    })
}

fn digest_of(
    file: &File,
    own: &Footer,
    name: Option<&Name>,
    size: u64,
    end: &[u8],
) -> io::Result<Digest> {
    if let Footer::Batch(_) = own {
        let sha256 = digest::of_stream(file, None)?;
        let fits = match name {
            Some(Name::Batch { digest, .. }) => Some(*digest == sha256),
            _ => None,
        };
        return Ok(Digest { sha256, fits });
    }
    let stamp = digest::stamp_in(end);
    let at = stamp.map(|at| size - end.len() as u64 + at as u64);
    let sha256 = digest::of_stream(file, at)?;
    let fits = stamp.map(|at| end[at..].starts_with(sha256.as_bytes()));
    // Ours are all stamped.
    Ok(Digest {
        sha256,
        fits: fits.or(Some(false)),
    })
}

fn true_name(own: &Footer, digest: &Option<Digest>) -> Option<Name> {
    Some(match own {
        Footer::Segment(footer) => Name::Segment {
            number: footer.segment,
            first_row: footer.first_row,
        },
        Footer::Batch(footer) => Name::Batch {
            number: footer.oldest_segment()?,
            digest: digest.as_ref()?.sha256.clone(),
        },
        Footer::Undecodable(footer) => Name::Undecodable {
            number: footer.segment,
        },
    })
}

fn name_fault(
    name: Option<&Name>,
    true_name: Option<&Name>,
    digest: &Option<Digest>,
) -> Option<String> {
    if digest
        .as_ref()
        .is_some_and(|digest| digest.fits == Some(false))
    {
        return Some(Fault::Digest.to_string());
    }
    match (name?, true_name) {
        (name, Some(true_name)) if name == true_name => None,
        (_, Some(true_name)) => Some(Fault::Name(format!("it is {true_name}")).to_string()),
        (_, None) => Some(Fault::Foreign.to_string()),
    }
}

fn columns(metadata: &ParquetMetaData) -> Vec<Column> {
    let schema = metadata.file_metadata().schema_descr();
    let column = |(place, described): (usize, &parquet::schema::types::ColumnDescPtr)| {
        let chunks = metadata.row_groups().iter().map(RowGroupMetaData::columns);
        let chunks = chunks.filter_map(|chunks| chunks.get(place));
        let mut column = Column {
            name: described.path().string(),
            of_type: match described.converted_type() {
                ConvertedType::NONE => described.physical_type().to_string(),
                meaning => meaning.to_string(),
            },
            bytes: 0,
            uncompressed_bytes: 0,
            encodings: Vec::new(),
            compression: String::new(),
        };
        for chunk in chunks {
            let add = |sum: u64, size: i64| sum.saturating_add(u64::try_from(size).unwrap_or(0));
            column.bytes = add(column.bytes, chunk.compressed_size());
            column.uncompressed_bytes = add(column.uncompressed_bytes, chunk.uncompressed_size());
            for encoding in chunk.encodings() {
                let encoding = encoding.to_string();
                if !column.encodings.contains(&encoding) {
                    column.encodings.push(encoding);
                }
            }
            let compression = format!("{:?}", chunk.compression_codec());
            if column.compression.is_empty() {
                column.compression = compression;
            } else if column.compression != compression {
                column.compression = "mixed".to_owned();
            }
        }
        column
    };
    schema.columns().iter().enumerate().map(column).collect()
}

/// The `.error.json` or `.reason.json` beside a file.
fn sidecar(path: &Path, name: &str) -> Option<Sidecar> {
    [error_sidecar(name), reason_sidecar(name)]
        .into_iter()
        .find_map(|file| {
            let (_, bytes) = LocalDisk
                .read_end(&parent(path).join(&file), SIDECAR_BYTES_MAX)
                .ok()?;
            let says = serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
            Some(Sidecar { file, says })
        })
}

fn document<S: serde::Serializer>(
    footer: &Option<Footer>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match footer {
        None => serializer.serialize_none(),
        Some(Footer::Segment(footer)) => footer.serialize(serializer),
        Some(Footer::Batch(footer)) => footer.serialize(serializer),
        Some(Footer::Undecodable(footer)) => footer.serialize(serializer),
    }
}
