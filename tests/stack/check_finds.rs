//! Does `check` find what is wrong before a start, and name the cure? Each thing
//! is planted on the real broker, nginx, ClickHouse and disk. And does it find
//! nothing where all is right, and take one slot of the proxy, not more?

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::nginx::{Line, Nginx};
use crate::support::stack::house::NOWHERE;
use crate::support::stack::mounts::Mounts;
use crate::support::stack::own_server::OwnServer;
use crate::support::stack::rows::{rows, send};
use crate::support::stack::{House, stack};

/// What `check` printed and how it ended.
struct Checked {
    report: Value,
    code: Option<i32>,
}

impl Checked {
    fn by(command: &mut Command) -> Self {
        let output = command.arg("--json").output().unwrap();
        let report = serde_json::from_slice(&output.stdout);
        Self {
            report: report.unwrap_or_else(|error| panic!("{error}: {output:?}")),
            code: output.status.code(),
        }
    }

    fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().unwrap()
    }

    /// Asserts that this was found, of this level, and that its cure holds these words.
    fn assert_found(&self, level: &str, what: &str, cure: &str) {
        let holds = |finding: &Value, key: &str, text: &str| {
            finding[key]
                .as_str()
                .is_some_and(|said| said.contains(text))
        };
        let is_found = self.findings().iter().any(|finding| {
            finding["level"] == level
                && holds(finding, "what", what)
                && holds(finding, "cure", cure)
        });
        assert!(
            is_found,
            "no {level} `{what}` with `{cure}`: {:#}",
            self.report
        );
        let code = match self.report["problems"].as_u64() {
            Some(0) => 0,
            _ => 1,
        };
        assert_eq!(self.code, Some(code));
    }

    fn assert_problem(&self, what: &str, cure: &str) {
        self.assert_found("problem", what, cure);
        assert_eq!(self.code, Some(1));
    }
}

fn check(house: &House) -> Checked {
    Checked::by(&mut house.other_command("check"))
}

fn check_proxy(house: &House) -> Checked {
    Checked::by(house.other_command("check").arg("--proxy"))
}

/// A proxy before the stack's ClickHouse.
fn proxy(rate: &str, more: &str) -> Nginx {
    let clickhouse = stack().clickhouse;
    Nginx::start(
        rate,
        &format!("{more} proxy_pass http://127.0.0.1:{clickhouse};"),
    )
}

/// When the last slot was used, by what pace.json says.
fn used_at(house: &House) -> Option<u64> {
    let pace = fs::read(house.spool().join("pace.json")).ok()?;
    serde_json::from_slice::<Value>(&pace).unwrap()["used_at_ms"].as_u64()
}

#[test]
fn where_all_is_right_there_is_no_problem_and_each_value_has_its_origin() {
    let mut house = House::new("check_right", 2);
    // Longer than any disk takes on a busy machine.
    house.roll_after = "5s";
    house.start();
    let places = send(&house, &rows(1, 10));
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    let mut command = house.other_command("check");
    let command = command
        .arg("--proxy")
        .env("SPOOLHOUSE_SPOOL__MIN_FREE", "1MiB");
    let checked = Checked::by(command);
    // A temporary directory may be in memory.
    let problems = checked
        .findings()
        .iter()
        .filter(|found| found["level"] == "problem");
    let problems: Vec<_> = problems
        .map(|found| found["what"].as_str().unwrap())
        .collect();
    assert!(
        problems
            .iter()
            .all(|what| what.contains("which a power cut empties")),
        "{problems:?}"
    );
    let origin = |key: &str| {
        let values = checked.report["config"].as_array().unwrap();
        let value = values.iter().find(|value| value["key"] == key);
        value.unwrap()["origin"].as_str().unwrap().to_owned()
    };
    assert!(origin("kafka.brokers").ends_with("by-hand.toml:2"));
    assert_eq!(origin("spool.min_free"), "SPOOLHOUSE_SPOOL__MIN_FREE");
    assert_eq!(origin("run.shutdown_after"), "default");
    let whats: Vec<_> = checked
        .findings()
        .iter()
        .map(|found| &found["what"])
        .collect();
    let whats = json!(whats).to_string();
    for said in [
        "2 partitions",
        "0 messages not read yet; the spool has a position in",
        "a file is durable there in",
        "admits a body of 1.0 MiB",
        "ClickHouse ",
        "has the nine columns",
        "http_log remembers 10000 tokens",
        "http_log_totals remembers 10000 tokens",
        "knows all 10 settings",
    ] {
        assert!(whats.contains(said), "{said}: {whats}");
    }
    let left = fs::read_dir(house.spool()).unwrap();
    let mut left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!left.any(|name| name.contains("check")));
}

