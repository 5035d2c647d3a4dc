//! What the rows of both kinds of traffic are made of: the row itself and its
//! message, the numbers it is drawn from, and the shape of the distributions.
//!
//! Numbers are taken from ChaCha8's stream by arithmetic that is written here:
//! an upgrade of a random number crate must not change what a seed means (a test
//! holds the bytes to a committed hash).

use std::net::Ipv4Addr;

use capnp::message::HeapAllocator;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use super::message::{Fields, SEGMENT_WORDS};

/// A masked address keeps 24 of its 32 bits.
pub(super) const NETWORK_IDS: u64 = 1 << 24;

/// Directory and extension of a URL.
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

/// One synthetic request. Serialised, it has the names of the table's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// When it was served, in milliseconds since 1970-01-01 UTC.
    pub timestamp_milli: u64,
    /// Below [`RESOURCE_IDS`](super::RESOURCE_IDS).
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
    /// The numbers of the message at this place.
    pub(super) fn new(seed: u64, place: u64) -> Self {
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

    /// Any number.
    pub(super) fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
