//! The messages of the simulated topic. What a message holds follows from which one it
//! is, so that anybody who finds its row knows what must be in it, and nothing has to be
//! remembered: a row's resource id names its message.
//!
//! Every incarnation of the topic has a texture of its own: how many of its messages can't
//! be decoded, and which offsets hold no message at all.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use capnp::message::{Builder, HeapAllocator};
use capnp::{serialize, text};
use spoolhouse::http_log_capnp::http_log_record;

const OFFSETS_MAX: u64 = 10_000_000;
const PARTITIONS_MAX: u64 = 100;

/// 20 s before a midnight (UTC): early batches cross it, and with it a partition of the table.
const TIME_OF_FIRST: u64 = 1_767_225_580;

/// Messages with times in the same second.
const OFFSETS_PER_SECOND: u64 = 8;

/// Which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// How often the topic was created before.
    pub incarnation: u32,
    pub partition: i32,
    pub offset: i64,
}

/// What stands at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Record,
    Undecodable,
    /// Nothing: a transaction's marker, or what compaction left out.
    Hole,
}

/// The row that a record becomes: the nine columns, masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub timestamp: u32,
    pub resource_id: u64,
    pub bytes_sent: u64,
    pub request_time_milli: u64,
    pub response_status: u16,
    pub cache_status: String,
    pub method: String,
    pub remote_addr: String,
    pub url: String,
}

/// One message, made once.
#[derive(Debug)]
pub struct Made {
    /// `None` for a message without a value.
    pub payload: Option<Bytes>,
    /// Of a record.
    pub row: Option<Row>,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.incarnation, self.partition, self.offset)
    }
}

impl MessageId {
    /// The resource id that names it.
    pub fn resource_id(self) -> u64 {
        (u64::from(self.incarnation) * PARTITIONS_MAX + self.partition as u64) * OFFSETS_MAX
            + self.offset as u64
    }

    /// The message that a resource id names.
    pub fn of_resource_id(id: u64) -> Self {
        let partition = id / OFFSETS_MAX;
        Self {
            incarnation: (partition / PARTITIONS_MAX) as u32,
            partition: (partition % PARTITIONS_MAX) as i32,
            offset: (id % OFFSETS_MAX) as i64,
        }
    }

    /// The id that Kafka gives the topic's incarnation.
    pub fn topic_id(incarnation: u32) -> String {
        format!("topic-{incarnation}")
    }

    /// The incarnation that has this id.
    pub fn incarnation_of(topic_id: &str) -> Option<u32> {
        topic_id.strip_prefix("topic-")?.parse().ok()
    }

    /// What stands there.
    pub fn kind(self) -> Kind {
        let (offset, noise) = (self.offset, self.noise(0));
        let (bad_of_100, bad_run, holes_of_100) = match self.incarnation % 4 {
            0 => (0, 0..0, 0),
            1 => (9, 30..40, 2),
            2 => (25, 20..70, 0),
            _ => (3, 0..0, 12),
        };
        if noise % 100 < holes_of_100 {
            Kind::Hole
        } else if bad_run.contains(&offset) || noise / 100 % 100 < bad_of_100 {
            Kind::Undecodable
        } else {
            Kind::Record
        }
    }

    /// The message itself.
    pub fn make(self) -> Rc<Made> {
        thread_local!(static MADE: RefCell<HashMap<u64, Rc<Made>>> = RefCell::default());
        MADE.with_borrow_mut(|made| {
            let made = made.entry(self.resource_id());
            made.or_insert_with(|| Rc::new(self.make_anew())).clone()
        })
    }

    fn make_anew(self) -> Made {
        let kind = self.kind();
        let (payload, row) = match kind {
            Kind::Hole => (None, None),
            Kind::Undecodable => (self.garbage(), None),
            Kind::Record => {
                let (row, payload) = self.record();
                (Some(payload), Some(row))
            }
        };
        Made { payload, row }
    }

