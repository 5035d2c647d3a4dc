//! What does the status server say of a Spoolhouse on the real parts? Healthy and
//! ready only while it is; figures that agree with the spool; and the service
//! manager is told.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::stack::House;
use crate::support::stack::house::{NOWHERE, PATIENCE};
use crate::support::stack::rows::{rows, send};

fn status(house: &House) -> Value {
    serde_json::from_str(&house.observed("/status.json")).unwrap()
}

/// Rows in the rooms on the way to ClickHouse.
fn waiting(status: &Value) -> u64 {
    let rooms = ["sealed", "ready", "batches", "sending"];
    let rows = rooms
        .iter()
        .map(|directory| status["rooms"][directory]["rows"].as_u64());
    rows.map(Option::unwrap_or_default).sum()
}

/// Whether Prometheus has nothing against these metrics.
fn check_with_promtool(metrics: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: ops/setup --with-prometheus installs it");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(metrics.as_bytes()).unwrap();
    drop(input);
    let done = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.is_empty(), "{said}");
}

#[test]
fn figures_agree_with_the_spool_before_and_after_it_is_drained() {
    let mut house = House::new("observed", 3);
    house.upload_url = NOWHERE.to_owned();
    house.start();
    house.wait_until("its readiness", || house.asked("/readyz").0 == 200);
    assert_eq!(house.asked("/healthz"), (200, "ok\n".to_owned()));
    for zero in [
        "spoolhouse_requests_total{outcome=\"refused_data\"} 0",
        "spoolhouse_undecodable_total{reason=\"truncated\"} 0",
        "spoolhouse_undecodable_payloads_dropped_total{reason=\"budget\"} 0",
        "spoolhouse_offsets_lost_total{partition=\"2\"} 0",
        "spoolhouse_commit_failures_total 0",
        "spoolhouse_operator_needed 0",
        "spoolhouse_paused 0",
        "spoolhouse_last_success_timestamp_seconds 0",
    ] {
        let metrics = house.observed("/metrics");
        assert!(
            metrics.lines().any(|line| line == zero),
            "{zero}: {metrics}"
        );
    }

    send(&house, &rows(61, 600));
    house.wait_until("600 rows in the figures", || {
        waiting(&status(&house)) == 600
    });
    house.wait_until("attempts in vain", || {
        house.metric("spoolhouse_attempts_since_success") > 0.0
            && status(&house)["attempts"][0]["outcome"] == "not_sent"
    });
    let seen = status(&house);
    assert_eq!(seen["live"]["partitions"], 3);
    assert_eq!(seen["live"]["retention_s"], 3600.0);
    assert_eq!(seen["owner"], house.pid());
    assert!(seen["oldest_unsent_s"].as_f64().unwrap() > 0.0);
    assert_eq!(house.metric("spoolhouse_room_rows"), 600.0);
    assert_eq!(house.metric("spoolhouse_retention_seconds"), 3600.0);
    house.wait_until("everything read", || {
        house.metric("spoolhouse_lag_messages") == 0.0
    });
    house.wait_until("everything sealed", || {
        house.metric("spoolhouse_unsealed_age_seconds") == 0.0
    });
    assert_spool_figures(&house);
    assert_status_of_a_running_one(&house);
    assert_eq!(house.stop(), Some(0));

    house.upload_url = crate::support::stack::stack().proxy_url();
    house.start();
    house.wait_until_stored(600);
    house.wait_until("nothing in the figures", || waiting(&status(&house)) == 0);
    let seen = status(&house);
    let attempts = seen["attempts"].as_array().unwrap();
    let stored = attempts
        .iter()
        .find(|one| one["outcome"] == "stored")
        .unwrap();
    assert!(stored["latency"]["median_s"].is_number(), "{stored}");
    assert!(house.metric("spoolhouse_latency_seconds_count") > 0.0);
    assert!(house.metric("spoolhouse_batch_fill_ratio_count") > 0.0);
    let started = house.metric("spoolhouse_started_timestamp_seconds");
    assert!(house.metric("spoolhouse_last_success_timestamp_seconds") >= started);
    assert_eq!(house.metric("spoolhouse_attempts_since_success"), 0.0);
    assert_request_figures(&house, attempts);
    check_with_promtool(&house.observed("/metrics"));
    assert_eq!(house.stop(), Some(0));
}

