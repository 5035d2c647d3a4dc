//! The way into Kafka: an idempotent producer that counts what the brokers
//! acknowledged. Ends well only when every message was.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

/// How long the brokers may take to answer the first request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a message may wait for its acknowledgement, retries included.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);

/// How long to wait when the producer's queue is full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// Bytes that may wait in the producer's queue, in KiB.
const QUEUE_KIB_MAX: u32 = 128 << 10;

/// Counts acknowledgements as they come in, on the producer's own thread.
#[derive(Default)]
struct Receipts {
    delivered: AtomicU64,
    first_error: OnceLock<KafkaError>,
}

impl Receipts {
    fn fail(&self, error: &KafkaError) {
        self.first_error.get_or_init(|| error.clone());
    }
}

impl ClientContext for Receipts {}

impl ProducerContext for Receipts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Release);
            }
            Err((error, _)) => self.fail(error),
        }
    }
}

/// Sends messages to one topic, each exactly once.
pub(super) struct Delivery {
    producer: ThreadedProducer<Receipts>,
    topic: String,
    sent: u64,
}

impl Delivery {
    /// Connects, and fails soon when no broker answers.
    pub(super) fn connect(brokers: &str, topic: &str) -> Result<Self> {
        let producer: ThreadedProducer<Receipts> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("client.id", "spoolhouse-produce")
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            // Every message draws its own partition, so that few messages spread, too.
            .set("sticky.partitioning.linger.ms", "0")
            .set(
                "message.timeout.ms",
                DELIVERY_TIMEOUT.as_millis().to_string(),
            )
            // A stock broker admits batches of 1,048,588 bytes; this leaves room for
            // the batch's header around a single message.
            .set("message.max.bytes", "1048000")
            .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX.to_string())
            .create_with_context(Receipts::default())
            .context("can't set up the Kafka producer")?;
        producer
            .client()
            .fetch_metadata(Some(topic), CONNECT_TIMEOUT)
            .map_err(|error| {
                let seconds = CONNECT_TIMEOUT.as_secs();
                anyhow!("no Kafka broker at {brokers} answered within {seconds} s: {error}")
            })?;
        Ok(Self {
            producer,
            topic: topic.to_owned(),
            sent: 0,
        })
    }

    /// Puts one message into the queue, and waits while that is full. What goes
    /// wrong shows in [`failing`](Self::failing) and [`finish`](Self::finish).
    pub(super) fn send(&mut self, message: &[u8]) {
        self.sent += 1;
        let mut record = BaseRecord::<(), [u8]>::to(&self.topic).payload(message);
        while let Err((error, returned)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                self.producer.context().fail(&error);
                return;
            }
            record = returned;
            thread::sleep(QUEUE_FULL_PAUSE);
        }
    }

    /// Whether some message can't be delivered any more, so that sending more is in vain.
    pub(super) fn failing(&self) -> bool {
        self.producer.context().first_error.get().is_some()
    }

    /// Waits until the fate of every message is known; the error says how many are lost.
    pub(super) fn finish(self) -> Result<()> {
        // After the delivery timeout every message has its receipt: waiting longer
        // would not help, and the count tells of those without one.
        let flushed = self.producer.flush(2 * DELIVERY_TIMEOUT);
        let receipts = self.producer.context();
        let lost = self.sent - receipts.delivered.load(Ordering::Acquire);
        if lost == 0 {
            return Ok(());
        }
        let lost = format!("{lost} of {} messages were not delivered", self.sent);
        match receipts.first_error.get().or(flushed.as_ref().err()) {
            Some(error) => bail!("{lost}: {error}"),
            None => bail!("{lost}: no receipt came"),
        }
    }
}
