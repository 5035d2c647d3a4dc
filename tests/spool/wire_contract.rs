//! Which bytes are an `HttpLogRecord`, and what row they become.

use std::collections::HashMap;

use proptest::prelude::*;
use spoolhouse::ingest::decode::anonymize::mask;
use spoolhouse::ingest::decode::record::{Record, Undecodable, decode};
use spoolhouse::traffic::corpus::{ODD_ADDRESSES, ORDINARY, bad_messages, long_url, odd_messages};

fn ordinary() -> Record<'static> {
    Record {
        timestamp: 1_700_000_000,
        resource_id: 1_001,
        bytes_sent: 2_002,
        request_time_milli: 3_003,
        response_status: 206,
        cache_status: "HIT".into(),
        method: "GET".into(),
        remote_addr: mask(b"192.0.2.77"),
        url: "https://cdn.example/images/00ff00ff00ff00ff.jpg".into(),
        texts_replaced: 0,
    }
}

fn nothing() -> Record<'static> {
    Record {
        timestamp: 0,
        resource_id: 0,
        bytes_sent: 0,
        request_time_milli: 0,
        response_status: 0,
        cache_status: "".into(),
        method: "".into(),
        remote_addr: mask(b""),
        url: "".into(),
        texts_replaced: 0,
    }
}

fn expected_of(name: &str) -> Record<'static> {
    if let Some((_, _, masked)) = ODD_ADDRESSES.iter().find(|odd| odd.0 == name) {
        let row = Record {
            remote_addr: mask(masked.as_bytes()),
            ..ordinary()
        };
        assert_eq!(row.remote_addr.as_str(), *masked);
        return row;
    }
    match name {
        "several segments"
        | "a segment for every object"
        | "a double far pointer"
        | "an empty segment at the end"
        | "unknown later fields" => ordinary(),
        "an earlier schema without texts" => Record {
            timestamp: 1_700_000_000,
            resource_id: 1_001,
            ..nothing()
        },
        "a struct of no size" | "all-zero fields" | "null texts" => nothing(),
        "empty texts" => Record {
            cache_status: "".into(),
            method: "".into(),
            remote_addr: mask(b""),
            url: "".into(),
            ..ordinary()
        },
        "a 500 KiB url" => Record {
            url: String::from_utf8(long_url()).expect("it is ASCII").into(),
            ..ordinary()
        },
        "greatest values" => Record {
            timestamp: u32::MAX,
            resource_id: u64::MAX,
            bytes_sent: u64::MAX,
            request_time_milli: u64::MAX,
            response_status: u16::MAX,
            ..ordinary()
        },
        "texts that are not UTF-8" => Record {
            cache_status: "HI\u{fffd}T".into(),
            method: "\u{fffd}(".into(),
            remote_addr: mask(b"no address"),
            url: "/caf%E9/%41?\u{e9}=%FF%FE".into(),
            texts_replaced: 3,
            ..ordinary()
        },
        "NUL and line ends in texts" => Record {
            method: "G\0T".into(),
            url: "/a\r\n\0b\t\"c\\".into(),
            ..ordinary()
        },
        other => panic!("no expectation for {other:?}"),
    }
}

#[test]
fn a_bad_message_is_undecodable_for_the_reason_it_was_made_for() {
    let reasons = HashMap::from([
        ("random bytes", Undecodable::SegmentTable),
        ("truncated", Undecodable::Truncated),
        ("packed", Undecodable::SegmentTable),
        ("empty", Undecodable::Empty),
        ("a blob of 1,000,000 bytes", Undecodable::SegmentTable),
        ("a far pointer out of bounds", Undecodable::OutOfBounds),
        ("built to amplify traversal", Undecodable::Amplified),
        (
            "a far pointer to a segment that is not there",
            Undecodable::OutOfBounds,
        ),
        ("a text out of bounds", Undecodable::OutOfBounds),
        ("a text that is not terminated", Undecodable::Unterminated),
        ("a struct where a text belongs", Undecodable::WrongKind),
        ("a list for a root", Undecodable::WrongKind),
        ("a null root pointer", Undecodable::NoRecord),
        ("no words at all", Undecodable::OutOfBounds),
        ("two records", Undecodable::LeftOver),
        ("a byte too many", Undecodable::LeftOver),
        (
            "a time that DateTime can't hold",
            Undecodable::TimeOutOfRange,
        ),
        ("JSON", Undecodable::SegmentTable),
    ]);
    let bad = bad_messages();
    assert_eq!(bad.len(), reasons.len());
    for (name, message) in bad {
        assert_eq!(decode(&message), Err(reasons[name]), "{name}");
    }
}

