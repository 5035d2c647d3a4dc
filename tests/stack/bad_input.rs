//! What becomes of input that is no record, or one of an unusual kind, on the
//! whole way through a real Kafka, nginx and ClickHouse engine? Nothing of it is
//! lost, and nothing of it holds up the rest.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use spoolhouse::traffic::Traffic;
use spoolhouse::traffic::corpus::{ODD_ADDRESSES, bad_messages, long_url, odd_messages};

use crate::support::stack::House;
use crate::support::stack::feed::At;
use crate::support::stack::house::topic::ends;
use crate::support::stack::spool_files::{Kept, Row, files_in, undecodable};

/// Ordinary messages, and the rows they become.
fn ordinary(seed: u64, count: u64) -> (Vec<Vec<u8>>, Vec<Row>) {
    let traffic = Traffic {
        profile: Default::default(),
        seed,
        start_milli: 1_700_000_000_000,
        rate: 0,
        bad_per_million: 0,
    };
    let rows: Vec<_> = (0..count)
        .map(|place| traffic.row(place).unwrap())
        .collect();
    let messages = rows.iter().map(|row| row.encode()).collect();
    let mut stored: Vec<Row> = rows.iter().map(Row::stored).collect();
    stored.sort();
    (messages, stored)
}

/// Why each of the bad messages is no record, as `undecodable/` says it.
fn reason(name: &str) -> &'static str {
    match name {
        "empty" => "the message is empty",
        "truncated" => "the message is shorter than its segment table says",
        "random bytes" | "packed" | "a blob of 1,000,000 bytes" | "JSON" => {
            "the message does not begin with a segment table"
        }
        "a far pointer out of bounds"
        | "a far pointer to a segment that is not there"
        | "a text out of bounds" => "a pointer leads out of the message",
        "built to amplify traversal" => {
            "the message would have to be read several times over: its pointers overlap"
        }
        "a text that is not terminated" => "a text is not terminated",
        "a struct where a text belongs" | "a list for a root" => {
            "a pointer leads to another kind of value than the schema says"
        }
        "a null root pointer" => "there is no record in the message: its root pointer is null",
        "no words at all" => "a pointer leads out of the message",
        "two records" | "a byte too many" => "bytes are left over after the message",
        "a time that DateTime can't hold" => {
            "the time is past 2106-02-07T06:28:15Z, the last that a DateTime holds"
        }
        other => panic!("{other:?} is new: say here why it is no record"),
    }
}

#[test]
fn messages_that_are_no_record_are_kept_whole_and_the_stream_goes_on() {
    let house = House::new("bad_corpus", 3);
    let (good, stored) = ordinary(1, 300);
    // Bad ones spread among good ones, on all partitions, and one without a value.
    let mut feed = house.feed();
    let mut expected = Vec::new();
    let mut bad = bad_messages().into_iter();
    for (place, message) in good.iter().enumerate() {
        feed.send(Some(message));
        expected.push(None);
        if place % 7 == 3
            && let Some((name, bytes)) = bad.next()
        {
            feed.send(Some(&bytes));
            let error = reason(name).to_owned();
            expected.push(Some(Kept { error, bytes }));
        }
    }
    assert_eq!(bad.next(), None, "not all of the collection was sent");
    feed.send(None);
    expected.push(Some(Kept {
        error: "the message is empty".to_owned(),
        bytes: Vec::new(),
    }));
    let places = feed.finish();
    let expected: BTreeMap<At, Kept> = places
        .iter()
        .zip(expected)
        .filter_map(|(at, kept)| Some((*at, kept?)))
        .collect();

    house.start();
    house.wait_until_drained(&places);

    let kept = undecodable(&house.spool());
    for (at, message) in &expected {
        let found = kept.get(at).unwrap_or_else(|| panic!("{at:?} is lost"));
        assert_eq!(found.error, message.error, "{at:?}");
        assert!(
            found.bytes == message.bytes,
            "{at:?}: other bytes than came"
        );
    }
    assert_eq!(kept.len(), expected.len());
    for file in files_in(&house.spool(), "undecodable") {
        let mode = file.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{file:?}");
    }
    assert!(house.stored_rows() == stored, "the good ones among them");
    assert_eq!(
        house.metric("spoolhouse_undecodable_total") as usize,
        expected.len()
    );
    assert_eq!(
        house.metric("spoolhouse_records_total") as usize,
        good.len()
    );
    assert_eq!(house.stop(), Some(0));
}

