//! Is the status page right in a real browser: idle, busy, broken, with nothing
//! and with very much, on a phone and on a desk? What is looked at is in
//! `status_page.py`; here is only the Spoolhouse behind it, which reaches no
//! Kafka.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use crate::support::exclusive::{Place, place};

/// What a large spool holds.
const FILES: u64 = 100_000;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Python with what drives the browser, and the browser; `ops/setup` installs
/// both.
fn python() -> Command {
    let python = repository().join("target/tools/venv/bin/python");
    let is_there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(program).exists())
    };
    if !python.exists() || !is_there("chromium") {
        let setup = Command::new(repository().join("ops/setup"))
            .args(["--quiet", "--with-chromium"])
            .status();
        assert!(setup.unwrap().success(), "ops/setup --with-chromium");
    }
    let mut python = Command::new(python);
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// A Spoolhouse that reaches neither Kafka nor a proxy, in a directory.
struct Alone {
    child: Child,
    address: String,
    reader: Option<JoinHandle<()>>,
    /// A browser comes with it.
    _place: Place,
}

impl Alone {
    fn start(dir: &Path) -> Self {
        let place = place();
        let mut child = Command::new(env!("CARGO_BIN_EXE_spoolhouse"))
            .arg("run")
            .env("SPOOLHOUSE_KAFKA__BROKERS", "127.0.0.1:1")
            .env("SPOOLHOUSE_UPLOAD__URL", "http://127.0.0.1:1/")
            // A batch takes up only some of very many files.
            .env("SPOOLHOUSE_UPLOAD__MAX_BODY", "1KiB")
            .env("SPOOLHOUSE_OBSERVE__LISTEN", "127.0.0.1:0")
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = log.find_map(|line| {
            let line = line.ok()?;
            let (_, address) = line.split_once("listen=")?;
            Some(address.trim().to_owned())
        });
        // It must not end for a pipe that nobody reads.
        let reader = thread::spawn(move || log.for_each(drop));
        Self {
            child,
            address: listens.expect("it started"),
            reader: Some(reader),
            _place: place,
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

/// Has the page looked at as `status_page.py` describes it.
fn look(arguments: &[&str]) {
    let script = repository().join("tests/cli/status_page.py");
    let done = python().arg(script).args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
}

#[test]
fn the_page_is_right_in_every_state_and_width() {
    let dir = tempfile::tempdir().unwrap();
    let alone = Alone::start(dir.path());
    look(&[&format!("http://{}", alone.address)]);
}

#[test]
fn the_page_is_right_with_a_hundred_thousand_files_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    crate::support::many_files::fill(&dir.path().join("spool"), FILES, 0, 1).unwrap();
    let alone = Alone::start(dir.path());
    let (url, files) = (format!("http://{}", alone.address), FILES.to_string());
    look(&[&url, "--files", &files]);
}
