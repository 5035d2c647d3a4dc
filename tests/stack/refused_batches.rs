//! What becomes of a batch that is refused? What an operator can mend holds the
//! line, says so, and goes on by itself; what is wrong with the rows puts the
//! batch aside with the reason. On real parts, with a server of the test's own
//! where its door has to shut; at the end every row is in the log and in the
//! totals exactly once.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::nginx::Nginx;
use crate::support::stack::fault_proxy::FaultProxy;
use crate::support::stack::own_server::OwnServer;
use crate::support::stack::rows::{assert_same, assert_stored_once, rows, send, stored};
use crate::support::stack::spool_files::{document, files_in, log_rows};
use crate::support::stack::{House, stack};

/// Waits for the fault to be noticed and shouted about: the metric, the log.
fn wait_for_alarm(house: &House, says: &str) {
    house.wait_until("the alarm", || {
        house.metric("spoolhouse_operator_needed") == 1.0
    });
    house.wait_until(says, || house.log().contains(says));
    let kept = |directory| files_in(&house.spool(), directory).len();
    assert_eq!(kept("rejected") + kept("doubtful"), 0, "nothing moves");
}

/// Waits until all is stored and the alarm is over.
fn wait_for_healing(house: &House, places: &[crate::support::stack::feed::At]) {
    house.wait_until_drained(places);
    assert_eq!(house.metric("spoolhouse_operator_needed"), 0.0);
}

#[test]
fn a_table_that_is_missing_is_waited_for() {
    let house = House::new("no_table", 1);
    let rows = rows(51, 300);
    house.clickhouse("RENAME TABLE http_log TO elsewhere");
    house.start();
    let places = send(&house, &rows);
    wait_for_alarm(&house, "UNKNOWN_TABLE");
    house.clickhouse("RENAME TABLE elsewhere TO http_log");
    wait_for_healing(&house, &places);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &rows, "a missing table");
}

#[test]
fn a_setting_that_the_server_does_not_know_is_named_with_its_way_out() {
    let mut house = House::new("unknown_setting", 1);
    let rows = rows(52, 300);
    // Between two slots it lies in batches/, where the kill is to meet it: one in
    // sending/ would be of unknown fate.
    house.upload_settings = "interval = \"5s\"\n[upload.settings]\nno_such_setting = 1";
    house.start();
    let places = send(&house, &rows);
    wait_for_alarm(&house, "no_such_setting = \"\" in [upload.settings]");
    house.wait_until("the batch in batches/ again, and nowhere else", || {
        let count = |directory| files_in(&house.spool(), directory).len();
        (count("batches"), count("sending")) == (1, 0)
    });
    house.kill();
    house.upload_settings = "interval = \"100ms\"";
    house.start();
    wait_for_healing(&house, &places);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &rows, "an unknown setting");
}

#[test]
fn a_setting_given_up_after_an_unknown_fate_leaves_the_batch_to_a_person() {
    let proxy = FaultProxy::before(stack().proxy);
    let mut house = House::new("setting_after_unknown", 1);
    let all = rows(58, 600);
    house.upload_url = proxy.url();
    house.upload_settings = "interval = \"100ms\"\n[upload.settings]\nno_such_setting = 1";
    proxy.plan(&json!({"pass": "half", "then": "reset"}), 1_000);
    house.start();
    let places = send(&house, &all[..300]);
    house.wait_until_committed(&places);
    house.wait_until("a lost request", || house.requests_with("unknown") >= 1.0);
    house.kill();
    proxy.let_pass();
    house.upload_settings = "interval = \"100ms\"";
    house.start();
    house.wait_until("a batch in doubt", || {
        files_in(&house.spool(), "doubtful").len() == 1
    });
    let places = send(&house, &all[300..]);
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    let mut everything = log_rows(&house.spool(), &["doubtful"]);
    everything.extend(house.stored_rows());
    everything.sort();
    assert_same(&everything, &stored(&all));
}

