//! Two fixed collections: messages that are no `HttpLogRecord`, and messages that
//! are one although they look unusual. The producer sends the first, tests use both.

use capnp::message::{AllocationStrategy, Builder, HeapAllocator};
use capnp::serialize_packed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::message::{
    Fields, SEGMENT_WORDS, bytes_pointer, far_pointer, frame, struct_pointer, struct_words,
    text_words,
};
use crate::http_log_capnp::http_log_record;

/// Length of the largest bad message, in bytes. A stock broker admits 1,048,588.
pub const BLOB_BYTES: usize = 1_000_000;

/// Length of the longest URL among the odd messages, in bytes.
pub const LONG_URL_BYTES: usize = 500 << 10;

/// The row that odd messages hold wherever their name does not say otherwise.
pub const ORDINARY: Fields<'static> = Fields {
    timestamp_epoch_milli: 1_700_000_000_999,
    resource_id: 1_001,
    bytes_sent: 2_002,
    request_time_milli: 3_003,
    response_status: 206,
    cache_status: b"HIT",
    method: b"GET",
    remote_addr: b"192.0.2.77",
    url: b"https://cdn.example/images/00ff00ff00ff00ff.jpg",
};

/// Messages that are no `HttpLogRecord`, each with the name of what is wrong with it.
pub fn bad_messages() -> Vec<(&'static str, Vec<u8>)> {
    let whole = one_segment(&ORDINARY);
    let ordinary = struct_words(&ORDINARY.data(), &ORDINARY.texts());
    vec![
        ("random bytes", random_bytes(1, 333)),
        ("truncated", whole[..whole.len() - 9].to_vec()),
        ("packed", packed()),
        ("empty", Vec::new()),
        ("a blob of 1,000,000 bytes", random_bytes(2, BLOB_BYTES)),
        ("a far pointer out of bounds", {
            frame(&[vec![far_pointer(false, 0x1000_0000, 0)]])
        }),
        ("built to amplify traversal", amplifying()),
        ("a far pointer to a segment that is not there", {
            frame(&[vec![far_pointer(false, 0, 7)]])
        }),
        ("a text out of bounds", {
            let mut words = ordinary.clone();
            words[8] = bytes_pointer(0, 1 << 20);
            rooted(5, 4, words)
        }),
        ("a text that is not terminated", {
            let mut words = vec![0; 8];
            words.push(bytes_pointer(0, 8));
            words.push(u64::from_le_bytes(*b"no end !"));
            rooted(5, 4, words)
        }),
        ("a struct where a text belongs", {
            let mut words = vec![0; 9];
            words[8] = struct_pointer(-1, 0, 0);
            rooted(5, 4, words)
        }),
        ("a list for a root", {
            let mut words = vec![bytes_pointer(0, 6)];
            words.extend(text_words(b"/root"));
            frame(&[words])
        }),
        ("a null root pointer", frame(&[vec![0]])),
        ("no words at all", frame(&[vec![]])),
        ("two records", [whole.as_slice(), &whole].concat()),
        ("a byte too many", [whole.as_slice(), b"\0"].concat()),
        ("a time that DateTime can't hold", {
            one_segment(&Fields {
                timestamp_epoch_milli: (u64::from(u32::MAX) + 1) * 1000,
                ..ORDINARY
            })
        }),
        (
            "JSON",
            br#"{"url":"/","remote_addr":"192.0.2.77"}"#.to_vec(),
        ),
    ]
}