#[test]
fn an_odd_message_is_decoded_in_full() {
    for (name, message) in odd_messages() {
        let record = decode(&message).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(record, expected_of(name), "{name}");
    }
}

#[test]
fn a_message_need_not_be_aligned() {
    for (name, message) in odd_messages() {
        for shift in 0..8 {
            let shifted = [&vec![0xff; shift], message.as_slice()].concat();
            assert_eq!(
                decode(&shifted[shift..]),
                Ok(expected_of(name)),
                "{name}, {shift}"
            );
        }
    }
}

#[test]
fn a_message_cut_anywhere_is_undecodable() {
    for (name, message) in odd_messages() {
        for end in 0..message.len().min(2_000) {
            assert!(decode(&message[..end]).is_err(), "{name}, {end}");
        }
    }
}

#[test]
fn texts_are_borrowed_from_the_message() {
    for (name, message) in odd_messages() {
        let record = decode(&message).expect("it is valid");
        let borrowed = matches!(record.url, std::borrow::Cow::Borrowed(_));
        assert_eq!(borrowed, name != "texts that are not UTF-8", "{name}");
    }
}

#[test]
fn a_record_never_holds_the_raw_address() {
    let (_, message) = &odd_messages()[0];
    let record = decode(message).expect("it is valid");
    let raw = str::from_utf8(ORDINARY.remote_addr).expect("it is ASCII");
    assert!(!format!("{record:?}").contains(raw));
}

/// Bytes that get past the segment table: a plausible table, then random words
/// with a preference for things that look like pointers.
fn framed() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        2 => any::<u64>(),
        1 => Just(0),
        // Pointers of each kind with small offsets and sizes.
        3 => (0u64..4, -8i64..40, any::<u32>()).prop_map(|(kind, offset, high)| {
            kind | (((offset << 2) as u32) as u64) | u64::from(high) << 32
        }),
        3 => (0u64..4, -8i64..40, 0u64..8, 0u64..600).prop_map(|(kind, offset, low, rest)| {
            kind | (((offset << 2) as u32) as u64) | (low | rest << 3) << 32
        }),
        3 => (-4i64..20, 0u64..9, 0u64..9).prop_map(|(offset, data, pointers)| {
            ((offset << 2) as u32) as u64 | data << 32 | pointers << 48
        }),
    ];
    let segment = prop::collection::vec(word, 0..40);
    prop::collection::vec(segment, 1..5)
        .prop_map(|segments| spoolhouse::traffic::message::frame(&segments))
}

/// Valid messages with a few bytes changed.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let valid: Vec<_> = odd_messages()
        .into_iter()
        .chain(bad_messages())
        .map(|(_, message)| message)
        .filter(|message| (1..2_000).contains(&message.len()))
        .collect();
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (
        prop::sample::select(valid),
        prop::collection::vec(change, 1..6),
    )
        .prop_map(|(mut message, changes)| {
            for (place, byte) in changes {
                let place = place.index(message.len());
                message[place] = byte;
            }
            message
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes_are_a_record_or_undecodable(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    #[test]
    fn any_segments_are_a_record_or_undecodable(bytes in framed()) {
        check(&bytes);
    }

    #[test]
    fn any_change_leaves_a_record_or_undecodable(bytes in mutated()) {
        check(&bytes);
    }
}

/// Decoding ends without a panic, the same way twice, in masked form, and costs
/// no more text than the message has bytes (times three for what is replaced).
fn check(bytes: &[u8]) {
    let decoded = decode(bytes);
    assert_eq!(decoded, decode(bytes));
    if let Ok(record) = decoded {
        let masked = record.remote_addr.as_str();
        assert_eq!(mask(masked.as_bytes()).as_str(), masked);
        let texts = record.url.len() + record.method.len() + record.cache_status.len();
        assert!(
            texts <= 3 * (bytes.len() + 64),
            "{texts} of {}",
            bytes.len()
        );
    }
}
