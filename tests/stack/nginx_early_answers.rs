//! nginx refuses a request (503 by its limiter, 413 by `Content-Length`) while
//! we are still sending the body. Such an answer must be read as what it is: a
//! reset in its place would make an untouched batch look doubtful.
//!
//! Needs a real `nginx`. Where a peer is needed that nginx can't play, a few
//! lines of a server of our own answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use spoolhouse::upload::outcome::{Outcome, Refusal};
use spoolhouse::upload::proxy::Proxy;
use spoolhouse::upload::request::{Request, Target, insert};
use spoolhouse::upload::settings::{Settings, effective};
use spoolhouse::upload::transport::{Transport, TransportOptions};

use crate::support::nginx::Nginx;
use crate::support::ports::free_address;

const MIB: usize = 1024 * 1024;

fn request(address: SocketAddr) -> Request {
    let target = Target {
        url: format!("http://{address}/").parse().unwrap(),
        database: "default".into(),
        table: "http_log".into(),
    };
    insert(&target, &"0".repeat(64), &effective(&Settings::new()))
}

fn transport() -> Transport {
    let options = TransportOptions {
        timeout: Duration::from_secs(20),
        ..TransportOptions::default()
    };
    Transport::new(options, false).unwrap()
}

/// At once.
async fn post(transport: &Transport, request: &Request, body: Bytes) -> Outcome {
    transport
        .post(request, body, Instant::now())
        .await
        .outcome()
}

fn body(bytes: usize) -> Bytes {
    Bytes::from(vec![7; bytes])
}

/// What the upstream of nginx would be: ClickHouse, confirming every insert.
fn clickhouse() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut seen, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
            let expected = loop {
                let read = stream.read(&mut buffer).unwrap();
                seen.extend_from_slice(&buffer[..read]);
                if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&seen[..end]).to_lowercase();
                    let (_, length) = head.split_once("content-length: ").expect("a length");
                    let length: usize = length.lines().next().unwrap().parse().unwrap();
                    break end + 4 + length;
                }
            };
            while seen.len() < expected {
                let read = stream.read(&mut buffer).unwrap();
                seen.extend_from_slice(&buffer[..read]);
            }
            let answer = "HTTP/1.1 200 OK\r\nX-ClickHouse-Summary: {}\r\n\
                          Content-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_body_of_one_mib_passes_and_the_next_is_throttled_every_time() {
    let nginx = Nginx::start("1r/m", &format!("proxy_pass http://{};", clickhouse()));
    let transport = transport();
    let first = post(&transport, &request(nginx.address), body(MIB)).await;
    assert_eq!(first, Outcome::Stored, "{}", nginx.error_log());
    for _ in 0..50 {
        let refused = post(&transport, &request(nginx.address), body(MIB)).await;
        assert_eq!(refused, Outcome::Throttled { retry_after: None });
    }
}