    fn record(self) -> (Row, Bytes) {
        let pick = |of: &[&'static [u8]], noise: u64| of[(noise % of.len() as u64) as usize];
        let (address, remote_addr) = address(self.noise(1));
        let second = TIME_OF_FIRST + self.offset as u64 / OFFSETS_PER_SECOND;
        let cache_status = pick(
            &[b"HIT", b"HIT", b"MISS", b"EXPIRED", b"", b"\xffHIT"],
            self.noise(2),
        );
        let method = pick(&[b"GET", b"GET", b"GET", b"HEAD", b"POST"], self.noise(3));
        // One in 16 is not UTF-8, and comes out percent-encoded.
        let (url, url_stored) = match self.noise(4) {
            noise if noise.is_multiple_of(16) => {
                let stem = format!("/caf%C3%A9/{noise:x}");
                ([stem.as_bytes(), b"\xe9"].concat(), format!("{stem}%E9"))
            }
            noise => {
                let url = format!("/img/{:08x}.png", noise as u32);
                (url.clone().into_bytes(), url)
            }
        };
        let row = Row {
            timestamp: second as u32,
            resource_id: self.resource_id(),
            bytes_sent: self.noise(5) % 1_000_000_000,
            request_time_milli: self.noise(6) % 100_000,
            response_status: [200, 200, 200, 304, 404, 502][(self.noise(7) % 6) as usize],
            cache_status: String::from_utf8_lossy(cache_status).into_owned(),
            method: String::from_utf8_lossy(method).into_owned(),
            remote_addr,
            url: url_stored,
        };
        let mut message = Builder::new(HeapAllocator::new().first_segment_words(64));
        let mut log = message.init_root::<http_log_record::Builder<'_>>();
        log.set_timestamp_epoch_milli(second * 1_000 + self.noise(8) % 1_000);
        log.set_resource_id(row.resource_id);
        log.set_bytes_sent(row.bytes_sent);
        log.set_request_time_milli(row.request_time_milli);
        log.set_response_status(row.response_status);
        log.set_cache_status(text::Reader(cache_status));
        log.set_method(text::Reader(method));
        log.set_remote_addr(text::Reader(address.as_bytes()));
        log.set_url(text::Reader(&url));
        (row, serialize::write_message_to_words(&message).into())
    }

    /// Bytes that are no record, each time others.
    fn garbage(self) -> Option<Bytes> {
        let mut whole = self.record().1.to_vec();
        let noise = self.noise(9);
        let bytes = match noise % 6 {
            0 => return None,
            1 => Vec::new(),
            2 => format!("not Cap'n Proto, of {self} from 192.0.2.{}", noise % 256).into_bytes(),
            3 => {
                whole.truncate(whole.len() / 2);
                whole
            }
            4 => {
                whole.extend_from_slice(&noise.to_le_bytes());
                whole
            }
            // A segment of one word, and that is a null pointer.
            _ => [0_u32, 1, 0, 0]
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect(),
        };
        Some(bytes.into())
    }

    /// A number that follows from the message and `salt`.
    fn noise(self, salt: u64) -> u64 {
        let mut bits = self
            .resource_id()
            .wrapping_add((salt + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }
}

/// An address as a server logs it, and what may be stored of it.
fn address(noise: u64) -> (String, String) {
    let [a, b, c, d, e, f, g, _] = noise.to_be_bytes();
    match g % 12 {
        0 => ("unknown".to_owned(), "X".to_owned()),
        1 => (format!("{a}.{b}.{c}.{d}:{e}"), format!("{a}.{b}.{c}.X")),
        2 => (
            format!("::ffff:{a}.{b}.{c}.{d}"),
            format!("::ffff:{a}.{b}.{c}.X"),
        ),
        3 | 4 => {
            let site = u16::from_be_bytes([a, b]) | 1;
            (
                format!("2001:db8:{site:x}:{c:x}::{d:x}{e:02x}"),
                format!("2001:db8:{site:x}::X"),
            )
        }
        5 => (format!("{a}.{b}.{c}.{d}.{f}"), "X".to_owned()),
        _ => (format!("{a}.{b}.{c}.{d}"), format!("{a}.{b}.{c}.X")),
    }
}

/// Whether this is an address in one of the masked forms, by a rule of its own: nothing
/// of what masks is asked.
pub fn is_masked(address: &str) -> bool {
    let Some(kept) = address.strip_suffix('X') else {
        return false;
    };
    let v4 = |octets: &str| {
        let octets: Vec<&str> = octets.split('.').collect();
        octets.len() == 4
            && octets[3].is_empty()
            && octets[..3].iter().all(|o| o.parse::<u8>().is_ok())
    };
    let v6 = |groups: &str| {
        let groups: Vec<&str> = groups
            .split(':')
            .filter(|group| !group.is_empty())
            .collect();
        groups.len() <= 3
            && groups
                .iter()
                .all(|group| u16::from_str_radix(group, 16).is_ok())
    };
    match kept.strip_prefix("::ffff:") {
        _ if kept.is_empty() => true,
        Some(octets) => v4(octets),
        None => v4(kept) || kept.strip_suffix("::").is_some_and(v6),
    }
}

#[cfg(test)]
mod tests {
    use spoolhouse::ingest::decode::anonymize::mask;
    use spoolhouse::ingest::decode::record::decode;

    use super::*;

    fn all() -> impl Iterator<Item = MessageId> {
        (0..8).flat_map(|incarnation| {
            (0..300).map(move |offset| MessageId {
                incarnation,
                partition: (offset % 3) as i32,
                offset,
            })
        })
    }

    #[test]
    fn a_record_decodes_to_its_row_and_garbage_does_not_decode() {
        for id in all() {
            let made = id.make();
            let decoded = decode(made.payload.as_deref().unwrap_or_default());
            let Some(row) = &made.row else {
                assert!(decoded.is_err(), "{id}");
                continue;
            };
            let record = decoded.unwrap();
            let seen = Row {
                timestamp: record.timestamp,
                resource_id: record.resource_id,
                bytes_sent: record.bytes_sent,
                request_time_milli: record.request_time_milli,
                response_status: record.response_status,
                cache_status: record.cache_status.into_owned(),
                method: record.method.into_owned(),
                remote_addr: record.remote_addr.to_string(),
                url: record.url.into_owned(),
            };
            assert_eq!(seen, *row, "{id}");
            assert!(is_masked(&row.remote_addr), "{}", row.remote_addr);
            assert_eq!(MessageId::of_resource_id(id.resource_id()), id);
        }
    }

    #[test]
    fn every_kind_occurs_and_a_raw_address_is_not_masked() {
        let count = |kind| all().filter(|id| id.kind() == kind).count();
        assert!(count(Kind::Hole) > 20 && count(Kind::Undecodable) > 100);
        for noise in 0..1_000_u64 {
            let (raw, masked) = address(noise.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert!(!is_masked(&raw), "{raw}");
            assert_eq!(mask(raw.as_bytes()).as_str(), masked, "{raw}");
        }
    }
}
