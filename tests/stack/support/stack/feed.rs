//! Messages into a topic, with the place that the broker gave to each.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

/// Longest wait for the last acknowledgement.
const FLUSH_MAX: Duration = Duration::from_secs(60);

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

#[derive(Default)]
struct Receipts(Mutex<Vec<(usize, At)>>);

impl ClientContext for Receipts {}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Box<usize>) {
        // One that failed has no receipt: `finish` misses it.
        if let Ok(message) = result {
            let at = At {
                partition: message.partition(),
                offset: message.offset(),
            };
            self.0.lock().unwrap().push((*place, at));
        }
    }
}

/// An idempotent producer that deals messages out to the partitions in turn.
pub struct Feed {
    producer: ThreadedProducer<Receipts>,
    topic: String,
    partitions: i32,
    sent: usize,
}

impl Feed {
    /// A feed of a topic with so many partitions.
    pub fn of(brokers: &str, topic: &str, partitions: i32) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            // A broker admits batches of 1,048,588 bytes, their headers included.
            .set("message.max.bytes", "1048000")
            .create_with_context(Receipts::default())
            .unwrap();
        Self {
            producer,
            topic: topic.to_owned(),
            partitions,
            sent: 0,
        }
    }

    /// Sends one message; `None` is one without a value.
    pub fn send(&mut self, payload: Option<&[u8]>) {
        let partition = self.sent as i32 % self.partitions;
        let mut record =
            BaseRecord::<(), [u8], _>::with_opaque_to(&self.topic, Box::new(self.sent))
                .partition(partition);
        record.payload = payload;
        while let Err((error, returned)) = self.producer.send(record) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            assert!(full, "can't send to {}: {error}", self.topic);
            record = returned;
            std::thread::sleep(Duration::from_millis(5));
        }
        self.sent += 1;
    }

    /// Waits for every acknowledgement: the messages' places, in the order of sending.
    pub fn finish(self) -> Vec<At> {
        self.producer.flush(FLUSH_MAX).unwrap();
        let mut receipts = std::mem::take(&mut *self.producer.context().0.lock().unwrap());
        receipts.sort();
        let missing = self.sent - receipts.len();
        assert_eq!(missing, 0, "messages without an acknowledgement");
        receipts.into_iter().map(|(_, at)| at).collect()
    }
}
