//! A TCP forwarder that keeps every byte of the requests that pass: a look at
//! what is sent, as it was sent. It can keep ClickHouse's answers to itself, too,
//! as a network does that fails at the wrong moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::split_http;

#[derive(Default)]
struct State {
    kept: Mutex<Vec<Vec<u8>>>,
    withholds: AtomicBool,
    loses: AtomicBool,
    is_away: AtomicBool,
}

/// Forwards from a port of its own until the process ends.
pub struct Recorder {
    port: u16,
    state: Arc<State>,
}

impl Recorder {
    /// Forwards to a port of this machine.
    pub fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                if !shared.is_away.load(Ordering::SeqCst) {
                    let _ = forward(client, target, &shared);
                }
            }
        });
        Self { port, state }
    }

    /// The URL that leads through it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Whether answers of ClickHouse are withheld from now on; those that nginx
    /// gives by itself always pass.
    pub fn withhold_answers(&self, withhold: bool) {
        self.state.withholds.store(withhold, Ordering::SeqCst);
    }

    /// Whether requests are read in part from now on, and then neither passed on
    /// nor answered.
    pub fn lose_requests(&self, lose: bool) {
        self.state.loses.store(lose, Ordering::SeqCst);
    }

    /// Whether it hangs up on everybody from now on, as if nobody were there.
    pub fn be_away(&self, away: bool) {
        self.state.is_away.store(away, Ordering::SeqCst);
    }

    /// What came in so far, by connection.
    pub fn connections(&self) -> Vec<Vec<u8>> {
        self.state.kept.lock().unwrap().clone()
    }

    /// Head and body of every request. Spoolhouse opens a connection for each.
    pub fn requests(&self) -> Vec<(String, Vec<u8>)> {
        let connections = self.connections();
        let requests = connections.iter().filter_map(|bytes| split_http(bytes));
        requests.map(|(head, body)| (head, body.to_vec())).collect()
    }
}

fn forward(client: TcpStream, target: u16, state: &Arc<State>) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", target))?;
    let place = {
        let mut kept = state.kept.lock().unwrap();
        kept.push(Vec::new());
        kept.len() - 1
    };
    if state.loses.load(Ordering::SeqCst) {
        // What is left unread makes the system reset the connection.
        let mut first = [0; 1];
        return (&client).read_exact(&mut first);
    }
    let requests = state.clone();
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        pump(from_client, to_server, |bytes| {
            requests.kept.lock().unwrap()[place].extend_from_slice(bytes);
            true
        });
    });
    let answers = state.clone();
    thread::spawn(move || {
        pump(server, client, |bytes| {
            let clickhouse = String::from_utf8_lossy(bytes).contains("X-ClickHouse-");
            !(clickhouse && answers.withholds.load(Ordering::SeqCst))
        });
    });
    Ok(())
}

/// Copies until one side closes. `see` gets the bytes before they go on, and
/// says whether they do; nothing follows those that don't.
fn pump(mut from: TcpStream, mut to: TcpStream, see: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !see(&buffer[..count]) {
            // The connection stays open, silent, until its owner gives it up.
            while let Ok(1..) = to.read(&mut buffer) {}
            return;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
