//! What `spoolhouse check` examines.

pub(crate) mod findings;
pub(crate) mod proxy;
