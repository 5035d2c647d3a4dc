//! Does an unmasked address get out of ingest anywhere? Messages with addresses
//! that can't be mistaken go the whole way; then everything that the process
//! wrote, said or sent is searched for them: the spool as bytes and decoded, the
//! log at its most talkative, requests, metrics, and what ClickHouse has. Only
//! `undecodable/` may hold them, and there the search must find one, or it
//! would find nothing anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use capnp::message::HeapAllocator;
use spoolhouse::traffic::message::Fields;

use crate::support::stack::feed::At;
use crate::support::stack::house::NOWHERE;
use crate::support::stack::recorder::Recorder;
use crate::support::stack::spool_files::{decode, files_in, log_rows, texts};
use crate::support::stack::{House, stack};

/// An address as sent and as it must arrive. `secret` is what must not be seen
/// again: the part that masking takes away, with as much before it as makes it
/// unmistakable. Every canary's is another.
struct Canary {
    sent: Vec<u8>,
    masked: &'static str,
    secret: Vec<u8>,
}

/// The address of the message that is no record.
const PLANTED: &str = "198.18.77.233";

fn canaries() -> Vec<Canary> {
    let canary = |sent: &[u8], masked: &'static str, secret: &[u8]| Canary {
        sent: sent.to_vec(),
        masked,
        secret: secret.to_vec(),
    };
    let text = |sent: &str, masked, secret: &str| {
        assert!(sent.contains(secret), "{secret} is no part of {sent}");
        canary(sent.as_bytes(), masked, secret.as_bytes())
    };
    let very_long = format!("198.18.14.214{}", "4".repeat(20_000));
    vec![
        // IPv4
        text("198.18.1.201", "198.18.1.X", "198.18.1.201"),
        text("198.18.2.0", "198.18.2.X", "198.18.2.0"),
        text("198.18.3.203:48123", "198.18.3.X", "198.18.3.203"),
        text("198.18.30.230:48129", "198.18.30.X", "230:48129"),
        text("[198.18.4.204]", "198.18.4.X", "198.18.4.204"),
        text("[198.18.5.205]:443", "198.18.5.X", "198.18.5.205"),
        // IPv4 within IPv6
        text("::ffff:198.18.6.206", "::ffff:198.18.6.X", "198.18.6.206"),
        text("::ffff:c612:7cf", "::ffff:198.18.7.X", "c612:7cf"),
        text(
            "[::ffff:198.18.8.208]:80",
            "::ffff:198.18.8.X",
            "198.18.8.208",
        ),
        text("2002:c612:9d1::1", "2002:c612:900::X", "c612:9d1"),
        text("64:ff9b::198.18.10.210", "64:ff9b::X", "198.18.10.210"),
        // IPv6
        text(
            "2001:db8:a1:8d3:1319:8a2e:370:7301",
            "2001:db8:a1::X",
            "8d3:1319:8a2e:370:7301",
        ),
        text("2001:DB8:A2::DEAD:7302", "2001:db8:a2::X", "DEAD:7302"),
        text(
            "[2001:db8:a3::beef:7303]:8443",
            "2001:db8:a3::X",
            "beef:7303",
        ),
        text("fe80::cafe:7304%canary0", "fe80::X", "cafe:7304"),
        text("fe80::305%canary1", "fe80::X", "canary1"),
        text("[fe80::f00d:7306%canary2]:80", "fe80::X", "f00d:7306"),
        text("::7307:a907", "::X", "7307:a907"),
        // Addresses that are none, whatever a human would read in them
        text("198.18.11.211 ", "X", "198.18.11.211"),
        text("198.18.12.212, 198.18.13.213", "X", "198.18.12.212"),
        text("198.18.16.216, 198.18.17.217", "X", "198.18.17.217"),
        text("198.18.018.218", "X", "198.18.018.218"),
        text("198.18.19", "X", "198.18.19"),
        text("198.18.20.256", "X", "198.18.20"),
        text("client-21.canary.example", "X", "canary.example"),
        text("198.18.22.222.canary-in-addr.arpa", "X", "198.18.22.222"),
        text("2001:db8:a8:8d3:1319:8a2e:370:7308:9", "X", "2001:db8:a8"),
        text("2001:db8:a9::babe:7309::1", "X", "babe:7309"),
        text("198.18.23.223X", "X", "198.18.23"),
        text(&very_long, "X", "198.18.14.214"),
        canary(b"198.18.15.215\xff", "X", b"198.18.15.215"),
        canary(b"\xfe\xff198.18.24.224", "X", b"198.18.24.224"),
        canary(b"198.18.25.225\0", "X", b"198.18.25.225"),
        canary(b"198.18.26.226\r\n", "X", b"198.18.26.226"),
        canary("\u{ff11}98.18.27.227".as_bytes(), "X", b"98.18.27.227"),
    ]
}

