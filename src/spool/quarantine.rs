//! Why a file is quarantined in `doubtful/`, and how it gets there.
//!
//! Invariant: nothing in a quarantined file is changed or removed, no file there is
//! replaced, and the reason lies beside it before it arrives.

use std::collections::HashSet;
use std::io;

use super::format::error::Fault;
use super::layout::{self, Directory};
use super::{Spool, disk};

/// Why no rule can decide about a file, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It is damaged, or none of ours.
    #[error(transparent)]
    Damaged(#[from] Fault),
    /// Rows that another file holds as well.
    #[error("its rows are also in {0}, and no rule says which of the two is right")]
    Overlap(String),
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
    /// An attempt to send it may have been stored, and it can't be sent again as it
    /// is. What is to be done says whoever sends.
    #[error("it may be stored already{0}")]
    MayBeStored(String),
}

/// Moves a file to `doubtful/`, the reason beside it first.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(super) fn set_aside(
    spool: &Spool,
    directory: Directory,
    name: &str,
    reason: impl Into<Doubt>,
) -> io::Result<()> {
    let reason = reason.into();
    tracing::error!(
        file = %format!("{}/{name}", directory.name()),
        %reason,
        "file set aside in doubtful/; nothing in it was removed",
    );
    metrics::counter!("spoolhouse_files_set_aside_total").increment(1);
    let document = serde_json::json!({
        "file": name,
        "from": directory.name(),
        "reason": reason.to_string(),
    });
    let kept = free_name(spool, Directory::Doubtful, name)?;
    let sidecar = layout::reason_sidecar(&kept);
    spool.write_sidecar(Directory::Doubtful, &sidecar, &document)?;
    disk::relocate(
        spool.disk(),
        &spool.layout().file(directory, name),
        &spool.layout().file(Directory::Doubtful, &kept),
    )
}

/// `name`, or the first `name.1`, `name.2`, … that replaces nothing.
fn free_name(spool: &Spool, directory: Directory, name: &str) -> io::Result<String> {
    let entries = spool.disk().list(&spool.layout().directory(directory))?;
    let taken: HashSet<String> = entries.into_iter().map(|entry| entry.name).collect();
    let mut free = name.to_owned();
    let mut copy = 0_u32;
    while taken.contains(&free) {
        copy += 1;
        free = format!("{name}.{copy}");
    }
    Ok(free)
}