#[test]
fn a_key_that_does_not_exist() {
    let mut house = House::new("check_key", 1);
    house.spool_settings = "roll_aftr = \"5s\"";
    let checked = check(&house);
    checked.assert_problem("spool.roll_aftr", "correct it where the brackets say");
    checked.assert_problem("did you mean spool.roll_after?", "correct it");
}

#[test]
fn a_roll_that_outlasts_kafkas_retention() {
    let mut house = House::new("check_retention", 1);
    house.configure_topic(&[("retention.ms", "60000")]);
    house.roll_after = "60s";
    check(&house).assert_problem(
        "keeps a message for 1m",
        "lower spool.roll_after to at most 15s, or raise retention.ms",
    );
}

#[test]
fn a_topic_that_is_not_there() {
    let house = House::new("check_topic", 1);
    let mut command = house.other_command("check");
    let checked = Checked::by(command.env("SPOOLHOUSE_KAFKA__TOPIC", "no_such_topic"));
    checked.assert_problem(
        "has no topic no_such_topic",
        "correct kafka.topic (SPOOLHOUSE_KAFKA__TOPIC), or create it: kafka-topics.sh",
    );
}

#[test]
fn a_broker_and_a_proxy_where_nobody_listens() {
    let mut house = House::new("check_nobody", 1);
    house.upload_url = NOWHERE.to_owned();
    let mut command = house.other_command("check");
    let command = command
        .arg("--proxy")
        .env("SPOOLHOUSE_KAFKA__BROKERS", "127.0.0.1:1");
    let checked = Checked::by(command);
    checked.assert_problem(
        "127.0.0.1:1 does not answer",
        "start the broker, correct kafka.brokers (SPOOLHOUSE_KAFKA__BROKERS)",
    );
    checked.assert_problem("nothing could be sent to upload.url", "start the proxy");
}

#[test]
fn a_spool_on_a_disk_that_is_read_only_or_full() {
    let Some(mounts) = Mounts::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    let config = dir.path().join("x.toml");
    let brokers = stack().brokers();
    let text = format!(
        "[kafka]\nbrokers = {brokers:?}\n[spool]\ndir = {:?}\n",
        disk.join("spool")
    );
    fs::write(&config, text).unwrap();
    mounts.small_disk(&disk, 1024);
    let check = || {
        let words = mounts.enter();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg(env!("CARGO_BIN_EXE_spoolhouse"));
        Checked::by(command.args(["check", "--config"]).arg(&config))
    };
    check().assert_problem("is tmpfs: memory", "spool.dir");
    check().assert_problem("nothing is read from Kafka", "free or add space");
    mounts.run(&format!(
        "head -c 2M /dev/zero > {}/full; true",
        disk.display()
    ));
    check().assert_problem("nothing can be written", "free space there");
    mounts.make_read_only(&disk);
    check().assert_problem("nothing can be written", "mount it writable");
}

#[test]
fn a_spool_that_another_process_owns() {
    let house = House::new("check_owner", 1);
    house.start();
    let owned = format!("process {} owns it", house.pid());
    let checked = check_proxy(&house);
    checked.assert_found("note", &owned, "set spool.dir (");
    checked.assert_found(
        "note",
        "not noted in pace.json",
        "may find its slot taken, once",
    );
    assert_eq!(house.stop(), Some(0));
}

