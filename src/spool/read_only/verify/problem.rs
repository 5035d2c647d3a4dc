//! What can be wrong with a file of a whole spool, and what to do about it next.

use super::Finding;
use crate::spool::format::error::Fault;
use crate::spool::layout::Directory;
use crate::spool::quarantine::Doubt;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// What a start would quarantine it for.
    #[error(transparent)]
    Doubtful(#[from] Doubt),
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
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Doubtful(fault.into())
    }
}

/// A problem with what to do about it.
pub(super) fn finding(directory: Directory, problem: &Problem) -> Finding {
    Finding {
        what: problem.to_string(),
        next: advice(directory, problem).to_owned(),
    }
}

fn advice(directory: Directory, problem: &Problem) -> &'static str {
    let fault = match problem {
        Problem::Unmasked(_) => {
            return "stop spoolhouse, move the file out of the spool before it is sent, and report \
                    this: it must never happen";
        }
        Problem::Claimed { .. } => {
            return "expected after `spoolhouse positions --reset` to an earlier offset; otherwise \
                    move one of the two out of the spool while spoolhouse is stopped";
        }
        Problem::Doubtful(Doubt::Overlap(_)) => {
            return "find out who put it there; the rows are safe in the other file if that one is \
                    whole";
        }
        Problem::Doubtful(Doubt::Damaged(fault)) => Some(fault),
        Problem::Offsets(_) | Problem::Doubtful(_) => None,
    };
    match fault {
        Some(Fault::Unreadable(_)) => "mend the file's permissions or the disk, then verify again",
        Some(Fault::Format(_)) => "use the version of spoolhouse that wrote it",
        Some(Fault::Foreign | Fault::OtherSpool(_) | Fault::Schema(_) | Fault::Name(_)) => {
            "move it to where it belongs; a start would put it into doubtful/"
        }
        _ if directory == Directory::Undecodable => {
            "a copy from a backup may replace it; its messages are in no other file"
        }
        _ => {
            "spoolhouse will put it into doubtful/ and go on without it: replace it by a whole \
             copy, or read its offsets again with `spoolhouse positions --reset` if Kafka still \
             has them"
        }
    }
}