/// The path under which a canary is found again.
fn url(place: usize) -> String {
    format!("/canary/{place:02}")
}

fn message(place: usize, canary: &Canary) -> Vec<u8> {
    let url = url(place);
    let fields = Fields {
        timestamp_epoch_milli: 1_700_000_000_000,
        resource_id: 1,
        bytes_sent: 2,
        request_time_milli: 3,
        response_status: 200,
        cache_status: b"HIT",
        method: b"GET",
        remote_addr: &canary.sent,
        url: url.as_bytes(),
    };
    fields.encode(HeapAllocator::new())
}

/// The forms in which a log or a protocol might show the same bytes.
fn disguises(secret: &[u8]) -> Vec<Vec<u8>> {
    let each = |show: fn(&u8) -> String| -> Vec<String> { secret.iter().map(show).collect() };
    let hex = each(|byte| format!("{byte:02x}"));
    let text = String::from_utf8_lossy(secret);
    let mut forms = vec![
        secret.to_vec(),
        hex.concat().into_bytes(),
        hex.concat().to_uppercase().into_bytes(),
        hex.join(", ").into_bytes(),
        each(|byte| format!("{byte:#04x}")).join(", ").into_bytes(),
        each(u8::to_string).join(", ").into_bytes(),
        text.replace(':', "%3A").into_bytes(),
        text.to_lowercase().into_bytes(),
    ];
    // An IPv4 address as one number.
    if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
        forms.push(address.to_bits().to_string().into_bytes());
    }
    forms.sort();
    forms.dedup();
    forms
}

/// Finds secrets in whatever it is shown.
struct Search {
    forms: Vec<(usize, Vec<u8>)>,
    found: Vec<String>,
    bytes: usize,
}

impl Search {
    fn of(secrets: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let secrets = secrets.into_iter().enumerate();
        let forms = secrets.flat_map(|(place, secret)| {
            let forms = disguises(&secret).into_iter();
            forms.map(move |form| (place, form))
        });
        Self {
            forms: forms.collect(),
            found: Vec::new(),
            bytes: 0,
        }
    }

    fn look(&mut self, place: &str, bytes: &[u8]) {
        self.bytes += bytes.len();
        for (canary, form) in &self.forms {
            if contains(bytes, form) {
                let form = String::from_utf8_lossy(form);
                self.found
                    .push(format!("canary {canary} as {form:?} in {place}"));
            }
        }
    }

    /// A Parquet file: as it is, and every text in it.
    fn look_into(&mut self, place: &str, file: Vec<u8>) {
        self.look(place, &file);
        for rows in decode(file) {
            let texts = texts(&rows);
            self.look(&format!("{place}, decoded"), &texts.join(&b"\n"[..]));
        }
    }

    /// Everything below a directory, but one room.
    fn look_below(&mut self, dir: &Path, but: &str) -> usize {
        let mut parquet = 0;
        for entry in walkdir::WalkDir::new(dir) {
            let entry = entry.unwrap();
            let path = entry.path();
            if !entry.file_type().is_file() || path.starts_with(dir.join(but)) {
                continue;
            }
            let place = path.display().to_string();
            self.look(&place, place.as_bytes());
            let bytes = fs::read(path).unwrap();
            if path.extension().is_some_and(|end| end == "parquet") {
                parquet += 1;
                self.look_into(&place, bytes);
            } else {
                self.look(&place, &bytes);
            }
        }
        parquet
    }

    fn assert_nothing(&self) {
        assert!(self.bytes > 0, "nothing was searched");
        assert!(self.found.is_empty(), "{:#?}", self.found);
    }
}

fn contains(bytes: &[u8], form: &[u8]) -> bool {
    // Most bytes differ from the first one already.
    let first = form[0];
    let ends = bytes.len().saturating_sub(form.len() - 1);
    (0..ends).any(|at| bytes[at] == first && bytes[at..].starts_with(form))
}

