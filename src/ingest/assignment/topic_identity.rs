//! Watches whether the topic is still the one that we read.
//!
//! A topic that is deleted and created again under the same name starts at
//! offset 0 under another id. librdkafka goes on reading the new one at the old
//! position, without a word once the new one has grown that far (its source says
//! so, `rdkafka_topic.c`, as of 2.12). So the id is asked for every second.

use std::time::{Duration, Instant};

use crate::ingest::broker::BrokerError;
use crate::spool::format::footer::Source;

/// How often the id is asked for, and how often after no answer.
const EVERY: Duration = Duration::from_secs(1);
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

/// What is known about the topic's identity, and since when.
#[derive(Debug)]
pub struct IdentityWatch {
    due: Instant,
    /// The last moment at which no other topic of this name can have existed.
    certain: Instant,
    last_message: Option<Instant>,
}

impl IdentityWatch {
    /// Starts to watch a topic whose id was asked for at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            due: now + EVERY,
            certain: now,
            last_message: None,
        }
    }

    /// Notes that a message was taken in.
    pub fn message_taken(&mut self, now: Instant) {
        self.last_message = Some(now);
    }

    /// Whether it is time to ask.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Takes in the answer to a question that was asked at `asked`; gives the
    /// new identity if it is another one.
    pub fn check(
        &mut self,
        ours: &Source,
        answer: Result<Source, BrokerError>,
        asked: Instant,
    ) -> Option<Source> {
        self.due = asked + EVERY;
        match answer {
            Ok(source) if source == *ours => self.certain = asked,
            Ok(other) => return Some(other),
            // What does not exist has given us nothing.
            Err(BrokerError::TopicAbsent) => self.certain = asked,
            Err(BrokerError::Other(_)) => self.due = asked + AFTER_TROUBLE,
        }
        None
    }

    /// Whether a message may have come from the new topic already.
    pub fn may_be_mixed(&self) -> bool {
        self.last_message.is_some_and(|last| last > self.certain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(topic_id: &str) -> Source {
        Source {
            cluster: "c".into(),
            topic: "http_log".into(),
            topic_id: topic_id.into(),
        }
    }

    fn absent() -> Result<Source, BrokerError> {
        Err(BrokerError::TopicAbsent)
    }

    #[test]
    fn another_id_is_noticed() {
        let start = Instant::now();
        let mut watch = IdentityWatch::new(start);
        assert!(!watch.is_due(start));
        let later = start + EVERY;
        assert!(watch.is_due(later));
        assert_eq!(watch.check(&source("a"), Ok(source("a")), later), None);
        let new = watch.check(&source("a"), Ok(source("b")), later + EVERY);
        assert_eq!(new, Some(source("b")));
    }

    #[test]
    fn messages_from_before_the_topic_was_last_seen_or_missed_are_its_own() {
        let start = Instant::now();
        for answer in [Ok(source("a")), absent()] {
            let mut watch = IdentityWatch::new(start);
            watch.message_taken(start + EVERY / 2);
            assert!(watch.may_be_mixed());
            watch.check(&source("a"), answer, start + EVERY);
            assert!(!watch.may_be_mixed());
            watch.message_taken(start + EVERY * 2);
            assert!(watch.may_be_mixed());
        }
    }
}
