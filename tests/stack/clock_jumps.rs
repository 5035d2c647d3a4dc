//! What if the clock is set back an hour, or on, while it runs or between two
//! runs? The wall clock is libfaketime's; that of sleeping and waiting stays the
//! kernel's, as when somebody sets the date.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::stack::rows::{assert_same, rows, send, stored};
use crate::support::stack::{House, root};

/// Longest time that a few rows may take to be stored, whatever the clock does:
/// many intervals, and far less than it jumps by.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

/// Where Debian and its kin put libfaketime.
fn libfaketime() -> Option<PathBuf> {
    let mut dirs: Vec<PathBuf> = vec!["/usr/lib/faketime".into(), "/usr/lib64/faketime".into()];
    let lib = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    dirs.extend(lib.map(|entry| entry.path().join("faketime")));
    let mut found = dirs.iter().map(|dir| dir.join("libfaketimeMT.so.1"));
    found.find(|library| library.exists())
}

/// Builds what libfaketime lacks.
fn build_waiting(dir: &Path) -> PathBuf {
    let source = root().join("tests/stack/support/stack/cnd_timedwait.c");
    let library = dir.join("cnd_timedwait.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-pthread", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.unwrap().success());
    library
}

/// When it last used a slot, by its own clock, in hours from now.
fn slot_used(house: &House) -> i64 {
    let pace = fs::read(house.spool().join("pace.json")).unwrap();
    let pace: Value = serde_json::from_slice(&pace).unwrap();
    let used_at = pace["used_at_ms"].as_i64().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (used_at - now.as_millis() as i64 + 1_800_000).div_euclid(3_600_000)
}

#[test]
fn a_clock_that_jumps_an_hour_delays_nothing_and_loses_nothing() {
    let Some(library) = libfaketime() else {
        panic!("libfaketime is missing: ops/setup installs it");
    };
    let mut house = House::new("clock_jumps", 2);
    house.upload_settings = "interval = \"1s\"";
    let waiting = build_waiting(house.dir());
    let clock = house.dir().join("clock");
    house.environment = vec![
        (
            "LD_PRELOAD",
            format!("{}:{}", waiting.display(), library.display()),
        ),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let rows = rows(41, 600);
    let mut places = Vec::new();
    let mut running = false;
    // The clock of each step, and whether it is set while nobody runs.
    let steps = [
        (0, false),
        (-1, false),
        (1, false),
        (0, true),
        (-1, true),
        (1, true),
    ];
    for (part, (hours, restarts)) in rows.chunks(100).zip(steps) {
        if running && restarts {
            assert_eq!(house.stop(), Some(0));
            running = false;
        }
        fs::write(&clock, format!("{hours:+}h")).unwrap();
        if !running {
            house.start();
            running = true;
        }
        let begun = Instant::now();
        places.extend(send(&house, part));
        house.wait_until_drained(&places);
        let took = begun.elapsed();
        assert!(took < DRAINED_WITHIN, "{hours:+} h: {took:?}");
        assert_eq!(slot_used(&house), hours, "its clock was not set");
    }
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(&rows));
    assert!(house.gaps().is_empty());
}