/// What the metrics say of 600 rows in the spool, against the files and the disk.
fn assert_spool_figures(house: &House) {
    assert_eq!(house.metric("spoolhouse_records_total"), 600.0);
    assert!(house.metric("spoolhouse_segments_sealed_total") >= 1.0);
    assert_eq!(house.metric("spoolhouse_commit_failures_total"), 0.0);
    let files = walkdir::WalkDir::new(house.spool()).into_iter();
    // What was replaced meanwhile is not there any more.
    let files = files.filter_map(|entry| entry.ok()?.metadata().ok());
    let bytes: u64 = files
        .filter(|file| file.is_file())
        .map(|file| file.len())
        .sum();
    house.wait_until("the spool's size", || {
        let rooms = house.metric("spoolhouse_room_bytes");
        let all = house.metric("spoolhouse_spool_bytes");
        rooms > 0.0 && rooms <= all && all <= bytes as f64
    });
    assert_eq!(
        house.metric("spoolhouse_spool_bytes_max"),
        (10_u64 << 30) as f64
    );
    let floor = house.metric("spoolhouse_disk_free_bytes_min");
    assert!(
        ((256 << 20)..(1 << 30)).contains(&(floor as u64)),
        "{floor}"
    );
    let mut df = Command::new("df");
    let said = df
        .args(["--output=avail", "-B1"])
        .arg(house.spool())
        .output();
    let said = String::from_utf8(said.unwrap().stdout).unwrap();
    let free: f64 = said.lines().last().unwrap().trim().parse().unwrap();
    // Others write to it meanwhile.
    let share = house.metric("spoolhouse_disk_free_bytes") / free;
    assert!((0.9..1.1).contains(&share), "{share}");
    let oldest = house.metric("spoolhouse_oldest_unsent_seconds");
    assert!(oldest > 0.0 && oldest < 300.0, "{oldest}");
}

