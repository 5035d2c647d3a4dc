//! How the bytes of a spool file can be damaged, or not be a spool file's at all.
//!
//! Damage belongs to one file: that file is quarantined, and the rest goes on. What
//! else can put a file there is in [`quarantine`](crate::spool::quarantine).

use parquet::errors::ParquetError;

use crate::spool::layout::{Directory, Name};

/// Why a file is not taken for one of ours, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The end of the file is missing.
    #[error("torn: the file does not end in a complete Parquet footer")]
    Torn,
    /// Parquet's own structures are damaged.
    #[error("damaged: {0}")]
    Parquet(String),
    /// A Parquet file of somebody else's, or no file at all.
    #[error("foreign: not a file that this spool wrote")]
    Foreign,
    /// The document in the footer does not parse.
    #[error("damaged: the footer's document does not parse: {0}")]
    Document(String),
    /// Written by another version.
    #[error("format {0} is unknown to this version of spoolhouse")]
    Format(u32),
    /// The footer and the data disagree.
    #[error("damaged: the footer speaks of {said} rows, the file holds {held}")]
    Rows {
        /// What the document says.
        said: u64,
        /// What Parquet's metadata says.
        held: u64,
    },
    /// The bytes are not those that were written.
    #[error("damaged: the digest does not match the bytes")]
    Digest,
    /// Another file's name, or another file's content.
    #[error("the name does not fit the content: {0}")]
    Name(String),
    /// Sealed by another spool.
    #[error("foreign: it belongs to the spool {0}")]
    OtherSpool(uuid::Uuid),
    /// Its columns are not ours.
    #[error("foreign: its columns are not those of a spool file: {0}")]
    Schema(String),
    /// An undecodable message that is not what was kept.
    #[error("damaged: the message at offset {0} is not the one whose length and hash are noted")]
    Payload(i64),
    /// The system does not let us read it.
    #[error("it can't be read: {0}")]
    Unreadable(String),
}

impl Fault {
    /// From an error of the Parquet reader.
    pub fn parquet(error: ParquetError) -> Self {
        Self::Parquet(error.to_string())
    }

    /// Of a file that has no place where it lies.
    pub fn misplaced(name: &Name, directory: Directory) -> Self {
        Self::Name(format!("{name} has no place in {}", directory.name()))
    }

    /// From an error in the footer's document.
    pub fn document(error: serde_json::Error) -> Self {
        Self::Document(error.to_string())
    }
}
