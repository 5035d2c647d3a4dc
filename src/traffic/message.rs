//! Writes messages: well-formed ones through the schema, and others word by word,
//! for what a schema compiler would never write.

use capnp::message::{Builder, HeapAllocator};
use capnp::{serialize, text};

use crate::http_log_capnp::http_log_record;

/// Words of the first segment: a message of ordinary length fits into one.
pub const SEGMENT_WORDS: u32 = 64;

/// The fields of one `HttpLogRecord`, in the order of the schema. The texts are
/// bytes, because a message may hold texts that are not UTF-8.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp_epoch_milli: u64,
    /// Any number.
    pub resource_id: u64,
    /// Bytes.
    pub bytes_sent: u64,
    /// Milliseconds.
    pub request_time_milli: u64,
    /// HTTP status.
    pub response_status: u16,
    /// For example `HIT`.
    pub cache_status: &'a [u8],
    /// For example `GET`.
    pub method: &'a [u8],
    /// Unmasked, as a client's server would log it.
    pub remote_addr: &'a [u8],
    /// The URL.
    pub url: &'a [u8],
}

impl Fields<'_> {
    /// One message, written by the schema's own builder.
    pub fn encode(&self, allocator: HeapAllocator) -> Vec<u8> {
        let mut message = Builder::new(allocator);
        let mut log = message.init_root::<http_log_record::Builder<'_>>();
        log.set_timestamp_epoch_milli(self.timestamp_epoch_milli);
        log.set_resource_id(self.resource_id);
        log.set_bytes_sent(self.bytes_sent);
        log.set_request_time_milli(self.request_time_milli);
        log.set_response_status(self.response_status);
        log.set_cache_status(text::Reader(self.cache_status));
        log.set_method(text::Reader(self.method));
        log.set_remote_addr(text::Reader(self.remote_addr));
        log.set_url(text::Reader(self.url));
        serialize::write_message_to_words(&message)
    }

    /// The data section, as words.
    pub fn data(&self) -> [u64; 5] {
        [
            self.timestamp_epoch_milli,
            self.resource_id,
            self.bytes_sent,
            self.request_time_milli,
            u64::from(self.response_status),
        ]
    }

    /// The texts, in the order of the pointer section.
    pub fn texts(&self) -> [&[u8]; 4] {
        [self.cache_status, self.method, self.remote_addr, self.url]
    }
}

/// A pointer to a struct that begins `offset` words after the pointer's end.
pub fn struct_pointer(offset: i32, data_words: u16, pointers: u16) -> u64 {
    u64::from((offset << 2) as u32) | u64::from(data_words) << 32 | u64::from(pointers) << 48
}

/// A pointer to a list of `bytes` bytes that begins `offset` words after the pointer's end.
pub fn bytes_pointer(offset: i32, bytes: u32) -> u64 {
    const LIST: u64 = 1;
    const BYTE_ELEMENTS: u64 = 2;
    LIST | u64::from((offset << 2) as u32) | (BYTE_ELEMENTS | u64::from(bytes) << 3) << 32
}

/// A far pointer to the landing pad at word `offset` of a segment: one word, or two if `double`.
pub fn far_pointer(double: bool, offset: u32, segment: u32) -> u64 {
    const FAR: u64 = 2;
    FAR | u64::from(double) << 2 | u64::from(offset) << 3 | u64::from(segment) << 32
}

/// A struct with these sections and its texts behind it, without a pointer to it.
pub fn struct_words(data: &[u64], texts: &[&[u8]]) -> Vec<u64> {
    let mut words = data.to_vec();
    words.resize(data.len() + texts.len(), 0);
    for (place, text) in texts.iter().enumerate() {
        let pointer = data.len() + place;
        words[pointer] = bytes_pointer((words.len() - pointer - 1) as i32, text.len() as u32 + 1);
        words.extend(text_words(text));
    }
    words
}

/// A text and the NUL that ends it, filled up to whole words.
pub fn text_words(text: &[u8]) -> Vec<u64> {
    let mut bytes = text.to_vec();
    bytes.resize((text.len() + 1).next_multiple_of(8), 0);
    bytes
        .chunks_exact(8)
        .map(|word| {
            word.iter()
                .rev()
                .fold(0, |all, &byte| all << 8 | u64::from(byte))
        })
        .collect()
}

/// A whole message: the segment table, then the segments.
pub fn frame(segments: &[Vec<u64>]) -> Vec<u8> {
    let mut table = vec![segments.len() as u32 - 1];
    table.extend(segments.iter().map(|segment| segment.len() as u32));
    if table.len() % 2 == 1 {
        table.push(0);
    }
    let mut bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    for segment in segments {
        bytes.extend(segment.iter().flat_map(|word| word.to_le_bytes()));
    }
    bytes
}
