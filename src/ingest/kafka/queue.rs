//! Messages by the batch: one crossing into librdkafka for many of them, where
//! the bindings' own poll makes several for each.
//!
//! Partitions lead into a queue of our own instead of the consumer's. They are
//! turned there before they are assigned, so that the messages of a partition
//! all come one way and in order.

use std::cell::RefCell;
use std::ffi::CString;
use std::io;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;
use std::time::Duration;

use rdkafka::bindings::{
    rd_kafka_consume_batch_queue, rd_kafka_message_destroy, rd_kafka_message_t,
    rd_kafka_message_timestamp, rd_kafka_queue_forward, rd_kafka_queue_get_consumer,
    rd_kafka_queue_get_partition, rd_kafka_queue_new, rd_kafka_timestamp_type_t,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use super::queue_handle::Handle;
use super::wakeup::Wakeup;
use crate::ingest::broker;

/// Messages that are taken out at once.
const BATCH: usize = 1_000;

/// A message in the client's memory.
#[derive(Debug)]
pub struct Message(NonNull<rd_kafka_message_t>);

impl Message {
    fn raw(&self) -> &rd_kafka_message_t {
        // SAFETY: librdkafka gave it to us, and only our drop gives it back.
        unsafe { self.0.as_ref() }
    }

    /// What it says instead, if it is no message but trouble.
    pub(super) fn trouble(&self) -> Option<RDKafkaErrorCode> {
        let code = RDKafkaErrorCode::from(self.raw().err);
        (code != RDKafkaErrorCode::NoError).then_some(code)
    }
}

impl broker::Message for Message {
    fn partition(&self) -> i32 {
        self.raw().partition
    }

    fn offset(&self) -> i64 {
        self.raw().offset
    }

    fn payload(&self) -> Option<&[u8]> {
        let raw = self.raw();
        let start = NonNull::new(raw.payload)?.cast();
        // SAFETY: librdkafka keeps `len` bytes there as long as the message lives.
        Some(unsafe { slice::from_raw_parts(start.as_ptr(), raw.len) })
    }

    fn time_ms(&self) -> Option<i64> {
        let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, and `kind` outlives the call.
        let time = unsafe { rd_kafka_message_timestamp(self.0.as_ptr(), &mut kind) };
        let is_known = kind != rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        is_known.then_some(time)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: given back exactly once.
        unsafe { rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// Where the messages of all our partitions arrive.
#[derive(Debug)]
pub(super) struct Queue {
    wakeup: Wakeup,
    own: Rc<Handle>,
    partitions: RefCell<Vec<Handle>>,
}

impl Queue {
    /// A queue of `client`. It must go before the client does.
    ///
    /// # Errors
    /// The system's, if it has no memory or sockets left.
    pub(super) fn new<C: ConsumerContext>(client: &BaseConsumer<C>) -> io::Result<Self> {
        let rk = client.client().native_ptr();
        // SAFETY: the client is alive; both are references of our own.
        let queues = unsafe { [rd_kafka_queue_new(rk), rd_kafka_queue_get_consumer(rk)] };
        let [Some(own), Some(consumers)] = queues.map(NonNull::new) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let own = Rc::new(Handle(own));
        Ok(Self {
            wakeup: Wakeup::new([own.clone(), Rc::new(Handle(consumers))])?,
            own,
            partitions: RefCell::default(),
        })
    }

    /// Turns partitions here that are about to be assigned, and only those.
    pub(super) fn receive<C: ConsumerContext>(
        &self,
        client: &BaseConsumer<C>,
        topic: &str,
        partitions: impl Iterator<Item = i32>,
    ) {
        // A topic's name with a NUL in it was refused when we subscribed.
        let topic = CString::new(topic).unwrap_or_default();
        let handles = partitions.filter_map(|partition| {
            // SAFETY: client and topic outlive the call.
            let queue = unsafe {
                let rk = client.client().native_ptr();
                rd_kafka_queue_get_partition(rk, topic.as_ptr(), partition)
            };
            NonNull::new(queue).map(Handle)
        });
        self.partitions.replace(handles.collect());
        self.turn();
    }

    /// Turns our partitions here. librdkafka undoes that some time after an
    /// assignment, when it stops what was assigned before; what arrived in
    /// between stays with the partition and comes along now, in order.
    fn turn(&self) {
        for partition in self.partitions.borrow().iter() {
            // SAFETY: both are alive; librdkafka takes a reference of its own.
            unsafe { rd_kafka_queue_forward(partition.raw(), self.own.raw()) }
        }
    }

    /// What is there, up to [`BATCH`] messages in order. If there is nothing,
    /// waits up to `timeout` for something to come here or to the consumer's
    /// own queue.
    pub(super) fn take(&self, timeout: Duration) -> Vec<Message> {
        self.turn();
        let batch = self.batch();
        if !batch.is_empty() || timeout.is_zero() {
            return batch;
        }
        self.wakeup.wait(timeout);
        self.batch()
    }

    fn batch(&self) -> Vec<Message> {
        let mut raw = vec![ptr::null_mut(); BATCH];
        // SAFETY: `raw` has room for so many pointers; the first `count` are ours now.
        let count =
            unsafe { rd_kafka_consume_batch_queue(self.own.raw(), 0, raw.as_mut_ptr(), raw.len()) };
        // It is negative only for queues that are none of a consumer's.
        let count = usize::try_from(count).unwrap_or(0);
        raw.truncate(count);
        raw.into_iter()
            .filter_map(NonNull::new)
            .map(Message)
            .collect()
    }
}