#[tokio::test]
async fn how_long_a_proxy_asks_to_wait_is_read_from_its_refusal() {
    let location = format!(
        "add_header Retry-After 7 always; proxy_pass http://{};",
        clickhouse()
    );
    let nginx = Nginx::start("1r/m", &location);
    let transport = transport();
    post(&transport, &request(nginx.address), body(100)).await;
    let refused = post(&transport, &request(nginx.address), body(100)).await;
    let retry_after = Some(Duration::from_secs(7));
    assert_eq!(refused, Outcome::Throttled { retry_after });
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large_every_time_and_uses_no_slot() {
    let nginx = Nginx::start("1r/m", &format!("proxy_pass http://{};", clickhouse()));
    let transport = transport();
    for bytes in [MIB + 1, 2 * MIB, 8 * MIB, 32 * MIB] {
        for _ in 0..12 {
            let refused = post(&transport, &request(nginx.address), body(bytes)).await;
            assert_eq!(refused, Outcome::TooLarge, "{bytes} bytes");
        }
    }
    let fits = post(&transport, &request(nginx.address), body(MIB)).await;
    assert_eq!(fits, Outcome::Stored, "a 413 used the slot");
}

#[tokio::test]
async fn an_upstream_that_is_down_is_unknown_and_a_redirect_is_an_operators() {
    let nginx = Nginx::start("1000r/s", &format!("proxy_pass http://{};", free_address()));
    let outcome = post(&transport(), &request(nginx.address), body(MIB)).await;
    assert!(
        matches!(&outcome, Outcome::Unknown(reason) if reason.status == Some(502)),
        "{outcome:?}"
    );

    let nginx = Nginx::start("1000r/s", "return 301 https://elsewhere/;");
    let outcome = post(&transport(), &request(nginx.address), body(MIB)).await;
    assert!(
        matches!(outcome, Outcome::Refused(Refusal::Operator(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn nobody_listening_is_not_sent() {
    let outcome = post(&transport(), &request(free_address()), body(MIB)).await;
    assert!(
        matches!(&outcome, Outcome::NotSent(reason) if !reason.may_be_stored),
        "{outcome:?}"
    );
    let mut unresolvable = request(free_address());
    unresolvable
        .url
        .set_host(Some("no-such-host.invalid"))
        .unwrap();
    let outcome = post(&transport(), &unresolvable, body(1)).await;
    assert!(matches!(outcome, Outcome::NotSent(_)), "{outcome:?}");
}

/// Serves one connection with `serve`.
fn once(serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(listener.accept().unwrap().0));
    address
}

/// Reads up to the end of the request's body, which is `x` everywhere.
fn read_some(stream: &mut TcpStream, bytes: usize) {
    let mut left = bytes;
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let most = left.min(buffer.len());
        left -= stream.read(&mut buffer[..most]).unwrap();
    }
}

#[tokio::test]
async fn whatever_ends_the_connection_after_it_was_made_is_unknown() {
    let cut_before_the_answer = once(|mut stream| read_some(&mut stream, 1000));
    let silent = once(|mut stream| {
        read_some(&mut stream, 1000);
        std::thread::sleep(Duration::from_secs(5));
    });
    let cut_inside_the_answer = once(|mut stream| {
        read_some(&mut stream, 4096);
        let head = "HTTP/1.1 200 OK\r\nX-ClickHouse-Summary: {}\r\nContent-Length: 10\r\n\r\n123";
        stream.write_all(head.as_bytes()).unwrap();
    });
    let options = TransportOptions {
        timeout: Duration::from_secs(2),
        ..TransportOptions::default()
    };
    let transport = Transport::new(options, false).unwrap();
    for address in [cut_before_the_answer, silent, cut_inside_the_answer] {
        let outcome = post(&transport, &request(address), body(3000)).await;
        assert!(
            matches!(&outcome, Outcome::Unknown(reason) if reason.may_be_stored),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn an_endless_answer_is_read_only_so_far() {
    let endless = once(|mut stream| {
        read_some(&mut stream, 2000);
        let head =
            "HTTP/1.1 200 OK\r\nX-ClickHouse-Summary: {}\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    });
    let outcome = post(&transport(), &request(endless), body(2000)).await;
    assert!(
        matches!(&outcome, Outcome::Unknown(reason) if reason.status == Some(200)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn the_head_carries_length_and_credentials_read_at_each_post() {
    let dir = tempfile::tempdir().unwrap();
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, "old\n").unwrap();
    let options = TransportOptions {
        user: Some("ingest".into()),
        password_file: Some(password_file.clone()),
        ..TransportOptions::default()
    };
    let transport = Transport::new(options, false).unwrap();
    for password in ["old", "new"] {
        std::fs::write(&password_file, format!("{password}\r\n")).unwrap();
        let (send, head) = std::sync::mpsc::channel();
        let address = once(move |mut stream| {
            let mut buffer = vec![0; 8192];
            let read = stream.read(&mut buffer).unwrap();
            send.send(String::from_utf8_lossy(&buffer[..read]).to_lowercase())
                .unwrap();
            stream
                .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        });
        post(&transport, &request(address), body(10)).await;
        let head = head.recv().unwrap();
        assert!(head.starts_with("post /?query=insert%20into%20"), "{head}");
        assert!(head.contains("\r\ncontent-length: 10\r\n"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert!(head.contains("\r\nx-clickhouse-user: ingest\r\n"), "{head}");
        assert!(
            head.contains(&format!("\r\nx-clickhouse-key: {password}\r\n")),
            "{head}"
        );
    }
    std::fs::remove_file(&password_file).unwrap();
    let outcome = post(&transport, &request(free_address()), body(10)).await;
    // Only an operator can bring it back.
    assert!(matches!(
        &outcome,
        Outcome::Refused(Refusal::Operator(why)) if why.message.contains("password file")
    ));
}

#[test]
fn a_transport_over_tls_can_be_made_on_this_system_and_a_plain_one_needs_no_certificates() {
    assert!(Transport::new(TransportOptions::default(), false).is_ok());
    assert!(Transport::new(TransportOptions::default(), true).is_ok());
}
