//! Synthetic traffic: what `spoolhouse produce` sends, `spoolhouse estimate`
//! calculates with, and tests feed in. Uniform, so that nothing about it is easy to
//! compress, or realistic.
//!
//! Invariant: a row follows from the arguments and its place alone, so that it can
//! be made again. Makes values only: no I/O, no Kafka, no clock, and nothing of the
//! other folders.

pub mod corpus;
pub mod message;
mod realistic;
mod row;

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;

use row::{Draw, NETWORK_IDS, SHAPES};

pub use row::{Row, Shape};

/// How far the clock moves from one message to the next when the rate is 0, in milliseconds.
pub const UNPACED_STEP_MILLI: u64 = 1;

/// Resource ids are drawn below this.
pub const RESOURCE_IDS: u64 = 1_000_000_000;

const BYTES_SENT: u64 = 5_000_000;
const REQUEST_TIME_MILLI: u64 = 60_000;
const STATUSES: [u16; 8] = [200, 204, 206, 301, 304, 403, 404, 502];
const CACHE_STATES: [&str; 7] = [
    "HIT",
    "MISS",
    "EXPIRED",
    "STALE",
    "UPDATING",
    "REVALIDATED",
    "BYPASS",
];
const METHODS: [&str; 2] = ["GET", "POST"];
/// Which kind of traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Every value as likely as any other: as hard to compress as it gets
    #[default]
    Uniform,
    /// A few resources, URLs and networks get most requests, 90 % of them are
    /// answered with 200, and the day has its busy hours
    Realistic,
}

impl Profile {
    /// How its values are distributed.
    pub fn shape(self) -> Shape {
        match self {
            Profile::Uniform => Shape {
                resources: RESOURCE_IDS,
                resource_ids: RESOURCE_IDS,
                objects: None,
                networks: NETWORK_IDS,
                network_ids: NETWORK_IDS,
                skew: 0.0,
                statuses: vec![1; STATUSES.len()],
                cache_states: vec![1; CACHE_STATES.len()],
                hours: [100; 24],
            },
            Profile::Realistic => realistic::shape(),
        }
    }
}

/// What determines a stretch of traffic.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// How values are distributed.
    pub profile: Profile,
    /// Any number: another seed is other traffic.
    pub seed: u64,
    /// When message 0 was served, in milliseconds since 1970-01-01 UTC.
    pub start_milli: u64,
    /// Messages per second; 0 puts them [`UNPACED_STEP_MILLI`] apart.
    pub rate: u32,
    /// How many of a million messages are bad, 0 to 1,000,000.
    pub bad_per_million: u32,
}

impl Traffic {
    /// The row of the message at this place, or none where a bad message stands.
    /// What the row holds does not depend on how many bad messages there are.
    pub fn row(&self, place: u64) -> Option<Row> {
        let mut draw = Draw::new(self.seed, place);
        if draw.below(1_000_000) < u64::from(self.bad_per_million) {
            return None;
        }
        Some(match self.profile {
            Profile::Uniform => self.uniform_row(&mut draw, place),
            Profile::Realistic => realistic::row(self.seed, &mut draw, self.time_milli(place)),
        })
    }

    fn uniform_row(&self, draw: &mut Draw, place: u64) -> Row {
        let resource_id = draw.below(RESOURCE_IDS);
        let bytes_sent = draw.below(BYTES_SENT);
        let request_time_milli = draw.below(REQUEST_TIME_MILLI);
        let response_status = draw.one_of(&STATUSES);
        let cache_status = draw.one_of(&CACHE_STATES);
        let method = draw.one_of(&METHODS);
        let remote_addr = Ipv4Addr::from_bits(draw.below(1 << 32) as u32);
        let (directory, extension) = draw.one_of(&SHAPES);
        let name = draw.any();
        Row {
            timestamp_milli: self.time_milli(place),
            resource_id,
            bytes_sent,
            request_time_milli,
            response_status,
            cache_status,
            method,
            remote_addr,
            url: format!("https://cdn.example/{directory}/{name:016x}.{extension}"),
        }
    }

    /// When the message at this place was served, in milliseconds since 1970-01-01 UTC.
    pub fn time_milli(&self, place: u64) -> u64 {
        if self.profile == Profile::Realistic && self.rate > 0 {
            return realistic::time_milli(self.start_milli, self.rate, place);
        }
        let after = match self.rate {
            0 => u128::from(place) * u128::from(UNPACED_STEP_MILLI),
            rate => u128::from(place) * 1000 / u128::from(rate),
        };
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        self.start_milli.saturating_add(after)
    }

    /// When the message at this place is due, from the start. A schedule rather than
    /// a pause between messages: being late once does not move what follows.
    pub fn due(&self, place: u64) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        if self.profile == Profile::Realistic {
            return Duration::from_millis(self.time_milli(place) - self.start_milli);
        }
        let rate = u64::from(self.rate);
        // The rest is below the rate, so the product stays below 2^62.
        Duration::new(place / rate, (place % rate * 1_000_000_000 / rate) as u32)
    }
}

/// What stands at one place of the traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'c> {
    /// A log record.
    Good(Row),
    /// The next of the bad messages.
    Bad(&'c [u8]),
}

/// The first `count` messages; the bad ones go round the collection.
pub fn messages<'c>(
    traffic: &Traffic,
    count: u64,
    corpus: &'c [(&'static str, Vec<u8>)],
) -> impl Iterator<Item = Message<'c>> {
    let mut bad = corpus.iter().cycle();
    (0..count).map_while(move |place| match traffic.row(place) {
        Some(row) => Some(Message::Good(row)),
        None => bad.next().map(|(_, payload)| Message::Bad(payload)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_keeps_the_average_exactly() {
        let at = |rate| Traffic {
            profile: Profile::Uniform,
            seed: 1,
            start_milli: 1_767_225_600_000,
            rate,
            bad_per_million: 0,
        };
        assert_eq!(at(3).due(0), Duration::ZERO);
        assert_eq!(at(3).due(1), Duration::from_nanos(333_333_333));
        assert_eq!(at(3).due(3_000_000_000), Duration::from_secs(1_000_000_000));
        assert_eq!(
            at(u32::MAX).due(u64::MAX).as_secs(),
            u64::MAX / u64::from(u32::MAX)
        );
        assert_eq!(at(0).due(7), Duration::ZERO);
        // The first hour of a day has 60 percent of the average.
        let realistic = Traffic {
            profile: Profile::Realistic,
            ..at(10)
        };
        assert_eq!(realistic.due(6), Duration::from_secs(1));
    }
}