#[test]
fn no_unmasked_address_gets_out_of_ingest() {
    let canaries = canaries();
    let secrets = || {
        let secrets = canaries.iter().map(|canary| canary.secret.clone());
        secrets.chain([PLANTED.as_bytes().to_vec()])
    };
    let mut house = House::new("canary", 2);
    house.log_filter = "trace";
    house.upload_url = NOWHERE.to_owned();
    house.start();

    // Two parts: the first is packed and waits in sending/, the second in ready/.
    let mut places: Vec<At> = Vec::new();
    let (first, second) = canaries.split_at(canaries.len() / 2);
    for (part, start) in [(first, 0), (second, first.len())] {
        let messages = part.iter().enumerate();
        let messages = messages.map(|(place, canary)| message(start + place, canary));
        let mut messages: Vec<_> = messages.collect();
        messages.push(format!("{{\"remote_addr\":\"{PLANTED}\"}}").into_bytes());
        places.extend(house.produce(messages.iter().map(Vec::as_slice)));
        house.wait_until_committed(&places);
        house.wait_until("a batch, and all rows in the spool", || {
            let rooms = ["sending", "ready"];
            let rows = log_rows(&house.spool(), &rooms).len();
            rows == start + part.len() && !files_in(&house.spool(), "sending").is_empty()
        });
    }

    let spool = house.spool();
    let mut planted = Search::of(secrets());
    planted.look_below(&spool.join("undecodable"), "nothing");
    assert!(
        planted.found.iter().any(|found| found.contains("decoded")),
        "the search does not even find what is there: {:?}",
        planted.found
    );

    let mut search = Search::of(secrets());
    assert!(search.look_below(&spool, "undecodable") >= 2);
    search.look("the metrics", house.observed("/metrics").as_bytes());
    search.assert_nothing();

    assert_eq!(house.stop(), Some(0));
    let recorder = Recorder::before(stack().proxy);
    house.upload_url = recorder.url();
    house.start();
    house.wait_until_drained(&places);
    search.look("the metrics", house.observed("/metrics").as_bytes());
    assert_eq!(house.stop(), Some(0));

    // What was sent. A refused request may have been cut short by the proxy.
    let mut rows_sent = 0;
    for connection in recorder.connections() {
        search.look("a request", &connection);
    }
    for (head, body) in recorder.requests() {
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse::<usize>().unwrap())
        });
        if length == Some(body.len()) {
            rows_sent += decode(body.clone())
                .iter()
                .map(|rows| rows.num_rows())
                .sum::<usize>();
            search.look_into("a request's body", body);
        }
    }
    assert!(
        rows_sent >= canaries.len(),
        "{rows_sent} rows were recorded"
    );

    // What it said: everything, or the search would prove little.
    let log = house.log();
    assert!(log.contains("TRACE"), "the log is not at trace level");
    search.look("the log", log.as_bytes());

    // What ClickHouse has: every column of every table.
    for table in ["http_log", "http_log_totals"] {
        let rows = house.clickhouse(&format!("SELECT * FROM {table} FORMAT JSONEachRow"));
        assert!(rows.contains("198.18.1.X"), "{table} holds the masked ones");
        search.look(table, rows.as_bytes());
    }
    search.look_below(&spool, "undecodable");
    search.assert_nothing();

    let stored = house.stored_rows();
    let stored: BTreeMap<&str, &str> = stored
        .iter()
        .map(|row| (row.url.as_str(), row.remote_addr.as_str()))
        .collect();
    assert_eq!(stored.len(), canaries.len());
    for (place, canary) in canaries.iter().enumerate() {
        let sent = String::from_utf8_lossy(&canary.sent);
        assert_eq!(stored[url(place).as_str()], canary.masked, "{sent:.60}");
    }
}

#[test]
fn the_search_finds_every_disguise() {
    let address = b"198.18.1.201";
    for seen in [
        "from 198.18.1.201 by".to_owned(),
        format!("{address:?}"),
        format!("{address:02x?}"),
        "ip=3323068873".to_owned(),
        "addr 3139382E31382E312E323031".to_owned(),
    ] {
        let mut search = Search::of([address.to_vec()]);
        search.look("here", seen.as_bytes());
        assert!(!search.found.is_empty(), "{seen}");
    }
}