#[test]
fn a_wrong_password_and_a_server_that_only_reads_are_waited_for() {
    const SECRET: &str = "s3cr3t-of-this-test";
    let server = OwnServer::start();
    let mut house = House::storing_at(server.port, "door_shut", 1);
    let all = rows(53, 900);
    let password = house.dir().join("password");
    house.upload_url = format!("http://127.0.0.1:{}/", server.port);
    house.log_filter = "trace";
    let settings = |auth: &str| -> &'static str {
        let file = password.display();
        Box::leak(
            format!(
                "interval = \"100ms\"\nuser = \"ingest\"\npassword_file = \"{file}\"\nauth = \"{auth}\""
            )
            .into_boxed_str(),
        )
    };
    let users = |readonly: bool| json!({"default": {}, "ingest": {"password": SECRET, "readonly": readonly}});
    let mut places = Vec::new();
    for (auth, part) in ["headers", "basic"].into_iter().zip(all.chunks(300)) {
        server.admit(&users(false));
        fs::write(&password, "old and wrong\n").unwrap();
        house.upload_settings = settings(auth);
        house.start();
        places.extend(send(&house, part));
        wait_for_alarm(&house, "AUTHENTICATION_FAILED");
        fs::write(&password, format!("{SECRET}\n")).unwrap();
        wait_for_healing(&house, &places);
        assert_eq!(house.stop(), Some(0));
    }
    server.admit(&users(true));
    house.start();
    places.extend(send(&house, &all[600..]));
    wait_for_alarm(&house, "READONLY");
    fs::remove_file(&password).unwrap();
    wait_for_alarm(&house, "can't read the password file");
    fs::write(&password, SECRET).unwrap();
    server.admit(&users(false));
    wait_for_healing(&house, &places);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &all, "a shut door");
    // "ingest:s3cr3t-of-this-test" as basic authentication carries it.
    let log = house.log();
    for secret in [
        SECRET,
        "old and wrong",
        "aW5nZXN0OnMzY3IzdC1vZi10aGlzLXRlc3Q",
    ] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}

#[test]
fn rows_that_the_table_refuses_go_aside_with_the_reason_and_the_rest_goes_on() {
    let mut house = House::new("refused_data", 1);
    let all = rows(54, 600);
    house.upload_settings = "interval = \"100ms\"\ndata_retries = 2";
    house.clickhouse("ALTER TABLE http_log ADD CONSTRAINT none CHECK response_status = 0");
    house.start();
    let places = send(&house, &all[..300]);
    house.wait_until("a rejected batch", || {
        !files_in(&house.spool(), "rejected").is_empty()
    });
    house.wait_until_committed(&places);
    house.wait_until("all of them", || {
        log_rows(&house.spool(), &["rejected"]).len() == 300
    });
    house.clickhouse("ALTER TABLE http_log DROP CONSTRAINT none");
    let places = send(&house, &all[300..]);
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &all[300..], "a constraint");
    assert_same(
        &log_rows(&house.spool(), &["rejected"]),
        &stored(&all[..300]),
    );
    for batch in files_in(&house.spool(), "rejected") {
        let why: Value =
            serde_json::from_slice(&fs::read(batch.with_extension("error.json")).unwrap()).unwrap();
        let digest = batch
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .rsplit('-')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(why["code"], 469, "{why}");
        assert_eq!(why["attempts"], 2, "{why}");
        assert_eq!(why["query_id"], format!("spoolhouse-{digest}"), "{why}");
        assert!(
            why["message"]
                .as_str()
                .unwrap()
                .contains("VIOLATED_CONSTRAINT"),
            "{why}"
        );
        assert!(
            humantime::parse_rfc3339(why["time"].as_str().unwrap()).is_ok(),
            "{why}"
        );
    }
}

