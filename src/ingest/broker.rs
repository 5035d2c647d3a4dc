//! What the ingest loop and `positions` need of Kafka, and nothing more.
//!
//! The real one is Kafka's client ([`super::kafka`]); a simulator puts a broker in
//! its place that rebalances, forgets and refuses as its seed says. No call commits,
//! seeks or gives partitions back by itself: what happened is told as an [`Event`],
//! and takes effect when the loop answers it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::commit::{Committed, Log, Signature};
use crate::spool::format::footer::Source;

/// How long a question to the broker may take before it is asked again.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// A message of the topic.
pub trait Message {
    /// Its partition.
    fn partition(&self) -> i32;
    /// Its offset.
    fn offset(&self) -> i64;
    /// Its value; `None` for a message without one.
    fn payload(&self) -> Option<&[u8]>;
    /// When it was made or appended, as the topic has it: milliseconds since 1970.
    fn time_ms(&self) -> Option<i64>;
}

/// What polling brought.
#[derive(Debug)]
pub enum Polled<M> {
    /// A message.
    Message(M),
    /// A partition's position is not in its log any more.
    OutOfRange,
    /// A message of this partition came by another way than the others, so their
    /// order is not certain. It is dropped: read on from our position.
    OutOfOrder(i32),
    /// An error that the client deals with by itself.
    Error(BrokerError),
}

impl<M> Polled<M> {
    /// The message, if it is one.
    pub fn message(&self) -> Option<&M> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }
}

/// Something that needs an answer or a note.
#[derive(Debug)]
pub enum Event {
    /// Partitions were given to us: answer with [`Broker::assign`].
    Assigned(Vec<i32>),
    /// Our partitions are being taken away: answer with [`Broker::unassign`].
    Revoked,
    /// A commit was acknowledged up to these offsets.
    Committed(BTreeMap<i32, i64>),
    /// A commit was not acknowledged.
    CommitFailed(BrokerError),
}

/// A question that was not answered, or answered by a no. Ask again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// There is no such topic.
    #[error("the topic does not exist")]
    TopicAbsent,
    /// Anything else, in the client's words.
    #[error("{0}")]
    Other(String),
}

/// Why the client can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FatalError {
    /// A property is unknown, or has a value that can't be.
    #[error("Kafka client: {0}")]
    Client(String),
    /// Another process joined under our instance id.
    #[error(
        "another consumer joined group {group} as instance {instance_id}; \
         every spool needs an instance_id of its own"
    )]
    Fenced {
        /// The group.
        group: String,
        /// The instance id.
        instance_id: String,
    },
    /// The client gave up.
    #[error("Kafka client gave up: {0}")]
    GaveUp(String),
}

/// A member of the consumer group, reading one topic.
pub trait Broker {
    /// A message as the client holds it.
    type Message: Message;

    /// Waits up to `timeout` for messages and gives out what is there, in order
    /// per partition. Must be called at least every few minutes, also while
    /// paused, or the group takes our partitions away.
    ///
    /// # Errors
    /// [`FatalError`] if the client can't go on.
    fn poll(&self, timeout: Duration) -> Result<Vec<Polled<Self::Message>>, FatalError>;

    /// The next event, if one happened.
    fn event(&self) -> Option<Event>;

    /// Which topic of which cluster this is.
    ///
    /// # Errors
    /// A broker that does not answer in time.
    fn source(&self, timeout: Duration) -> Result<Source, BrokerError>;

    /// The topic's partitions.
    ///
    /// # Errors
    /// A broker that does not answer in time.
    fn partitions(&self) -> Result<Vec<i32>, BrokerError>;

    /// The committed offsets of `partitions`; one without a commit, or with one
    /// that was made for another topic than `source`, is left out.
    ///
    /// # Errors
    /// A coordinator that does not answer in time.
    fn committed(
        &self,
        source: &Source,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, Committed>, BrokerError>;

    /// First and next offset of a partition's log, as the broker has them now.
    ///
    /// # Errors
    /// A broker that does not answer in time.
    fn log(&self, partition: i32) -> Result<Log, BrokerError>;

    /// The next offset of a partition's log, as the last fetch had it: costs
    /// nothing, and stands still while the partition is paused. `None` before the
    /// first fetch.
    fn end_as_fetched(&self, partition: i32) -> Option<i64>;

    /// How long the broker keeps the topic's messages; `None` if it keeps them
    /// for ever.
    ///
    /// # Errors
    /// A broker that does not answer in time, or may not tell us.
    fn retention(&self) -> Result<Option<Duration>, BrokerError>;

    /// Answers [`Event::Assigned`]: reading starts at exactly these offsets,
    /// whatever was paused before.
    ///
    /// # Errors
    /// An error of the Kafka client.
    fn assign(&self, starts: &BTreeMap<i32, i64>) -> Result<(), BrokerError>;

    /// Answers [`Event::Revoked`].
    ///
    /// # Errors
    /// An error of the Kafka client.
    fn unassign(&self) -> Result<(), BrokerError>;

    /// Sends a commit, signed per partition; the answer comes as an event.
    ///
    /// # Errors
    /// An error of the Kafka client; nothing was sent then.
    fn commit(&self, offsets: &BTreeMap<i32, (i64, Signature)>) -> Result<(), BrokerError>;

    /// Stops fetching from `partitions`; polling must go on.
    ///
    /// # Errors
    /// An error of the Kafka client.
    fn pause(&self, partitions: &[i32]) -> Result<(), BrokerError>;

    /// Fetches from `partitions` again.
    ///
    /// # Errors
    /// An error of the Kafka client.
    fn resume(&self, partitions: &[i32]) -> Result<(), BrokerError>;
}
