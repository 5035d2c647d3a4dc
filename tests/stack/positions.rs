//! Does `spoolhouse positions` show where reading goes on, and move it? On a
//! real broker: the next start reads from exactly the reset offset, whatever the
//! group has committed.

use std::fs;
use std::process::{Command, Output, Stdio};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use spoolhouse::traffic;

use crate::support::stack::feed::At;
use crate::support::stack::rows::{assert_same, rows, send, stored};
use crate::support::stack::{House, stack};

/// `spoolhouse positions …` with the configuration of a house that was started.
fn positions(house: &House, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spoolhouse"))
        .args(["positions", "--config"])
        .arg(house.dir().join("spoolhouse.toml"))
        .args(arguments)
        .current_dir(house.dir())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn code(output: &Output) -> (Option<i32>, String) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr)
}

fn json(house: &House, arguments: &[&str]) -> Value {
    let output = positions(house, arguments);
    assert!(output.status.success(), "{:?}", code(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A house whose session ends soon after it is stopped.
fn house(name: &str) -> House {
    let mut house = House::new(name, 2);
    house.librdkafka = "\"session.timeout.ms\" = 6000";
    house
}

fn carry(house: &House, places: &[At]) {
    house.start();
    house.wait_until_drained(places);
    assert_eq!(house.stop(), Some(0));
}

/// The rows of partition 0 from `from` up to `to`.
fn of_partition_0<'r>(
    rows: &'r [traffic::Row],
    places: &'r [At],
    from: i64,
    to: i64,
) -> impl Iterator<Item = &'r traffic::Row> {
    rows.iter().zip(places).filter_map(move |(row, at)| {
        (at.partition == 0 && (from..to).contains(&at.offset)).then_some(row)
    })
}

#[test]
fn a_rewind_is_read_again_from_exactly_there() {
    let house = house("rewind");
    let rows = rows(21, 200);
    let places = send(&house, &rows);
    carry(&house, &places);

    let shown = json(&house, &["--json"]);
    let first = &shown["partitions"][0];
    assert_eq!(
        (&first["position"], &first["committed"], &first["lag"]),
        (&100.into(), &100.into(), &0.into())
    );
    assert_eq!(first["committed_by"], "ours");
    let before = (house.state_file(), house.commits().signed());

    let (exit, stderr) = code(&positions(&house, &["--reset", "0=10"]));
    assert_eq!(exit, Some(2), "{stderr}");
    assert!(stderr.contains("--yes"), "{stderr}");
    let (exit, stderr) = code(&positions(&house, &["--reset", "0=101", "--dry-run"]));
    assert_eq!(exit, Some(2), "{stderr}");
    assert!(stderr.contains("from 0 to 100"), "{stderr}");
    let planned = json(&house, &["--reset", "0=10", "--dry-run", "--json"]);
    assert_eq!(
        (&planned["rewound"], &planned["skipped"], &planned["done"]),
        (&90.into(), &0.into(), &false.into())
    );
    assert_eq!((house.state_file(), house.commits().signed()), before);

    house.start();
    let (exit, stderr) = code(&positions(&house, &["--reset", "0=10", "--yes"]));
    assert_eq!(exit, Some(1), "{stderr}");
    assert!(
        stderr.contains("another process owns this spool (pid "),
        "{stderr}"
    );
    assert_eq!(house.stop(), Some(0));

    let done = json(&house, &["--reset", "0=10", "--yes", "--json"]);
    assert_eq!(done["done"], true);
    assert_eq!(house.positions()[&0], 10);
    assert_eq!(house.commits().offsets()[&0], 10);
    carry(&house, &places);
    let again = of_partition_0(&rows, &places, 10, 100);
    assert_same(&house.stored_rows(), &stored(rows.iter().chain(again)));
    assert!(!house.spool().join("gaps.jsonl").exists());
}

#[test]
fn a_reset_outranks_a_newer_commit_of_somebody_else_and_a_skip_is_written_down() {
    let house = house("outranks");
    let rows = rows(22, 400);
    let mut places = send(&house, &rows[..200]);
    carry(&house, &places);
    places.extend(send(&house, &rows[200..]));
    // Somebody else goes on to 150 in partition 0, once our session has ended.
    let other: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", stack().brokers())
        .set("group.id", &house.group)
        .create()
        .unwrap();
    let mut commit = TopicPartitionList::new();
    let topic = house.topic();
    commit
        .add_partition_offset(topic, 0, Offset::Offset(150))
        .unwrap();
    house.wait_until("the other's commit", || {
        other.commit(&commit, CommitMode::Sync).is_ok()
    });
    drop(other);
    let first = &json(&house, &["--json"])["partitions"][0];
    assert_eq!(first["committed_by"], "foreign");
    assert_eq!(
        (&first["position"], &first["next"], &first["lag"]),
        (&100.into(), &150.into(), &50.into())
    );

    let done = json(
        &house,
        &["--reset", "0=120", "--reset", "1=end", "--yes", "--json"],
    );
    assert_eq!(
        (&done["rewound"], &done["skipped"]),
        (&30.into(), &100.into())
    );
    let gaps = fs::read_to_string(house.spool().join("gaps.jsonl")).unwrap();
    let gap: Value = serde_json::from_str(gaps.trim()).unwrap();
    assert_eq!(
        (&gap["partition"], &gap["by"]),
        (&1.into(), &"operator".into())
    );
    assert_eq!((&gap["from"], &gap["to"]), (&100.into(), &200.into()));

    carry(&house, &places);
    let read_on = of_partition_0(&rows, &places, 120, 200);
    assert_same(
        &house.stored_rows(),
        &stored(rows[..200].iter().chain(read_on)),
    );
    assert!(
        fs::read_dir(house.spool().join("doubtful"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn without_kafka_our_own_positions_are_shown_and_nothing_is_reset() {
    let house = house("no_kafka");
    let rows = rows(23, 20);
    let places = send(&house, &rows);
    carry(&house, &places);
    let config = house.dir().join("spoolhouse.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&stack().brokers(), "127.0.0.1:1")).unwrap();
    let state = house.state_file();
    let shown = json(&house, &["--json"]);
    assert_eq!(shown["partitions"][0]["position"], 10);
    assert!(
        shown["note"]
            .as_str()
            .unwrap()
            .contains("only our own positions"),
        "{shown}"
    );
    let (exit, stderr) = code(&positions(&house, &["--reset", "0=start", "--yes"]));
    assert_eq!(exit, Some(1), "{stderr}");
    assert!(stderr.contains("nothing was changed"), "{stderr}");
    assert_eq!(house.state_file(), state);
}
