//! What there is to know of the topic before anything is read: is it there, how
//! far behind are we, how long does Kafka keep what we have not read? Only asks:
//! no member of the group, nothing committed.

use std::collections::BTreeMap;

use super::assignment::positions::{self, Standing};
use super::broker::BrokerError;
use super::kafka::{Consumer, Options, topic_config};
use crate::spool::format::footer::Source;

/// What was seen.
#[derive(Clone, Debug)]
pub struct TopicReport {
    /// Which topic of which cluster.
    pub source: Source,
    /// Where every partition stands.
    pub standings: BTreeMap<i32, Standing>,
    /// The topic's settings, or why the broker does not tell them.
    pub settings: Result<BTreeMap<String, String>, String>,
}

/// Why nothing was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportError {
    /// A property of the client is none, or has a value that can't be.
    Client(String),
    /// There is no such topic.
    NoTopic,
    /// The broker does not answer, or not this.
    Broker(String),
}

/// Asks for everything; `own` gives the spool's position of a partition.
///
/// # Errors
/// What keeps it from being seen.
pub fn ask(
    options: Options,
    own: impl Fn(&Source, i32) -> Option<i64>,
) -> Result<TopicReport, ReportError> {
    let consumer = Consumer::inquire(options.clone())
        .map_err(|error| ReportError::Client(error.to_string()))?;
    let (source, standings) = positions::ask(&consumer, own).map_err(report_error)?;
    let settings = topic_config::ask(&options).map_err(|error| error.to_string());
    Ok(TopicReport {
        source,
        standings,
        settings,
    })
}

fn report_error(error: BrokerError) -> ReportError {
    match error {
        BrokerError::TopicAbsent => ReportError::NoTopic,
        BrokerError::Other(error) => ReportError::Broker(error),
    }
}
