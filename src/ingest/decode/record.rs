//! One Kafka message into one masked row.
//!
//! A message is exactly one unpacked Cap'n Proto `HttpLogRecord`. Any bytes are
//! taken: what is no record is [`Undecodable`] for a stated reason, and nothing
//! is decoded in part. The address is masked here, so a [`Record`] never holds a
//! raw one; texts stay in the message unless they have to be repaired.
//!
//! Valid and therefore stored: several segments, later versions of the schema
//! with more fields, earlier ones with fewer, buffers without alignment.

use std::borrow::Cow;

use capnp::message::ReaderOptions;
use capnp::{ErrorKind, any_pointer, serialize};

use super::anonymize::{self, Masked};
use crate::http_log_capnp::http_log_record;

/// Longest message that is decoded, in bytes. Far above what a broker admits; it
/// keeps one row well below what a column of texts can hold.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// How many words more than the message has a reader may visit. A well-formed
/// message needs none; small texts that overlap do no harm.
const TRAVERSAL_SLACK_WORDS: usize = 8;

const BYTES_PER_WORD: usize = 8;

/// One masked row. Borrows its texts from the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'m> {
    /// When the request was served, whole seconds since 1970-01-01 UTC; milliseconds are cut off.
    pub timestamp: u32,
    /// The resource that was asked for.
    pub resource_id: u64,
    /// Bytes of the response.
    pub bytes_sent: u64,
    /// How long the request took, in milliseconds.
    pub request_time_milli: u64,
    /// HTTP status.
    pub response_status: u16,
    /// For example `HIT` or `MISS`.
    pub cache_status: Cow<'m, str>,
    /// HTTP method.
    pub method: Cow<'m, str>,
    /// The client's address, masked.
    pub remote_addr: Masked,
    /// The URL asked for; bytes that are not UTF-8 are percent-encoded.
    pub url: Cow<'m, str>,
    /// How many of the texts other than `url` were not UTF-8 (0 to 3): `cache_status`
    /// and `method` then hold U+FFFD, `remote_addr` is `X`.
    pub texts_replaced: u8,
}

/// Why a message is no `HttpLogRecord`. The messages hold nothing of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Undecodable {
    /// There are no bytes.
    #[error("the message is empty")]
    Empty,
    /// Longer than [`MESSAGE_BYTES_MAX`].
    #[error("the message is longer than {} MiB", MESSAGE_BYTES_MAX >> 20)]
    TooLong,
    /// The number of segments is absurd. Typical of bytes that are not Cap'n Proto, or packed.
    #[error("the message does not begin with a segment table")]
    SegmentTable,
    /// The segment table promises more bytes than there are.
    #[error("the message is shorter than its segment table says")]
    Truncated,
    /// There are more bytes than the segment table promises; they could be a second record.
    #[error("bytes are left over after the message")]
    LeftOver,
    /// The root pointer is null.
    #[error("there is no record in the message: its root pointer is null")]
    NoRecord,
    /// A pointer leads out of its segment, or into one that does not exist.
    #[error("a pointer leads out of the message")]
    OutOfBounds,
    /// A pointer leads to something other than the schema says.
    #[error("a pointer leads to another kind of value than the schema says")]
    WrongKind,
    /// A text does not end with NUL, as the encoding demands.
    #[error("a text is not terminated")]
    Unterminated,
    /// Pointers that overlap make reading the message cost more than its size.
    #[error("the message would have to be read several times over: its pointers overlap")]
    Amplified,
    /// The time is past 2106-02-07T06:28:15Z.
    #[error("the time is past 2106-02-07T06:28:15Z, the last that a DateTime holds")]
    TimeOutOfRange,
    /// Any other violation of the encoding.
    #[error("the message violates the Cap'n Proto encoding")]
    Malformed,
}

impl Undecodable {
    /// Every reason, so that a counter can be shown for each before it first occurs.
    pub const ALL: [Self; 12] = [
        Self::Empty,
        Self::TooLong,
        Self::SegmentTable,
        Self::Truncated,
        Self::LeftOver,
        Self::NoRecord,
        Self::OutOfBounds,
        Self::WrongKind,
        Self::Unterminated,
        Self::Amplified,
        Self::TimeOutOfRange,
        Self::Malformed,
    ];

    /// A short name for metrics and columns. Never changes once released.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::SegmentTable => "segment_table",
            Self::Truncated => "truncated",
            Self::LeftOver => "left_over",
            Self::NoRecord => "no_record",
            Self::OutOfBounds => "out_of_bounds",
            Self::WrongKind => "wrong_kind",
            Self::Unterminated => "unterminated",
            Self::Amplified => "amplified",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::Malformed => "malformed",
        }
    }
}