#[test]
fn tables_that_are_not_ours() {
    let house = House::new("check_tables", 1);
    let mut command = house.other_command("check");
    let command = command
        .arg("--proxy")
        .env("SPOOLHOUSE_UPLOAD__TABLE", "nowhere");
    Checked::by(command).assert_problem(
        "there is no table check_tables",
        "apply the files of sql/ directly on ClickHouse, or correct upload.database",
    );
    house.clickhouse("ALTER TABLE http_log DROP COLUMN method");
    house.clickhouse("ALTER TABLE http_log MODIFY COLUMN url UInt64");
    house.clickhouse(
        "ALTER TABLE http_log_totals MODIFY SETTING non_replicated_deduplication_window = 0",
    );
    let checked = check_proxy(&house);
    checked.assert_problem("has no column method", "ADD COLUMN method String");
    checked.assert_problem(
        "url is UInt64, which can't hold",
        "MODIFY COLUMN url String",
    );
    checked.assert_problem(
        "http_log_totals remembers no tokens",
        "MODIFY SETTING non_replicated_deduplication_window = 10000",
    );
    house.clickhouse("DROP VIEW http_log_totals_view");
    check_proxy(&house).assert_found("note", "nothing fills the totals", "sql/003");
}

#[test]
fn a_setting_that_the_server_does_not_know() {
    let mut house = House::new("check_setting", 1);
    house.upload_settings = "interval = \"100ms\"\n[upload.settings]\nno_such_setting = 1";
    check_proxy(&house).assert_problem(
        "does not know the setting no_such_setting",
        "remove upload.settings.no_such_setting (",
    );
}

#[test]
fn a_password_that_is_wrong() {
    let server = OwnServer::start();
    let mut house = House::storing_at(server.port, "check_password", 1);
    server.admit(&json!({"default": {}, "log": {"password": "right"}}));
    house.upload_url = format!("http://127.0.0.1:{}/", server.port);
    let file = house.dir().join("password");
    house.upload_settings = "interval = \"100ms\"\nuser = \"log\"\npassword_file = \"password\"";
    fs::write(&file, "wrong\n").unwrap();
    check_proxy(&house).assert_problem("code 516", "correct upload.user (");
    fs::write(&file, "right\n").unwrap();
    let checked = check_proxy(&house);
    assert!(
        checked.report.to_string().contains("has the nine columns"),
        "{:#}",
        checked.report
    );
}

#[test]
fn a_body_limit_above_the_proxys_and_still_everything_else_for_one_slot() {
    let nginx = proxy("20r/m", "client_max_body_size 64k;");
    let mut house = House::new("check_body", 1);
    house.upload_url = nginx.url();
    house.upload_settings = "interval = \"3s\"\nmax_body = \"128KiB\"";
    let checked = check_proxy(&house);
    checked.assert_problem("= 128.0 KiB (413)", "client_max_body_size");
    assert!(checked.report.to_string().contains("has the nine columns"));
    let log: Vec<Line> = nginx.log();
    assert_eq!(log.len(), 2);
    assert_eq!(log.iter().filter(|line| line.is_admitted).count(), 1);
}

#[test]
fn a_slot_is_waited_for_and_noted_so_that_the_next_one_is_met() {
    let nginx = proxy("20r/m", "");
    let mut house = House::new("check_slot", 1);
    house.upload_url = nginx.url();
    // nginx counts 333 in 1000 s.
    house.upload_settings = "interval = \"3100ms\"";
    house.start();
    assert_eq!(house.stop(), Some(0));
    let before = used_at(&house);
    for _ in 0..2 {
        assert!(
            check_proxy(&house)
                .report
                .to_string()
                .contains("noted in pace.json")
        );
    }
    assert!(used_at(&house) > before);
    let log = nginx.log();
    let admitted: Vec<&Line> = log.iter().filter(|line| line.is_admitted).collect();
    assert_eq!(admitted.len(), 2);
    assert!(admitted[1].time - admitted[0].time > 2.9);
    // The slot was asked for when it was due, not again and again before.
    assert!(log.len() <= 4, "{log:?}");
    // Without --proxy nothing gets there.
    check(&house);
    assert_eq!(nginx.log(), log);
}
