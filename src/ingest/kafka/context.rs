//! What librdkafka calls back, turned into events for the thread that polls.
//!
//! Nothing is decided here: a rebalance takes effect when the caller answers
//! it. Only a consumer that is being closed answers by itself, or its closing
//! would wait for ever.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use rdkafka::bindings::rd_kafka_assign;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use crate::ingest::broker::{BrokerError, Event};

/// Turns the client's callbacks into events.
pub(super) struct Context {
    events: Mutex<Sender<Event>>,
    closing: AtomicBool,
}

impl Context {
    /// A context, and where its events come out.
    pub(super) fn new() -> (Self, Receiver<Event>) {
        let (sender, events) = channel();
        let context = Self {
            events: Mutex::new(sender),
            closing: AtomicBool::new(false),
        };
        (context, events)
    }

    /// From here on nobody answers a revocation but the callback itself.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    fn tell(&self, event: Event) {
        let sender = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens once the consumer is being closed.
        let _ = sender.send(event);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(facility, message, "librdkafka");
            }
            _ => tracing::warn!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::SeqCst) {
            // SAFETY: the client outlives its callback; a null list unassigns.
            unsafe { rd_kafka_assign(consumer.client().native_ptr(), ptr::null()) };
        } else if assigned {
            let partitions = partitions
                .elements()
                .iter()
                .map(|e| e.partition())
                .collect();
            self.tell(Event::Assigned(partitions));
        } else {
            self.tell(Event::Revoked);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let mut committed = BTreeMap::new();
        for element in offsets.elements() {
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => {
                    committed.insert(element.partition(), offset);
                }
                (Err(error), _) => {
                    self.tell(Event::CommitFailed(BrokerError::from(code_of(&error))))
                }
                _ => {}
            }
        }
        match result {
            Ok(()) => self.tell(Event::Committed(committed)),
            Err(error) => self.tell(Event::CommitFailed(BrokerError::from(code_of(&error)))),
        }
    }
}

/// The code of an error, if it has one.
pub(super) fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    match error {
        // The bindings know no code of an admin request's failure.
        KafkaError::AdminOp(code) => *code,
        error => error
            .rdkafka_error_code()
            .unwrap_or(RDKafkaErrorCode::Unknown),
    }
}