/// What a server says that lacks an encoding: 22.12, as its users reported it
/// (ClickHouse issue 44505).
fn unreadable() -> Value {
    let text = "Code: 33. DB::ParsingException: Error while reading Parquet data: IOError: Not yet \
                implemented: Unsupported encoding.: While executing ParquetBlockInputFormat. \
                (CANNOT_READ_ALL_DATA) (version 22.12.1.1752 (official build))\n";
    let head = "X-ClickHouse-Server-Display-Name: old\r\nX-ClickHouse-Exception-Code: 33";
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 500 Internal Server Error\r\n{head}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{text}"
    );
    json!({"pass": "nothing", "then": "answer", "answer": answer})
}

/// The encodings of the batches in a room, as their footers name them.
fn encodings(house: &House, directory: &str) -> Vec<String> {
    let files = files_in(&house.spool(), directory);
    let of = |file: &PathBuf| document(file)["batch"]["encoding"].clone();
    let named = |encoding: Value| encoding.as_str().unwrap_or("compact").to_owned();
    files.iter().map(of).map(named).collect()
}

#[test]
fn a_file_that_the_server_cannot_read_is_kept_and_packed_anew_in_the_other_encoding() {
    let proxy = FaultProxy::before(stack().proxy);
    let mut house = House::new("unreadable", 1);
    house.upload_url = proxy.url();
    let rows = rows(59, 2_000);
    proxy.plan(&unreadable(), 1_000);
    house.start();
    let places = send(&house, &rows);
    wait_for_alarm(&house, "set upload.encoding = \"compatible\"");
    house.wait_until_committed(&places);
    house.wait_until("several refusals", || proxy.shown() >= 3);
    house.wait_until("the batch in batches/ again", || {
        encodings(&house, "batches") == ["compact"]
    });
    let status = house.other_command("status").output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("upload.encoding"), "{status}");
    assert_eq!(house.stop(), Some(0));
    // Nobody listens while it is looked at what the next start made of it.
    proxy.go_away();
    proxy.let_pass();
    let waiting = log_rows(&house.spool(), &["batches", "ready"]);
    house.upload_settings = "interval = \"100ms\"\nencoding = \"compatible\"";
    house.start();
    house.wait_until("the batch, packed anew", || {
        encodings(&house, "sending") == ["compatible"]
    });
    let frozen = log_rows(&house.spool(), &["batches", "sending", "ready"]);
    assert_same(&frozen, &waiting);
    proxy.come_back();
    house.wait_until_drained(&places);
    assert_eq!(house.metric("spoolhouse_operator_needed"), 0.0);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &rows, "a server that could not read");
    assert!(files_in(&house.spool(), "rejected").is_empty());
    assert!(files_in(&house.spool(), "doubtful").is_empty());
}

#[test]
fn a_view_that_throws_leaves_the_totals_behind_until_the_retry() {
    let mut house = House::new("view_throws", 1);
    let rows = rows(55, 400);
    house.upload_settings = "interval = \"100ms\"\ndata_retries = 1000";
    let view = house.clickhouse("SELECT as_select FROM system.tables WHERE name = 'http_log_totals_view' AND database = currentDatabase() FORMAT TSVRaw");
    let trap = format!("(SELECT count() FROM {}.trap)", house.topic());
    let (head, tail) = view.split_once("GROUP BY").unwrap();
    house.clickhouse("CREATE TABLE trap (x UInt8) ENGINE = MergeTree ORDER BY x");
    house.clickhouse("INSERT INTO trap VALUES (1)");
    house.clickhouse("DROP VIEW http_log_totals_view");
    house.clickhouse(&format!(
        "CREATE MATERIALIZED VIEW http_log_totals_view TO http_log_totals AS \
         {head} WHERE throwIf({trap} > 0) = 0 GROUP BY {tail}"
    ));
    house.start();
    let places = send(&house, &rows);
    house.wait_until("a refusal", || house.requests_with("refused_data") >= 2.0);
    assert!(!house.stored_rows().is_empty(), "the log has them already");
    assert!(house.stored_totals().is_empty(), "the totals do not");
    house.clickhouse("TRUNCATE TABLE trap");
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &rows, "a view that threw");
    assert!(files_in(&house.spool(), "rejected").is_empty());
}

