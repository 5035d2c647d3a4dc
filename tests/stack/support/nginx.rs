//! A real nginx of a test's own, with a limiter and a log to count by.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::exclusive::{Place, place};
use super::ports::free_address;

/// An nginx with a limiter in front of nothing, on a free port.
pub struct Nginx {
    child: Child,
    dir: TempDir,
    /// Where it listens.
    pub address: SocketAddr,
    rate: String,
    is_tls: bool,
    _place: Place,
}

impl Nginx {
    /// Starts nginx with `rate` (as in `limit_req_zone`) before `location`.
    pub fn start(rate: &str, location: &str) -> Self {
        Self::listen(tempfile::tempdir().unwrap(), rate, location, false)
    }

    /// Starts one that speaks TLS with the `cert.pem` and `key.pem` of `dir`.
    pub fn with_tls(dir: TempDir, location: &str) -> Self {
        Self::listen(dir, "100r/s", location, true)
    }

    fn listen(dir: TempDir, rate: &str, location: &str, is_tls: bool) -> Self {
        let place = place();
        let address = free_address();
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config(dir.path(), address, rate, location, is_tls)).unwrap();
        let child = Command::new("nginx")
            .env(
                "PATH",
                format!("{}:/usr/sbin", std::env::var("PATH").unwrap()),
            )
            .args([
                "-c",
                file.to_str().unwrap(),
                "-p",
                dir.path().to_str().unwrap(),
            ])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx must be installed");
        let nginx = Nginx {
            child,
            dir,
            address,
            rate: rate.to_owned(),
            is_tls,
            _place: place,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(
                Instant::now() < deadline,
                "nginx did not start: {}",
                nginx.error_log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        nginx
    }

    /// Goes over to another `location`, as an operator would; returns when the
    /// new one is in force.
    pub fn reload(&self, location: &str) {
        let dir = self.dir.path();
        let text = config(dir, self.address, &self.rate, location, self.is_tls);
        std::fs::write(dir.join("nginx.conf"), text).unwrap();
        // The last thing that the old worker does before it takes no more requests.
        let reloads = || self.error_log().matches("gracefully shutting down").count();
        let before = reloads();
        self.signal("HUP");
        let deadline = Instant::now() + Duration::from_secs(10);
        while reloads() == before {
            assert!(Instant::now() < deadline, "nginx did not reload");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {pid}")])
            .status();
        assert!(sent.unwrap().success());
    }

    /// What it complained about.
    pub fn error_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }

    /// The URL that leads through it.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}/", self.address)
    }

    /// The requests that it answered so far, in order.
    pub fn log(&self) -> Vec<Line> {
        let log = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap();
        log.lines().map(Line::parse).collect()
    }
}

/// A request that nginx answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When it came, in seconds since 1970: slots are counted from there.
    pub time: f64,
    /// The status of its answer.
    pub status: u16,
    /// The length of its body, by its own account.
    pub body_bytes: u64,
    /// Whether it was passed on, which takes the slot.
    pub is_admitted: bool,
    /// Path and query.
    pub uri: String,
}

impl Line {
    fn parse(line: &str) -> Self {
        let mut words = line.splitn(6, ' ');
        // A length that the request did not give is "-".
        let mut number = || words.next().unwrap().parse().unwrap_or(0.0);
        let (answered, took) = (number(), number());
        let (status, body_bytes) = (number() as u16, number() as u64);
        let is_admitted = words.next() != Some("-");
        let uri = words.next().unwrap().to_owned();
        Self {
            time: answered - took,
            status,
            body_bytes,
            is_admitted,
            uri,
        }
    }

    /// The deduplication token that it carried.
    pub fn token(&self) -> Option<&str> {
        let (_, token) = self.uri.split_once("insert_deduplication_token=")?;
        Some(token.split('&').next().unwrap_or(token))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed, it would leave its worker behind.
        self.signal("TERM");
        let _ = self.child.wait();
    }
}

fn config(dir: &Path, address: SocketAddr, rate: &str, location: &str, is_tls: bool) -> String {
    let path = dir.display();
    // Else the worker of a root's nginx is somebody who may not enter the directory.
    let user = match std::fs::metadata(dir).unwrap().uid() {
        0 => "user root;",
        _ => "",
    };
    let tls = match is_tls {
        true => format!("ssl; ssl_certificate {path}/cert.pem; ssl_certificate_key {path}/key.pem"),
        false => String::new(),
    };
    format!(
        "daemon off; {user} worker_processes 1; pid {path}/pid; error_log {path}/error.log notice;
         events {{}}
         http {{
           log_format short '$msec $request_time $status $content_length $upstream_status $request_uri';
           access_log {path}/access.log short;
           client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
           fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;
           limit_req_zone $binary_remote_addr zone=one:1m rate={rate};
           server {{
             listen {address} {tls};
             location / {{ limit_req zone=one; {location} }}
           }}
         }}"
    )
}
