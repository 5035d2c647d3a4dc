//! What `spoolhouse check` examines: configuration, the spool's directory, Kafka and,
//! if asked to, the server behind the proxy.
//!
//! Invariant: nothing is changed but a temporary file in the spool's directory, and
//! with the proxy the slot that the question takes. What is right, worth knowing or
//! wrong is decided in [`findings`], a function of what was seen. May use `config`,
//! `ingest`, `upload` and `spool`; prints nothing.

pub mod findings;
mod proxy;

use uuid::Uuid;

use crate::config::Loaded;
use crate::ingest::{kafka, topic_report};
use crate::spool::disk::LocalDisk;
use crate::spool::format::footer::Source;
use crate::spool::layout::Layout;
use crate::spool::read_only::{disk_check, snapshot};
use crate::upload::proxy::TransportError;
use crate::upload::transport::Transport;
use crate::upload::{query, send};
use findings::Finding;

/// What is examined, and what a run would be told.
pub struct Subject<'s> {
    /// The configuration.
    pub loaded: &'s Loaded,
    /// Where the spool is.
    pub layout: &'s Layout,
    /// How Kafka is reached on behalf of a spool.
    pub kafka: &'s dyn Fn(Uuid) -> kafka::Options,
    /// Which server is asked, and at which pace.
    pub upload: send::Options,
    /// How it is reached.
    pub transport: &'s dyn Fn() -> Result<Transport, TransportError>,
    /// Free space below which nothing is read from Kafka, bytes.
    pub free_bytes_floor: u64,
    /// The largest body that the proxy has admitted of late, bytes.
    pub body_bytes_learned: u64,
    /// Whether to ask the server behind the proxy, too.
    pub asks_proxy: bool,
}

/// What is being waited for, for whoever shows it.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// This is being done.
    Begun(&'static str),
    /// The proxy's slot is waited for.
    Slot(query::Waiting),
    /// It is done.
    Done,
}

/// Examines everything, one thing after the other.
pub fn examine(subject: &Subject<'_>, step: &mut dyn FnMut(Step)) -> Vec<Finding> {
    let (loaded, layout) = (subject.loaded, subject.layout);
    step(Step::Begun("trying the spool's directory"));
    let place = disk_check::check(&LocalDisk, layout.root());
    step(Step::Done);
    let mut found = findings::spool(&place, loaded, subject.free_bytes_floor);
    let state = snapshot::state(&LocalDisk, layout).ok();
    let spool = state.as_ref().map_or(Uuid::nil(), |state| state.spool);
    let own = |source: &Source, partition| state.as_ref()?.position(source, partition);
    step(Step::Begun("asking Kafka"));
    let topic = topic_report::ask((subject.kafka)(spool), own);
    step(Step::Done);
    found.extend(findings::topic(&topic, loaded, spool));
    found.extend(findings::learned(subject.body_bytes_learned, loaded));
    if subject.asks_proxy {
        let mut waiting = |waiting| step(Step::Slot(waiting));
        let seen = proxy::ask(subject, place.owner, &mut waiting);
        found.extend(findings::proxy(&seen, loaded));
    }
    found
}