/// Bodies that an nginx was offered from the `from`th on, and the smallest that it
/// ever found too large, bytes.
fn bodies(nginx: &Nginx, from: usize) -> (Vec<u64>, Option<u64>) {
    let log = nginx.log();
    let too_large = log.iter().filter(|line| line.status == 413);
    let smallest = too_large.map(|line| line.body_bytes).min();
    let bodies = log[from..].iter().map(|line| line.body_bytes).collect();
    (bodies, smallest)
}

#[test]
fn a_body_limit_is_learned_step_by_step_kept_over_restarts_and_learned_anew_when_configured() {
    let to = format!("proxy_pass http://127.0.0.1:{};", stack().clickhouse);
    let limit = |bytes: &str| format!("client_max_body_size {bytes}; {to}");
    let nginx = Nginx::start("100r/s", &limit("24k"));
    let mut house = House::new("body_limits", 1);
    house.upload_url = nginx.url();
    let all = rows(56, 12_000);
    let mut parts = all.chunks(2_000).enumerate();
    // One life with so many rows at once, some fifty thousand bytes, under a limit;
    // what it offered, and the smallest refusal before.
    let mut live = |house: &House, bytes: &str| {
        let (place, part) = parts.next().unwrap();
        nginx.reload(&limit(bytes));
        let (before, refused) = bodies(&nginx, 0);
        let places = send(house, part);
        house.start();
        house.wait_until_drained(&places);
        assert_eq!(house.stop(), Some(0));
        let done = (place + 1) * 2_000;
        assert_stored_once(house, &all[..done], bytes);
        let (offered, _) = bodies(&nginx, before.len());
        (offered, refused.unwrap_or(u64::MAX))
    };
    for bytes in ["24k", "24k", "6k", "6k"] {
        let (offered, refused) = live(&house, bytes);
        assert!(offered[0] < refused, "{bytes}: {offered:?} after {refused}");
    }
    // A limit that rose is not looked for: what is known to pass does.
    let (offered, refused) = live(&house, "64k");
    assert!(*offered.iter().max().unwrap() < refused, "{offered:?}");
    house.upload_settings = "interval = \"100ms\"\nmax_body = \"64KiB\"";
    let (offered, refused) = live(&house, "64k");
    assert!(*offered.iter().max().unwrap() > refused, "{offered:?}");
    assert!(files_in(&house.spool(), "doubtful").is_empty());
    assert!(files_in(&house.spool(), "rejected").is_empty());
}

#[test]
fn a_limit_that_falls_below_a_batch_of_unknown_fate_leaves_it_to_a_person() {
    let to = format!("proxy_pass http://127.0.0.1:{};", stack().clickhouse);
    let nginx = Nginx::start("100r/s", &to);
    let proxy = FaultProxy::before(nginx.address.port());
    let mut house = House::new("limit_after_unknown", 1);
    house.upload_url = proxy.url();
    let all = rows(57, 1_200);
    proxy.plan(&json!({"pass": "all", "then": "reset"}), 1_000);
    house.start();
    let places = send(&house, &all[..1_000]);
    house.wait_until_committed(&places);
    house.wait_until("lost answers", || proxy.shown() >= 2);
    nginx.reload(&format!("client_max_body_size 4k; {to}"));
    proxy.let_pass();
    house.wait_until("a batch in doubt", || {
        files_in(&house.spool(), "doubtful").len() == 1
    });
    let places = send(&house, &all[1_000..]);
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    // Its rows were stored, as a person can see; they were not sent again in parts.
    assert_stored_once(&house, &all, "a limit that fell");
    let doubtful = files_in(&house.spool(), "doubtful");
    assert_eq!(doubtful.len(), 1);
    let reason = doubtful[0].with_extension("reason.json");
    let reason = fs::read_to_string(reason).unwrap();
    assert!(reason.contains("client_max_body_size"), "{reason}");
}
