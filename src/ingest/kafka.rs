//! Kafka's client, and the only place of it in ingest.
//!
//! Wraps librdkafka's consumer so that nothing happens behind our back: no
//! automatic commit, no automatic offset reset, and a rebalance takes effect
//! when the caller answers it, not in a callback. What happened meanwhile is
//! handed over as [`Event`]s. To the loop it is a [`Broker`].

#![allow(
    unsafe_code,
    reason = "the bindings lack what exactly-once needs; each call says why it is sound"
)]

pub mod pinned;
pub mod retention;
pub mod topic_config;
pub mod topic_id;

mod context;
mod queue;
mod queue_handle;
mod wakeup;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::ptr;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rdkafka::bindings::{
    rd_kafka_commit_queue, rd_kafka_get_watermark_offsets, rd_kafka_queue_destroy,
    rd_kafka_queue_get_consumer, rd_kafka_topic_partition_t,
};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use context::{Context, code_of};
use pinned::{PINNED, Pinned};
use queue::{Message, Queue};

use super::broker::{ASK_TIMEOUT, Broker, BrokerError, Event, FatalError, Polled};
use super::commit::{Committed, Log, Signature};
use crate::spool::format::footer::Source;

/// How to reach Kafka.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bootstrap brokers, `host:port,…`.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// The group's name for this member: a restart rejoins at once under it.
    pub instance_id: String,
    /// librdkafka properties that override ours, none of [`PINNED`].
    pub librdkafka: BTreeMap<String, String>,
}

/// The consumer of one topic.
pub struct Consumer {
    // Goes before the client does.
    messages: Queue,
    client: BaseConsumer<Context>,
    events: Receiver<Event>,
    options: Options,
}

impl Consumer {
    /// Creates the client and subscribes. Brokers need not be reachable.
    ///
    /// # Errors
    /// [`FatalError`] for properties that can't be.
    pub fn subscribe(options: Options) -> Result<Self, FatalError> {
        let instance_id = Some(options.instance_id.clone());
        let client = |error: KafkaError| FatalError::Client(error.to_string());
        let consumer = Self::create(options, instance_id).map_err(client)?;
        consumer
            .client
            .subscribe(&[&consumer.options.topic])
            .map_err(client)?;
        Ok(consumer)
    }

    /// Creates a client that only asks: no member of the group, so that it
    /// disturbs none.
    ///
    /// # Errors
    /// The client's, for properties that can't be.
    pub fn inquire(options: Options) -> Result<Self, BrokerError> {
        Ok(Self::create(options, None)?)
    }

    fn create(options: Options, instance_id: Option<String>) -> KafkaResult<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &options.brokers)
            .set("group.id", &options.group)
            .set("client.id", "spoolhouse")
            // Bounds the memory that fetched messages take before we poll them;
            // payloads only, and every message costs as much again.
            .set("queued.max.messages.kbytes", "8192")
            // By default a full queue is looked at again only after a second,
            // in which we would take in nothing.
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.wait.max.ms", "200")
            .set_log_level(RDKafkaLogLevel::Warning);
        if let Some(instance_id) = &instance_id {
            config.set("group.instance.id", instance_id);
        }
        for (key, value) in &options.librdkafka {
            config.set(key, value);
        }
        for Pinned { name, value, .. } in PINNED {
            config.set(name, value);
        }
        let (context, events) = Context::new();
        let client = config.create_with_context(context)?;
        let no_queue = |error: io::Error| KafkaError::ClientCreation(error.to_string());
        Ok(Self {
            messages: Queue::new(&client).map_err(no_queue)?,
            client,
            events,
            options,
        })
    }

    /// Commits in a way that the answer reaches us: the bindings' asynchronous
    /// commit names no queue for it, and librdkafka then drops it.
    fn commit_with_answer(&self, offsets: &TopicPartitionList) -> KafkaResult<()> {
        // SAFETY: client and list outlive the call; librdkafka copies the list
        // and takes a reference of its own to the queue, which is given back here.
        let code = unsafe {
            let rk = self.client.client().native_ptr();
            let queue = rd_kafka_queue_get_consumer(rk);
            let code = rd_kafka_commit_queue(rk, offsets.ptr(), queue, None, ptr::null_mut());
            rd_kafka_queue_destroy(queue);
            code
        };
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            Ok(())
        } else {
            Err(KafkaError::ConsumerCommit(code.into()))
        }
    }

    fn list(
        &self,
        partitions: impl Iterator<Item = (i32, Offset)>,
    ) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in partitions {
            list.add_partition_offset(&self.options.topic, partition, offset)?;
        }
        Ok(list)
    }
}

impl Broker for Consumer {
    type Message = Message;