impl From<capnp::Error> for Undecodable {
    fn from(error: capnp::Error) -> Self {
        match error.kind {
            ErrorKind::InvalidNumberOfSegments(_) => Self::SegmentTable,
            ErrorKind::EmptySlice
            | ErrorKind::MessageEndsPrematurely(..)
            | ErrorKind::MessageSizeOverflow
            | ErrorKind::MessageTooLarge(_) => Self::Truncated,
            ErrorKind::InvalidSegmentId(_)
            | ErrorKind::MalformedDoubleFarPointer
            | ErrorKind::MessageContainsOutOfBoundsPointer => Self::OutOfBounds,
            ErrorKind::MessageContainsNonStructPointerWhereStructPointerWasExpected
            | ErrorKind::MessageContainsNonListPointerWhereTextWasExpected
            | ErrorKind::MessageContainsListPointerOfNonBytesWhereTextWasExpected => {
                Self::WrongKind
            }
            ErrorKind::MessageContainsTextThatIsNotNULTerminated => Self::Unterminated,
            ErrorKind::ReadLimitExceeded => Self::Amplified,
            _ => Self::Malformed,
        }
    }
}

/// Decodes and masks one message.
///
/// # Errors
///
/// [`Undecodable`] when the bytes are anything but one whole `HttpLogRecord`
/// whose time fits a `DateTime`.
pub fn decode(message: &[u8]) -> Result<Record<'_>, Undecodable> {
    if message.is_empty() {
        return Err(Undecodable::Empty);
    }
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Undecodable::TooLong);
    }
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(message.len() / BYTES_PER_WORD + TRAVERSAL_SLACK_WORDS));
    let mut left_over = message;
    let reader = serialize::read_message_from_flat_slice_no_alloc(&mut left_over, options)?;
    if !left_over.is_empty() {
        return Err(Undecodable::LeftOver);
    }
    let root = reader.get_root::<any_pointer::Reader<'_>>()?;
    if root.is_null() {
        return Err(Undecodable::NoRecord);
    }
    let log = root.get_as::<http_log_record::Reader<'_>>()?;
    let timestamp = u32::try_from(log.get_timestamp_epoch_milli() / 1000)
        .map_err(|_| Undecodable::TimeOutOfRange)?;

    let mut texts_replaced = 0;
    let cache_status = repaired(
        within(message, log.get_cache_status()?.0)?,
        &mut texts_replaced,
    );
    let method = repaired(within(message, log.get_method()?.0)?, &mut texts_replaced);
    let raw_address = log.get_remote_addr()?.0;
    if str::from_utf8(raw_address).is_err() {
        texts_replaced += 1;
    }
    Ok(Record {
        timestamp,
        resource_id: log.get_resource_id(),
        bytes_sent: log.get_bytes_sent(),
        request_time_milli: log.get_request_time_milli(),
        response_status: log.get_response_status(),
        cache_status,
        method,
        remote_addr: anonymize::mask(raw_address),
        url: percent_encoded(within(message, log.get_url()?.0)?),
        texts_replaced,
    })
}

/// The same bytes, borrowed from the message itself rather than from its reader,
/// which does not outlive [`decode`].
fn within<'m>(message: &'m [u8], text: &[u8]) -> Result<&'m [u8], Undecodable> {
    if text.is_empty() {
        // The text of a null pointer lies outside the message.
        return Ok(&[]);
    }
    let start = (text.as_ptr() as usize).wrapping_sub(message.as_ptr() as usize);
    message
        .get(start..start.wrapping_add(text.len()))
        .ok_or(Undecodable::OutOfBounds)
}

fn repaired<'m>(text: &'m [u8], replaced: &mut u8) -> Cow<'m, str> {
    // Nearly every text is UTF-8, and this check is the faster one.
    if let Ok(text) = str::from_utf8(text) {
        return Cow::Borrowed(text);
    }
    *replaced += 1;
    String::from_utf8_lossy(text)
}

/// Percent-encodes the bytes that are not UTF-8 and leaves the rest as it is.
fn percent_encoded(text: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(text) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 32);
    for chunk in text.utf8_chunks() {
        encoded.push_str(chunk.valid());
        for &byte in chunk.invalid() {
            encoded.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
    Cow::Owned(encoded)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own() {
        let codes: HashSet<_> = Undecodable::ALL
            .iter()
            .map(|reason| reason.code())
            .collect();
        assert_eq!(codes.len(), Undecodable::ALL.len());
    }

    #[test]
    fn only_the_bytes_that_are_not_utf8_are_percent_encoded() {
        assert_eq!(percent_encoded(b"/a%20b"), "/a%20b");
        assert_eq!(percent_encoded("/\u{e9}".as_bytes()), "/\u{e9}");
        assert_eq!(
            percent_encoded(b"/\xe9/\xff\xfe?\xc3\xa9"),
            "/%E9/%FF%FE?\u{e9}"
        );
        assert_eq!(percent_encoded(b"\xf0\x9f"), "%F0%9F");
    }
}
