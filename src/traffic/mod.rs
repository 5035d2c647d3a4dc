//! Synthetic traffic: uniform, so that nothing about it is easy to compress, or
//! realistic; in both a row follows from the arguments and its place alone, so
//! that it can be made again.
//!
//! Numbers are taken from ChaCha8's stream by arithmetic that is written here:
//! an upgrade of a random number crate must not change what a seed means (a test
//! holds the bytes to a committed hash).

pub mod corpus;
pub mod message;
mod realistic;

use std::net::Ipv4Addr;

use capnp::message::HeapAllocator;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use message::{Fields, SEGMENT_WORDS};

/// How far the clock moves from one message to the next when the rate is 0, in milliseconds.
pub const UNPACED_STEP_MILLI: u64 = 1;

/// Resource ids are drawn below this.
pub const RESOURCE_IDS: u64 = 1_000_000_000;

/// A masked address keeps 24 of its 32 bits.
pub(super) const NETWORK_IDS: u64 = 1 << 24;

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
pub(super) const SHAPES: [(&str, &str); 9] = [
    ("images", "jpg"),
    ("images", "png"),
    ("images", "webp"),
    ("video", "mp4"),
    ("video", "m3u8"),
    ("static", "js"),
    ("static", "css"),
    ("download", "zip"),
    ("api", "json"),
];

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

/// How the values of a kind of traffic are distributed, for whoever reckons with
/// them instead of drawing them.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// How many resources there are.
    pub resources: u64,
    /// Their ids lie below this.
    pub resource_ids: u64,
    /// How many objects (URLs) each of them has; none where each message has a URL
    /// of its own.
    pub objects: Option<u64>,
    /// How many networks there are: masked addresses.
    pub networks: u64,
    /// How many there could be.
    pub network_ids: u64,
    /// The `rank`-th resource, object or network is drawn in proportion to
    /// 1 / `rank`^`skew`: 0 draws all alike, 1 is Zipf's law.
    pub skew: f64,
    /// Of each status so many.
    pub statuses: Vec<u64>,
    /// Of each cache status so many.
    pub cache_states: Vec<u64>,
    /// How busy each hour of the day is, in percent of the average hour.
    pub hours: [u64; 24],
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

/// One synthetic request. Serialised, it has the names of the table's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// When it was served, in milliseconds since 1970-01-01 UTC.
    pub timestamp_milli: u64,
    /// Below [`RESOURCE_IDS`].
    pub resource_id: u64,
    /// Bytes of the response.
    pub bytes_sent: u64,
    /// How long it took, in milliseconds.
    pub request_time_milli: u64,
    /// One of eight.
    pub response_status: u16,
    /// One of seven.
    pub cache_status: &'static str,
    /// One of two.
    pub method: &'static str,
    /// Unmasked; nobody's.
    pub remote_addr: Ipv4Addr,
    /// One of nine shapes, with a random name.
    pub url: String,
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
        let name = draw.0.next_u64();
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
}

impl Row {
    /// The message that carries this row.
    pub fn encode(&self) -> Vec<u8> {
        Fields {
            timestamp_epoch_milli: self.timestamp_milli,
            resource_id: self.resource_id,
            bytes_sent: self.bytes_sent,
            request_time_milli: self.request_time_milli,
            response_status: self.response_status,
            cache_status: self.cache_status.as_bytes(),
            method: self.method.as_bytes(),
            remote_addr: self.remote_addr.to_string().as_bytes(),
            url: self.url.as_bytes(),
        }
        .encode(HeapAllocator::new().first_segment_words(SEGMENT_WORDS))
    }

    /// The row as the table will hold it, but for its address, which is not masked.
    pub fn expected(&self) -> Expected<'_> {
        Expected {
            timestamp: self.timestamp_milli / 1000,
            resource_id: self.resource_id,
            bytes_sent: self.bytes_sent,
            request_time_milli: self.request_time_milli,
            response_status: self.response_status,
            cache_status: self.cache_status,
            method: self.method,
            remote_addr: self.remote_addr,
            url: &self.url,
        }
    }
}

/// A row under the names of the table's columns; the address is **not** masked.
#[derive(Debug, Serialize)]
pub struct Expected<'a> {
    timestamp: u64,
    resource_id: u64,
    bytes_sent: u64,
    request_time_milli: u64,
    response_status: u16,
    cache_status: &'a str,
    method: &'a str,
    remote_addr: Ipv4Addr,
    url: &'a str,
}

/// The numbers of one place: a ChaCha8 stream of its own under the seed's key.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64, place: u64) -> Self {
        Self::under(*b"spoolhouse synthetic traffic v1.", seed, place)
    }

    /// The numbers of a thing that many messages speak of.
    pub(super) fn of_catalogue(seed: u64, thing: u64) -> Self {
        Self::under(*b"spoolhouse synthetic objects v1.", seed, thing)
    }

    fn under(mut key: [u8; 32], seed: u64, place: u64) -> Self {
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut stream = ChaCha8Rng::from_seed(key);
        stream.set_stream(place);
        Self(stream)
    }

    /// Uniform over `0..end`, but for a bias below `end` / 2^64.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(end)) >> 64) as u64
    }

    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