/// What `spoolhouse status` says beside a process that reads and can't send.
fn assert_status_of_a_running_one(house: &House) {
    let ask = |address: &str, more: &[&str]| {
        let mut status = house.other_command("status");
        status.args(more).env("SPOOLHOUSE_OBSERVE__LISTEN", address);
        String::from_utf8(status.output().unwrap().stdout).unwrap()
    };
    house.wait_until("a look at it after the last seal", || {
        status(house)["live"]["unsealed_s"] == 0.0
    });
    let address = house.observe_address();
    let said: Value = serde_json::from_str(&ask(&address, &["--json"])).unwrap();
    assert_eq!(waiting(&said), 600);
    let running = &said["running"];
    assert_eq!(running["state"], "yes", "{said}");
    assert_eq!(running["lag"], 0);
    assert_eq!(running["retention_left_s"], 3600.0);
    assert_eq!(running["held"], Value::Null);
    assert_eq!(running["stored_per_s"], 0.0);
    assert_eq!(running["errors"][0]["outcome"], "not_sent");
    let text = ask(&address, &[]);
    for words in [
        "messages read a second, 0.0 rows stored a second",
        "0 messages behind Kafka, which keeps them for 1h: 1h left",
        "what went wrong last:\n",
        "  not sent: ",
    ] {
        assert!(text.contains(words), "{words:?}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let silent = ask("127.0.0.1:1", &[]);
    assert!(
        silent.contains("does not answer at 127.0.0.1:1"),
        "{silent}"
    );
}

/// What the metrics say of requests, against the requests themselves.
fn assert_request_figures(house: &House, attempts: &[Value]) {
    assert_eq!(house.metric("spoolhouse_rows_stored_total"), 600.0);
    let stored = attempts.iter().filter(|one| one["outcome"] == "stored");
    let bytes: f64 = stored
        .clone()
        .map(|one| one["bytes"].as_f64().unwrap())
        .sum();
    assert_eq!(house.metric("spoolhouse_stored_bytes_total"), bytes);
    assert_eq!(house.requests_with("stored"), stored.count() as f64);
    let requests = house.metric("spoolhouse_requests_total");
    assert_eq!(requests, attempts.len() as f64);
    assert_eq!(house.metric("spoolhouse_request_seconds_count"), requests);
    assert_eq!(
        house.metric("spoolhouse_body_bytes_max"),
        f64::from(1 << 20)
    );
    let interval = house.metric("spoolhouse_slot_interval_seconds");
    assert!(interval > 0.0 && interval < 60.0, "{interval}");
}

#[test]
fn a_full_spool_is_not_ready_and_says_so() {
    let mut house = House::new("observed_full", 2);
    house.upload_url = NOWHERE.to_owned();
    house.spool_settings = "max_bytes = \"1MiB\"\nroll_bytes = \"256KiB\"";
    house.start();
    house.wait_until("its readiness", || house.asked("/readyz").0 == 200);
    let rows = rows(62, 60_000);
    send(&house, &rows);
    // It may resume once more: what is packed takes less room.
    let why = house.wait_for("its pause", || {
        let (status, why) = house.asked("/readyz");
        (status == 503).then_some(why)
    });
    assert!(why.starts_with("consumption is paused"), "{why}");
    assert_eq!(house.asked("/healthz").0, 200);
    house.wait_until("the pause as a metric", || {
        house.metric("spoolhouse_paused") == 1.0
    });
    house.wait_until("a second of pause", || {
        house.metric("spoolhouse_paused_seconds_total") >= 1.0
    });
    // What came after the last fetch is known from the broker.
    send(&house, &rows[..1_000]);
    let ends: i64 = house.logs().iter().map(|(_, end)| end).sum();
    house.wait_until("its lag", || {
        let taken: i64 = house.positions().values().sum();
        house.metric("spoolhouse_lag_messages") == (ends - taken) as f64
    });
    assert!(house.metric("spoolhouse_unsealed_age_seconds") > 0.0);
    assert_eq!(status(&house)["ready"], false);
    assert_eq!(house.stop(), Some(0));
}

#[test]
fn what_an_operator_has_to_mend_is_shown_until_it_is_mended() {
    let mut house = House::new("observed_refused", 1);
    house.upload_settings = "interval = \"100ms\"\ntable = \"nowhere_to_be_found\"";
    house.start();
    send(&house, &rows(63, 50));
    house.wait_until("its refusal", || {
        house.metric("spoolhouse_operator_needed") == 1.0
    });
    house.wait_until("its answer on the page", || {
        let seen = status(&house);
        let refusal = seen["refusal"].as_str().unwrap_or_default();
        refusal.contains("nowhere_to_be_found")
    });
    house.wait_until("its readiness: it takes records in all the same", || {
        house.asked("/readyz").0 == 200
    });
    assert_eq!(house.stop(), Some(0));
    house.upload_settings = "interval = \"100ms\"";
    house.start();
    house.wait_until_stored(50);
    assert_eq!(house.metric("spoolhouse_operator_needed"), 0.0);
    house.wait_until("no refusal on the page", || {
        status(&house)["refusal"] == Value::Null
    });
    assert_eq!(house.stop(), Some(0));
}

#[test]
fn the_service_manager_hears_of_the_start_of_every_beat_and_of_the_stop() {
    let mut house = House::new("observed_notify", 1);
    let path = house.dir().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    house.environment = vec![
        ("NOTIFY_SOCKET", path.display().to_string()),
        ("WATCHDOG_USEC", "120000000".to_owned()),
    ];
    let hear = || {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).expect("a message in time");
        String::from_utf8_lossy(&message[..length])
            .trim()
            .to_owned()
    };
    house.start();
    let mut heard = vec![hear()];
    while heard.iter().filter(|said| *said == "WATCHDOG=1").count() < 2 || heard.len() < 3 {
        heard.push(hear());
    }
    assert!(heard.contains(&"READY=1".to_owned()), "{heard:?}");
    assert_eq!(house.stop(), Some(0));
    manager
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    while heard.last().is_none_or(|last| last != "STOPPING=1") {
        heard.push(hear());
    }
}
