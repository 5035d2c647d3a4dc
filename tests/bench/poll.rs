//! How fast can a consumer be that does nothing? The baseline of
//! `ops/bench ingest`: polls a topic from its start to its end and counts.
//!
//! `poll BROKERS TOPIC` prints one JSON object: records, and seconds from the
//! start of the process to the last of them. Nothing is tuned: librdkafka's
//! defaults, one thread, no group.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    unsafe_code,
    reason = "a bench that can't go on fails, and it measures by the system's clocks"
)]

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// No message for so long is the end of patience.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    // `cargo bench` adds an argument of its own, which begins with a dash.
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let (Some(brokers), Some(topic)) = (arguments.next(), arguments.next()) else {
        println!("poll: nothing to do; run `ops/bench ingest`");
        return Ok(());
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "bench-poll")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE)?;
    let mut list = TopicPartitionList::new();
    let mut expected = 0;
    for partition in metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
    {
        let (start, end) = consumer.fetch_watermarks(&topic, partition.id(), PATIENCE)?;
        expected += end.abs_diff(start);
        list.add_partition_offset(&topic, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut records = 0;
    while records < expected {
        match consumer.poll(PATIENCE) {
            Some(message) => {
                message?;
                records += 1;
            }
            None => return Err(format!("{records} of {expected}, then nothing").into()),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({ "records": records, "seconds": seconds })
    );
    Ok(())
}
