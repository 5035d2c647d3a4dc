//! Is the status page right in a real browser: idle, busy, broken, with nothing
//! and with very much, on a phone and on a desk? What is looked at is in
//! `tests/status_page.py`; here is only the Spoolhouse behind it, which reaches no
//! Kafka.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

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

#[test]
fn the_page_is_right_in_every_state_and_width() {
    let dir = tempfile::tempdir().unwrap();
    let mut spoolhouse = Command::new(env!("CARGO_BIN_EXE_spoolhouse"))
        .arg("run")
        .env("SPOOLHOUSE_KAFKA__BROKERS", "127.0.0.1:1")
        .env("SPOOLHOUSE_OBSERVE__LISTEN", "127.0.0.1:0")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(spoolhouse.stderr.take().unwrap()).lines();
    let listens = log.find_map(|line| {
        let line = line.ok()?;
        let (_, address) = line.split_once("listen=")?;
        Some(address.trim().to_owned())
    });
    // It must not end for a pipe that nobody reads.
    let reader = std::thread::spawn(move || log.for_each(drop));
    let address = listens.expect("it started");
    let done = python()
        .arg(repository().join("tests/status_page.py"))
        .arg(format!("http://{address}"))
        .output();
    spoolhouse.kill().unwrap();
    spoolhouse.wait().unwrap();
    reader.join().unwrap();
    let done = done.unwrap();
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
}
