//! Is everything ready when a slot opens? What takes time is done before: the batch
//! lies in `sending/` for good, the connection stands, and not a byte has left on it.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use spoolhouse::spool::format::encoding::Encoding;
use spoolhouse::spool::outlet::cpu_budget::Effort;
use spoolhouse::spool::{Intake, Outlet, Spool};
use spoolhouse::upload::proxy::Proxy;
use spoolhouse::upload::request::{Target, insert};
use spoolhouse::upload::send;
use spoolhouse::upload::settings::{Settings, effective};
use spoolhouse::upload::slot::pacer::PaceOptions;
use spoolhouse::upload::telemetry::View;
use spoolhouse::upload::transport::{Transport, TransportOptions};
use tokio_util::sync::CancellationToken;

use crate::support::exclusive::quiet;

const AWAY: Duration = Duration::from_millis(800);
const INTERVAL: Duration = Duration::from_secs(60);

fn target(address: SocketAddr) -> Target {
    Target {
        url: format!("http://{address}/").parse().unwrap(),
        database: "default".into(),
        table: "http_log".into(),
    }
}

/// A server that says what `look` sees when a connection stands and when its first
/// byte is there, and ends without an answer.
fn server<T: Send + 'static>(
    look: impl Fn() -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<(T, T)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let connected = look();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        (connected, look())
    });
    (address, serving)
}

#[tokio::test]
async fn the_connection_stands_before_the_slot_and_the_first_byte_leaves_when_it_opens() {
    // It is about tenths of a second.
    let _quiet = quiet();
    let (address, serving) = server(Instant::now);
    let request = insert(
        &target(address),
        &"0".repeat(64),
        &effective(&Settings::new()),
    );
    let transport = Transport::new(TransportOptions::default(), false).unwrap();
    let begun = Instant::now();
    let opens = begun + AWAY;
    let body = Bytes::from_static(b"rows");
    let posted = transport.post(&request, body, opens).await;

    let (connected, first_byte) = serving.join().unwrap();
    assert!(connected < begun + AWAY / 2, "{:?}", connected - begun);
    assert!(first_byte >= opens, "{:?} early", opens - first_byte);
    assert!(posted.connecting.unwrap() < AWAY / 2);
    assert!(posted.left.unwrap() <= SystemTime::now());
    assert!(
        posted.took < AWAY / 2,
        "the wait for the slot is no part of it"
    );
}

#[tokio::test]
async fn a_batch_lies_in_sending_before_its_first_byte_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let intake = Intake::new(spool.clone());
    let finished = intake
        .finish(
            crate::support::segments::open_segment(0..100),
            &crate::support::segments::source(),
        )
        .unwrap();
    intake.seal(&finished).unwrap();
    intake.ready(&finished.footer).unwrap();

    let sending: PathBuf = dir.path().join("sending");
    let (address, serving) = server(move || std::fs::read_dir(&sending).unwrap().count());
    let target = target(address);
    let options = send::Options {
        settings: effective(&Settings::new()),
        encoding: Encoding::Compact,
        effort: Effort::new(20_000, INTERVAL),
        pace: PaceOptions {
            url: target.url.to_string(),
            interval_ms: INTERVAL.as_millis() as u64,
            body_bytes_max: 1 << 20,
        },
        data_attempts_max: 3,
        view: View::default(),
        target,
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(send::run(
        options,
        Transport::new(TransportOptions::default(), false).unwrap(),
        Outlet::new(spool),
        send::Host::default(),
        stop.clone(),
    ));
    let seen = tokio::task::spawn_blocking(move || serving.join().unwrap());
    assert_eq!(seen.await.unwrap(), (1, 1));
    stop.cancel();
    running.await.unwrap();
}
