//! What can be wrong with a spool file. A fault belongs to one file: it sets
//! that file aside and never stops the rest.

use parquet::errors::ParquetError;

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
    /// Rows that another file holds as well.
    #[error("its rows are also in {0}, and no rule says which of the two is right")]
    Overlap(String),
    /// Addresses that are not masked.
    #[error("{0} rows hold an address that is not masked")]
    Unmasked(u64),
    /// Rows that are not those that the footer speaks of.
    #[error("damaged: {0}")]
    Offsets(String),
    /// Messages that another file is about to send as well.
    #[error(
        "its offsets {from} to {to} of partition {partition} are also in {by}: they would be stored twice"
    )]
    Claimed {
        /// The partition.
        partition: i32,
        /// The first such offset.
        from: i64,
        /// The last such offset.
        to: i64,
        /// The other file.
        by: String,
    },
    /// The system does not let us read it.
    #[error("it can't be read: {0}")]
    Unreadable(String),
    /// Rows from undecodable messages, and nobody can tell whether those are still there.
    #[error(
        "its rows were replayed from {0}, which can't be read, so nobody can tell whether they are still in there, too"
    )]
    ReplayUndecided(String),
    /// A file in `inbox/` that the command line did not leave there.
    #[error("it is no request of the command line: {0}")]
    Request(String),
    /// Its commit was never acknowledged, and somebody else went on past it.
    #[error(
        "another consumer committed past its start before our commit was acknowledged; its rows may be stored by both"
    )]
    CommittedElsewhere,
    /// The topic was created anew while this segment was being filled.
    #[error(
        "the topic was deleted and created anew while it was being filled; some of its rows may be of the new topic, and those are read again from there"
    )]
    TopicRecreated,
    /// The proxy's body limit fell below a batch that may be stored already.
    #[error(
        "it may be stored already, so it can't be split, and the proxy's body limit no longer admits it: raise client_max_body_size, or look in ClickHouse whether its rows are there"
    )]
    TooLargeAfterUnknown,
    /// The server can't read a batch that may be stored already.
    #[error(
        "it may be stored already, so it can't be packed anew under upload.encoding as it is configured now, and the server can't read it as it is: look in ClickHouse whether its rows are there"
    )]
    UnreadAfterUnknown,
    /// The server knows a setting no longer that the batch was posted with.
    #[error(
        "it may be stored already under settings that the server does not know now: upload.url may lead to another server than then; look in ClickHouse whether its rows are there"
    )]
    SettingAfterUnknown,
}

impl Fault {
    /// From an error of the Parquet reader.
    pub fn parquet(error: ParquetError) -> Self {
        Self::Parquet(error.to_string())
    }

    /// From an error in the footer's document.
    pub fn document(error: serde_json::Error) -> Self {
        Self::Document(error.to_string())
    }
}
