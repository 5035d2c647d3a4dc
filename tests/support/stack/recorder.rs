//! A TCP forwarder that keeps every byte of the requests that pass: a look at
//! what is sent, as it was sent.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::split_http;

type Kept = Arc<Mutex<Vec<Vec<u8>>>>;

/// Forwards from a port of its own until the process ends.
pub struct Recorder {
    port: u16,
    kept: Kept,
}

impl Recorder {
    /// Forwards to a port of this machine.
    pub fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept = Kept::default();
        let to = kept.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let _ = forward(client.unwrap(), target, &to);
            }
        });
        Self { port, kept }
    }

    /// The URL that leads through it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// What came in so far, by connection.
    pub fn connections(&self) -> Vec<Vec<u8>> {
        self.kept.lock().unwrap().clone()
    }

    /// Head and body of every request. Spoolhouse opens a connection for each.
    pub fn requests(&self) -> Vec<(String, Vec<u8>)> {
        let connections = self.connections();
        let requests = connections.iter().filter_map(|bytes| split_http(bytes));
        requests.map(|(head, body)| (head, body.to_vec())).collect()
    }
}

fn forward(client: TcpStream, target: u16, kept: &Kept) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", target))?;
    let place = {
        let mut kept = kept.lock().unwrap();
        kept.push(Vec::new());
        kept.len() - 1
    };
    let kept = kept.clone();
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        pump(from_client, to_server, |bytes| {
            kept.lock().unwrap()[place].extend_from_slice(bytes);
        });
    });
    thread::spawn(move || pump(server, client, |_| {}));
    Ok(())
}

/// Copies until one side closes; `see` gets the bytes before they go on.
fn pump(mut from: TcpStream, mut to: TcpStream, see: impl Fn(&[u8])) {
    let mut buffer = [0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        see(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
