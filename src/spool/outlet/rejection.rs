//! Why a batch was rejected: the file that lies beside it in `rejected/`, from before
//! the batch gets there until after it has left.

use std::io;

use serde::Serialize;

use crate::spool::layout::{Directory, Name, error_sidecar};
use crate::spool::{Spool, disk};

/// Why a batch was rejected: the content of the file beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// When, RFC 3339.
    pub time: String,
    /// ClickHouse's exception code, if it gave one.
    pub code: Option<i32>,
    /// What was answered, shortened.
    pub message: String,
    /// The id under which ClickHouse logged the insert.
    pub query_id: String,
    /// How often it was posted.
    pub attempts: u32,
}

/// Writes why a batch is about to be rejected.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(super) fn write(spool: &Spool, batch: &str, why: &Rejection) -> io::Result<()> {
    let why = serde_json::to_value(why)?;
    spool.write_sidecar(Directory::Rejected, &error_sidecar(batch), &why)
}

/// Writes, and says, that one row alone takes more than a request holds. `advice` is
/// what can be done about that.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(super) fn write_too_large(
    spool: &Spool,
    name: &Name,
    bytes: usize,
    bytes_max: u64,
    advice: &str,
) -> io::Result<()> {
    let message = format!(
        "one row takes {bytes} bytes, and a request holds {bytes_max}: {advice}, then send it by \
         hand"
    );
    tracing::error!(file = %format!("rejected/{name}"), message);
    metrics::counter!("spoolhouse_batches_rejected_total").increment(1);
    let why = Rejection {
        message,
        ..Rejection::default()
    };
    write(spool, &name.to_string(), &why)
}

/// Whether what lies beside a rejected batch says that the batch was posted; yes,
/// unless it plainly says no.
pub(super) fn was_posted(spool: &Spool, batch: &str) -> bool {
    let path = spool
        .layout()
        .file(Directory::Rejected, &error_sidecar(batch));
    let why = spool.disk().read(&path).ok();
    let why = why.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    why.and_then(|why| why["attempts"].as_u64()) != Some(0)
}

/// Removes what explained why a batch was rejected, before the batch goes.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(super) fn remove(spool: &Spool, batch: &str) -> io::Result<()> {
    remove_sidecar(spool, Directory::Rejected, &error_sidecar(batch))
}

/// Removes a file that explains another one, if it is there. Such files don't count
/// as the spool's bytes.
///
/// # Errors
/// An I/O error from the spool's disk.
pub(super) fn remove_sidecar(spool: &Spool, directory: Directory, sidecar: &str) -> io::Result<()> {
    let path = spool.layout().file(directory, sidecar);
    if disk::size(spool.disk(), &path).is_none() {
        return Ok(());
    }
    spool.disk().remove(&path)?;
    spool.disk().sync_dir(&spool.layout().directory(directory))
}