/// Messages that are an `HttpLogRecord` and must be stored, each with the name of
/// what is unusual about it. What is not named is as in [`ORDINARY`].
pub fn odd_messages() -> Vec<(&'static str, Vec<u8>)> {
    let fixed = |words| {
        HeapAllocator::new()
            .first_segment_words(words)
            .allocation_strategy(AllocationStrategy::FixedSize)
    };
    let ordinary = struct_words(&ORDINARY.data(), &ORDINARY.texts());
    let long_url = long_url();
    let mut odd = vec![
        ("several segments", ORDINARY.encode(fixed(12))),
        ("a segment for every object", ORDINARY.encode(fixed(1))),
        ("a double far pointer", {
            frame(&[
                vec![far_pointer(true, 0, 1)],
                vec![far_pointer(false, 0, 2), struct_pointer(0, 5, 4)],
                ordinary.clone(),
            ])
        }),
        ("an empty segment at the end", {
            let mut words = vec![struct_pointer(0, 5, 4)];
            words.extend(&ordinary);
            frame(&[words, vec![]])
        }),
        ("unknown later fields", {
            let mut data = ORDINARY.data().to_vec();
            data[4] |= 0xdead_beef_0000;
            data.extend([u64::MAX, 42]);
            let mut texts = ORDINARY.texts().to_vec();
            texts.extend([b"HTTP/3".as_slice(), b"later"]);
            rooted(7, 6, struct_words(&data, &texts))
        }),
        ("an earlier schema without texts", {
            rooted(2, 0, ORDINARY.data()[..2].to_vec())
        }),
        ("a struct of no size", {
            frame(&[vec![struct_pointer(-1, 0, 0)]])
        }),
        ("all-zero fields", one_segment(&Fields::default())),
        ("null texts", rooted(5, 4, vec![0; 9])),
        ("empty texts", {
            one_segment(&Fields {
                cache_status: b"",
                method: b"",
                remote_addr: b"",
                url: b"",
                ..ORDINARY
            })
        }),
        ("a 500 KiB url", {
            one_segment(&Fields {
                url: &long_url,
                ..ORDINARY
            })
        }),
        ("greatest values", {
            one_segment(&Fields {
                timestamp_epoch_milli: u64::from(u32::MAX) * 1000 + 999,
                resource_id: u64::MAX,
                bytes_sent: u64::MAX,
                request_time_milli: u64::MAX,
                response_status: u16::MAX,
                ..ORDINARY
            })
        }),
        ("texts that are not UTF-8", {
            one_segment(&Fields {
                cache_status: b"HI\xffT",
                method: b"\xc3(",
                remote_addr: b"192.0.2.\xb7",
                url: b"/caf\xe9/%41?\xc3\xa9=\xff\xfe",
                ..ORDINARY
            })
        }),
        ("NUL and line ends in texts", {
            one_segment(&Fields {
                method: b"G\0T",
                url: b"/a\r\n\0b\t\"c\\",
                ..ORDINARY
            })
        }),
    ];
    odd.extend(ODD_ADDRESSES.map(|(name, address, _)| {
        let remote_addr = address.as_bytes();
        (
            name,
            one_segment(&Fields {
                remote_addr,
                ..ORDINARY
            }),
        )
    }));
    odd
}

/// Addresses of odd messages: the message's name, the address, the address masked.
pub const ODD_ADDRESSES: [(&str, &str, &str); 12] = [
    (
        "IPv6",
        "2001:db8:85a3:8d3:1319:8a2e:370:7348",
        "2001:db8:85a3::X",
    ),
    ("IPv6 loopback", "::1", "::X"),
    (
        "IPv4-mapped IPv6",
        "::ffff:198.51.100.23",
        "::ffff:198.51.100.X",
    ),
    ("6to4", "2002:c633:6417::1", "2002:c633:6400::X"),
    ("IPv4 with a port", "198.51.100.23:51234", "198.51.100.X"),
    ("IPv6 with a port", "[2001:db8:77::7]:443", "2001:db8:77::X"),
    ("IPv6 with a zone", "fe80::7%eth0", "fe80::X"),
    (
        "an address that is masked already",
        "198.51.100.X",
        "198.51.100.X",
    ),
    ("a host name for an address", "client-23.example", "X"),
    ("an address cut short", "198.51.100", "X"),
    ("two addresses", "198.51.100.23, 203.0.113.9", "X"),
    ("an octet too large", "198.51.100.256", "X"),
];

/// The URL of "a 500 KiB url".
pub fn long_url() -> Vec<u8> {
    let mut url = b"https://cdn.example/search?q=".to_vec();
    url.extend(
        b"0123456789abcdef"
            .iter()
            .cycle()
            .take(LONG_URL_BYTES - url.len()),
    );
    url
}

fn one_segment(fields: &Fields<'_>) -> Vec<u8> {
    let texts: usize = fields.texts().iter().map(|text| text.len() / 8 + 1).sum();
    fields.encode(HeapAllocator::new().first_segment_words(SEGMENT_WORDS + texts as u32))
}

fn rooted(data_words: u16, pointers: u16, object: Vec<u64>) -> Vec<u8> {
    let mut words = vec![struct_pointer(0, data_words, pointers)];
    words.extend(object);
    frame(&[words])
}

/// Four texts that are all the same 100,000 bytes.
fn amplifying() -> Vec<u8> {
    const TEXT_BYTES: u32 = 100_000;
    let mut words = ORDINARY.data().to_vec();
    for place in 0..4 {
        words.push(bytes_pointer(3 - place, TEXT_BYTES));
    }
    words.extend(text_words(&vec![b'a'; TEXT_BYTES as usize - 1]));
    rooted(5, 4, words)
}

#[expect(clippy::expect_used, reason = "a Vec takes all bytes")]
fn packed() -> Vec<u8> {
    let mut message = Builder::new_default();
    let mut log = message.init_root::<http_log_record::Builder<'_>>();
    log.set_timestamp_epoch_milli(ORDINARY.timestamp_epoch_milli);
    log.set_method("GET");
    log.set_url("https://cdn.example/");
    let mut bytes = Vec::new();
    // Writing into memory does not fail.
    serialize_packed::write_message(&mut bytes, &message).expect("a Vec takes all bytes");
    bytes
}

fn random_bytes(seed: u8, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    ChaCha8Rng::from_seed([seed; 32]).fill_bytes(&mut bytes);
    bytes
}
