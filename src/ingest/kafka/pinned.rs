//! The properties of librdkafka that the promise rests on: nobody may set them
//! otherwise, and each says why.

/// A property of librdkafka that the promise rests on.
#[derive(Clone, Copy, Debug)]
pub struct Pinned {
    /// Its name.
    pub name: &'static str,
    /// The one value it may have.
    pub value: &'static str,
    /// Why no other.
    pub why: &'static str,
}

/// The properties that nobody may set otherwise.
pub const PINNED: [Pinned; 5] = [
    Pinned {
        name: "auto.offset.reset",
        value: "error",
        why: "Spoolhouse finds its start itself, so that a gap is noticed",
    },
    Pinned {
        name: "check.crcs",
        value: "true",
        why: "a flipped bit must be noticed",
    },
    Pinned {
        name: "enable.auto.commit",
        value: "false",
        why: "an offset is committed only once its record is on disk",
    },
    Pinned {
        name: "enable.auto.offset.store",
        value: "false",
        why: "an offset is committed only once its record is on disk",
    },
    // Cooperative rebalancing with manual commits lost partitions in librdkafka
    // before 2.10; eager with static membership is the safe choice.
    Pinned {
        name: "partition.assignment.strategy",
        value: "range",
        why: "partitions are handed over as a whole",
    },
];
