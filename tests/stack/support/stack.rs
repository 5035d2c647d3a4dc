//! The real parts, for tests that go the whole way: finds the running stack,
//! or brings it up, and speaks to its Kafka and its ClickHouse directly.
//!
//! `ops/test` starts the stack, exports where it is and stops it at the end. A
//! plain `cargo test` uses the same ports and directory; when nothing answers
//! there it runs `ops/stack up` (after `ops/setup`, which that calls) and then
//! leaves the stack running for the next time. To stop that one:
//!
//! ```text
//! STACK_DIR=$PWD/target/test/stack KAFKA_PORT=29092 ops/stack down
//! ```
//!
//! Nothing here is shared between two tests but the parts themselves: each test
//! lives in a [`House`] with names of its own.

pub mod by_hand;
pub mod fault_proxy;
pub mod feed;
pub mod house;
pub mod mounts;
pub mod own_broker;
pub mod own_server;
pub mod recorder;
pub mod rows;
pub mod spool_files;
pub mod tables;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

pub use house::House;

/// The rate of the tests' proxy. Its limiter counts all tests together, so it
/// is far above what one of them needs; a refusal is only tried again.
const PROXY_RATE: &str = "10r/s";

/// The longest that one answer of a part may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Runs `ops/stack` with these arguments for a stack in `dir`.
pub fn ops_stack(args: &[&str], dir: &Path, env: &[(&str, String)]) {
    let done = Command::new(root().join("ops/stack"))
        .args(args)
        .env("STACK_DIR", dir)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("ops/stack can be run");
    assert!(
        done.status.success(),
        "ops/stack {args:?} failed:\n{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
}

/// Where the parts of the stack are.
#[derive(Debug)]
pub struct Stack {
    /// Kafka's port.
    pub kafka: u16,
    /// ClickHouse's own port.
    pub clickhouse: u16,
    /// The port of nginx, which limits and forwards to ClickHouse.
    pub proxy: u16,
    dir: PathBuf,
}

/// The stack, up and answering.
pub fn stack() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        let stack = Stack {
            kafka: port("KAFKA_PORT", 29092),
            clickhouse: port("CLICKHOUSE_PORT", 28123),
            proxy: port("PROXY_PORT", 28124),
            dir: std::env::var_os("STACK_DIR")
                .map_or_else(|| root().join("target/test/stack"), PathBuf::from),
        };
        stack.bring_up();
        stack
    })
}

fn port(variable: &str, default: u16) -> u16 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no port")),
        Err(_) => default,
    }
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Stack {
    fn bring_up(&self) {
        let ports = [self.kafka, self.clickhouse, self.proxy];
        if ports
            .iter()
            .all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        {
            return;
        }
        ops_stack(
            &["up"],
            &self.dir,
            &[
                ("KAFKA_PORT", self.kafka.to_string()),
                ("CLICKHOUSE_PORT", self.clickhouse.to_string()),
                ("PROXY_PORT", self.proxy.to_string()),
                ("PROXY_RATE", PROXY_RATE.to_owned()),
            ],
        );
    }

    /// The list of brokers.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    /// The proxy's URL.
    pub fn proxy_url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.proxy)
    }

    /// Asks ClickHouse directly, not through the proxy.
    pub fn clickhouse(&self, database: &str, sql: &str) -> String {
        ask_clickhouse(self.clickhouse, database, sql)
    }
}

/// A name for a topic, a database and the like that no other test has, in this run or
/// in another on the same stack.
pub fn unique_name(test: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{test}_{}_{count}", std::process::id())
}

/// Asks the ClickHouse at a port of this machine.
pub fn ask_clickhouse(port: u16, database: &str, sql: &str) -> String {
    ask_clickhouse_with(port, database, sql, "")
}

/// The same with more of the URL's query: `&name=value`, escaped as it must be.
pub fn ask_clickhouse_with(port: u16, database: &str, sql: &str, more: &str) -> String {
    let path = format!("/?database={database}{more}");
    let (status, answer) = http(port, "POST", &path, sql.as_bytes());
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(status, 200, "ClickHouse on {sql:?}: {answer}");
    answer
}

/// One request to a port of this machine; status and body of the answer.
pub fn http(port: u16, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let (head, body) = split_http(&answer).expect("an HTTP answer");
    assert!(
        !head.to_ascii_lowercase().contains("transfer-encoding"),
        "this client reads no chunks: {head}"
    );
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), body.to_vec())
}

/// Head and body of a request or an answer; `None` before the head's end.
pub fn split_http(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    Some((head, &bytes[end + 4..]))
}

/// Waits for an answer of Kafka's admin client.
pub fn ask_kafka<F: Future>(
    brokers: &str,
    ask: impl FnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> F,
) -> F::Output {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap();
    let options = AdminOptions::new()
        .operation_timeout(Some(ANSWER_MAX))
        .request_timeout(Some(ANSWER_MAX));
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(ask(&admin, &options))
}