#[test]
fn a_window_of_bad_messages_alone_is_committed_too() {
    let house = House::new("only_bad", 1);
    house.start();
    let bad: Vec<_> = bad_messages().into_iter().map(|(_, bytes)| bytes).collect();
    let places = house.produce(bad.iter().map(Vec::as_slice));
    house.wait_until_drained(&places);
    assert_eq!(house.commits().offsets(), ends(&places));
    assert_eq!(undecodable(&house.spool()).len(), bad.len());
    assert_eq!(house.stored_rows(), []);

    let (good, stored) = ordinary(2, 5);
    let places = house.produce(good.iter().map(Vec::as_slice));
    house.wait_until_drained(&places);
    assert_eq!(house.stored_rows(), stored);
    assert_eq!(undecodable(&house.spool()).len(), bad.len());
}

/// The corpus's ordinary row, as it must be stored.
fn odd_row() -> Row {
    Row {
        timestamp: 1_700_000_000,
        resource_id: 1_001,
        bytes_sent: 2_002,
        request_time_milli: 3_003,
        response_status: 206,
        cache_status: "HIT".into(),
        method: "GET".into(),
        remote_addr: "192.0.2.X".into(),
        url: "https://cdn.example/images/00ff00ff00ff00ff.jpg".into(),
    }
}

fn zero_row() -> Row {
    Row {
        timestamp: 0,
        resource_id: 0,
        bytes_sent: 0,
        request_time_milli: 0,
        response_status: 0,
        cache_status: String::new(),
        method: String::new(),
        remote_addr: "X".into(),
        url: String::new(),
    }
}

/// The row that an odd message becomes.
fn row_of(name: &str) -> Row {
    if let Some((_, _, masked)) = ODD_ADDRESSES.iter().find(|(odd, ..)| *odd == name) {
        return Row {
            remote_addr: (*masked).to_owned(),
            ..odd_row()
        };
    }
    match name {
        "several segments"
        | "a segment for every object"
        | "a double far pointer"
        | "an empty segment at the end"
        | "unknown later fields" => odd_row(),
        "an earlier schema without texts" => Row {
            timestamp: 1_700_000_000,
            resource_id: 1_001,
            ..zero_row()
        },
        "a struct of no size" | "all-zero fields" | "null texts" => zero_row(),
        "empty texts" => Row {
            cache_status: String::new(),
            method: String::new(),
            remote_addr: "X".into(),
            url: String::new(),
            ..odd_row()
        },
        "a 500 KiB url" => Row {
            url: String::from_utf8(long_url()).unwrap(),
            ..odd_row()
        },
        "greatest values" => Row {
            timestamp: u32::MAX,
            resource_id: u64::MAX,
            bytes_sent: u64::MAX,
            request_time_milli: u64::MAX,
            response_status: u16::MAX,
            ..odd_row()
        },
        "texts that are not UTF-8" => Row {
            cache_status: "HI\u{fffd}T".into(),
            method: "\u{fffd}(".into(),
            remote_addr: "X".into(),
            url: "/caf%E9/%41?\u{e9}=%FF%FE".into(),
            ..odd_row()
        },
        "NUL and line ends in texts" => Row {
            method: "G\0T".into(),
            url: "/a\r\n\0b\t\"c\\".into(),
            ..odd_row()
        },
        other => panic!("{other:?} is new: say here what it becomes"),
    }
}

#[test]
fn valid_but_unusual_messages_are_stored_with_their_content() {
    let house = House::new("odd_corpus", 2);
    let odd = odd_messages();
    let places = house.produce(odd.iter().map(|(_, bytes)| bytes.as_slice()));
    let mut expected: Vec<Row> = odd.iter().map(|(name, _)| row_of(name)).collect();
    expected.sort();

    house.start();
    house.wait_until_drained(&places);

    let stored = house.stored_rows();
    assert_eq!(stored.len(), expected.len());
    for (stored, expected) in stored.iter().zip(&expected) {
        assert!(stored == expected, "{}", difference(stored, expected));
    }
    assert!(undecodable(&house.spool()).is_empty());
    // One message of the collection has three texts that are not UTF-8 beside its url.
    assert_eq!(house.metric("spoolhouse_texts_replaced_total"), 3.0);
    assert_eq!(house.stop(), Some(0));
}

/// Two rows, cut short for the sake of the 500 KiB url.
fn difference(stored: &Row, expected: &Row) -> String {
    let short = |row: &Row| format!("{row:?}").chars().take(600).collect::<String>();
    format!("stored   {}\nexpected {}", short(stored), short(expected))
}
