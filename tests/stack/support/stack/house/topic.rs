//! The Kafka side of an installation: its topic, its messages, its group and what that
//! has committed, seen from outside.

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use rdkafka::admin::{AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::ask_kafka;
use super::super::feed::{At, Feed};
use super::{House, LOOK_EVERY, PATIENCE};

impl House {
    /// A way to send messages that may go to another thread.
    pub fn feed(&self) -> Feed {
        Feed::of(&self.brokers, &self.name, self.partitions)
    }

    /// Sends messages, to the partitions in turn; returns when the broker has
    /// them, with their places.
    pub fn produce<'m>(&self, messages: impl IntoIterator<Item = &'m [u8]>) -> Vec<At> {
        let mut feed = self.feed();
        for message in messages {
            feed.send(Some(message));
        }
        feed.finish()
    }

    /// Deletes what lies before `offset` in a partition's log, as retention does.
    pub fn delete_before(&self, partition: i32, offset: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(&self.name, partition, Offset::Offset(offset))
            .unwrap();
        let deleted = ask_kafka(&self.brokers, |admin, options| {
            admin.delete_records(&offsets, options)
        })
        .unwrap();
        deleted.elements()[0].error().unwrap();
    }

    /// Sets what the broker does with the topic's data.
    pub fn configure_topic(&self, settings: &[(&str, &str)]) {
        let topic = ResourceSpecifier::Topic(&self.name);
        let settings = settings.iter().copied();
        let config = settings.fold(AlterConfig::new(topic), |config, (name, value)| {
            config.set(name, value)
        });
        let altered = ask_kafka(&self.brokers, |admin, options| {
            admin.alter_configs([&config], options)
        });
        assert!(altered.unwrap().pop().unwrap().is_ok());
    }

    /// First and end offset of each partition's log.
    pub fn logs(&self) -> Vec<(i64, i64)> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .create()
            .unwrap();
        let log = |partition| {
            client
                .fetch_watermarks(&self.name, partition, PATIENCE)
                .unwrap()
        };
        (0..self.partitions).map(log).collect()
    }

    /// Deletes the topic, and creates it again under the same name.
    pub fn recreate_topic(&self) {
        let topics = [self.name.as_str()];
        let deleted = ask_kafka(&self.brokers, |admin, options| {
            admin.delete_topics(&topics, options)
        });
        assert!(deleted.unwrap().pop().unwrap().is_ok());
        self.wait_until("the topic to be there again", || {
            create_topic(&self.brokers, &self.name, self.partitions)
        });
    }

    /// Deletes the consumer group with all it committed. Nobody may be in it.
    pub fn delete_group(&self) {
        self.wait_until("the group to be deleted", || {
            let groups = [self.group.as_str()];
            let deleted = ask_kafka(&self.brokers, |admin, options| {
                admin.delete_groups(&groups, options)
            });
            deleted.unwrap().pop().unwrap().is_ok()
        });
    }

    /// A view of what its group commits.
    pub fn commits(&self) -> Commits {
        Commits {
            client: ClientConfig::new()
                .set("bootstrap.servers", &self.brokers)
                .set("group.id", &self.group)
                .create()
                .unwrap(),
            topic: self.name.clone(),
            partitions: self.partitions,
        }
    }

    /// Waits until it has read, sealed and committed everything in front of
    /// these places' ends.
    pub fn wait_until_committed(&self, places: &[At]) {
        let ends = ends(places);
        let commits = self.commits();
        self.wait_until("its commits", || {
            let committed = commits.offsets();
            let reached = |(partition, end): (&i32, &i64)| committed.get(partition) >= Some(end);
            ends.iter().all(reached)
        });
    }
}

/// Creates a topic; false if there is one of that name, or not quite gone yet.
pub(super) fn create_topic(brokers: &str, name: &str, partitions: i32) -> bool {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1))
        // The stack's own minute would be a race against slow machines.
        .set("retention.ms", "3600000");
    let created = ask_kafka(brokers, |admin, options| {
        admin.create_topics([&topic], options)
    });
    created.unwrap().pop().unwrap().is_ok()
}

/// What a group has committed, seen from outside of it.
pub struct Commits {
    client: BaseConsumer,
    topic: String,
    partitions: i32,
}

impl Commits {
    /// Offset and metadata of each partition that has a commit.
    pub fn signed(&self) -> BTreeMap<i32, (i64, String)> {
        let mut wanted = TopicPartitionList::new();
        for partition in 0..self.partitions {
            wanted.add_partition(&self.topic, partition);
        }
        let deadline = Instant::now() + PATIENCE;
        let committed = loop {
            // A broker that has just come up looks for its groups first.
            match self.client.committed_offsets(wanted.clone(), PATIENCE) {
                Ok(committed) => break committed,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            thread::sleep(LOOK_EVERY);
        };
        let elements = committed.elements();
        let signed = elements.iter().filter_map(|element| {
            let offset = element.offset().to_raw().filter(|offset| *offset >= 0)?;
            Some((element.partition(), (offset, element.metadata().to_owned())))
        });
        signed.collect()
    }

    /// Offset of each partition that has a commit.
    pub fn offsets(&self) -> BTreeMap<i32, i64> {
        let signed = self.signed().into_iter();
        signed
            .map(|(partition, (offset, _))| (partition, offset))
            .collect()
    }
}

/// The offset after the last of these places, by partition.
pub fn ends(places: &[At]) -> BTreeMap<i32, i64> {
    let mut ends = BTreeMap::new();
    for at in places {
        let end = ends.entry(at.partition).or_insert(0);
        *end = at.offset.max(*end - 1) + 1;
    }
    ends
}