    fn poll(&self, timeout: Duration) -> Result<Vec<Polled<Message>>, FatalError> {
        let mut polled = Vec::new();
        // The client's own business: rebalances, commits, errors.
        match self.client.poll(Duration::ZERO) {
            None => {}
            Some(Ok(message)) => polled.push(Polled::OutOfOrder(message.partition())),
            Some(Err(KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::FencedInstanceId))) => {
                return Err(FatalError::Fenced {
                    group: self.options.group.clone(),
                    instance_id: self.options.instance_id.clone(),
                });
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                return Err(FatalError::GaveUp(code.to_string()));
            }
            Some(Err(error)) => polled.push(not_a_message(code_of(&error))),
        }
        let timeout = if polled.is_empty() {
            timeout
        } else {
            Duration::ZERO
        };
        let messages = self.messages.take(timeout).into_iter();
        polled.extend(messages.map(|message| match message.trouble() {
            Some(code) => not_a_message(code),
            None => Polled::Message(message),
        }));
        Ok(polled)
    }

    fn event(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    fn source(&self, timeout: Duration) -> Result<Source, BrokerError> {
        Ok(topic_id::source(
            self.client.client(),
            &self.options.topic,
            timeout,
        )?)
    }

    fn partitions(&self) -> Result<Vec<i32>, BrokerError> {
        let topic = &self.options.topic;
        let metadata = self.client.fetch_metadata(Some(topic), ASK_TIMEOUT)?;
        let mut partitions = Vec::new();
        for topic in metadata.topics() {
            if let Some(code) = topic.error() {
                return Err(KafkaError::MetadataFetch(code.into()).into());
            }
            partitions.extend(topic.partitions().iter().map(|p| p.id()));
        }
        partitions.sort_unstable();
        Ok(partitions)
    }

    fn committed(
        &self,
        source: &Source,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, Committed>, BrokerError> {
        let wanted = self.list(partitions.iter().map(|p| (*p, Offset::Invalid)))?;
        let answer = self.client.committed_offsets(wanted, ASK_TIMEOUT)?;
        let mut committed = BTreeMap::new();
        for (element, metadata) in answer.elements().iter().zip(metadata(&answer)) {
            element.error()?;
            if let Offset::Offset(offset) = element.offset() {
                let signature = Signature::parse(&metadata);
                let commit = Committed { offset, signature };
                if !commit.is_of_other_topic(source) {
                    committed.insert(element.partition(), commit);
                }
            }
        }
        Ok(committed)
    }

    fn log(&self, partition: i32) -> Result<Log, BrokerError> {
        let (start, end) =
            self.client
                .fetch_watermarks(&self.options.topic, partition, ASK_TIMEOUT)?;
        Ok(Log { start, end })
    }

    fn end_as_fetched(&self, partition: i32) -> Option<i64> {
        let topic = CString::new(self.options.topic.as_str()).ok()?;
        let (mut start, mut end) = (-1, -1);
        // SAFETY: client, name and both numbers outlive the call, which looks
        // into the client's memory only.
        let code = unsafe {
            let rk = self.client.client().native_ptr();
            rd_kafka_get_watermark_offsets(rk, topic.as_ptr(), partition, &mut start, &mut end)
        };
        let is_known = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && end >= 0;
        is_known.then_some(end)
    }

    fn retention(&self) -> Result<Option<Duration>, BrokerError> {
        Ok(retention::of(&self.options)?)
    }

    fn assign(&self, starts: &BTreeMap<i32, i64>) -> Result<(), BrokerError> {
        let partitions = starts.keys().copied();
        self.messages
            .receive(&self.client, &self.options.topic, partitions);
        let starts = starts
            .iter()
            .map(|(p, offset)| (*p, Offset::Offset(*offset)));
        let list = self.list(starts)?;
        self.client.assign(&list)?;
        // A partition that is assigned again while paused would stay so.
        Ok(self.client.resume(&list)?)
    }

    fn unassign(&self) -> Result<(), BrokerError> {
        Ok(self.client.unassign()?)
    }

    fn commit(&self, offsets: &BTreeMap<i32, (i64, Signature)>) -> Result<(), BrokerError> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, (offset, signature)) in offsets {
            let mut element = list.add_partition(&self.options.topic, *partition);
            element.set_offset(Offset::Offset(*offset))?;
            element.set_metadata(signature.to_string());
        }
        Ok(self.commit_with_answer(&list)?)
    }

    fn pause(&self, partitions: &[i32]) -> Result<(), BrokerError> {
        let list = self.list(partitions.iter().map(|p| (*p, Offset::Invalid)))?;
        Ok(self.client.pause(&list)?)
    }

    fn resume(&self, partitions: &[i32]) -> Result<(), BrokerError> {
        let list = self.list(partitions.iter().map(|p| (*p, Offset::Invalid)))?;
        Ok(self.client.resume(&list)?)
    }
}

/// What librdkafka puts where a message could be.
fn not_a_message(code: RDKafkaErrorCode) -> Polled<Message> {
    match code {
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
            Polled::OutOfRange
        }
        code => Polled::Error(BrokerError::from(code)),
    }
}

impl From<RDKafkaErrorCode> for BrokerError {
    fn from(code: RDKafkaErrorCode) -> Self {
        match code {
            RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition => {
                Self::TopicAbsent
            }
            code => Self::Other(code.to_string()),
        }
    }
}

impl From<KafkaError> for BrokerError {
    fn from(error: KafkaError) -> Self {
        match code_of(&error).into() {
            Self::TopicAbsent => Self::TopicAbsent,
            Self::Other(_) => Self::Other(error.to_string()),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.client.context().close();
    }
}

/// The metadata of each element. The safe accessor panics on bytes that are no
/// UTF-8, and anybody may have committed those.
fn metadata(list: &TopicPartitionList) -> Vec<String> {
    // SAFETY: the list is alive and unchanged for the whole call; librdkafka
    // keeps `cnt` initialised elements, and `metadata_size` bytes behind each
    // non-null `metadata`.
    unsafe {
        let raw = &*list.ptr();
        (0..raw.cnt as usize)
            .map(|index| {
                let element: &rd_kafka_topic_partition_t = &*raw.elems.add(index);
                if element.metadata.is_null() {
                    return String::new();
                }
                let bytes = std::slice::from_raw_parts(
                    element.metadata.cast::<u8>(),
                    element.metadata_size,
                );
                String::from_utf8_lossy(bytes).into_owned()
            })
            .collect()
    }
}
