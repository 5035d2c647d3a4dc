//! What if whoever carries out a request of the command line is killed half way:
//! the command itself, or the process that it asked? On the real broker and
//! ClickHouse, with no limiter between that other tests use up; the request is
//! answered, and every row is in the log and in the totals exactly once.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use spoolhouse::traffic;

use crate::support::stack::by_hand::{assert_exit, house_with_segments, is_empty, last_in, upload};
use crate::support::stack::fault_proxy::FaultProxy;
use crate::support::stack::rows::{assert_stored_once, rows};
use crate::support::stack::spool_files::{document, files_in};
use crate::support::stack::{House, stack};

/// A slot that does not open again in the life of a test: what goes meanwhile
/// goes because somebody asked for it.
const RARE_SLOTS: &str = "interval = \"1h\"";

/// The request arrives and is carried out; its answer takes longer than a life.
fn answer_kept_back() -> Value {
    json!({"pass": "all", "then": "late", "seconds": 600})
}

/// A house with segments in `ready/` only, behind a proxy that fails on order.
fn house_behind(proxy: &FaultProxy, test: &str, all: &[traffic::Row]) -> House {
    let parts: Vec<&[traffic::Row]> = all.chunks(300).collect();
    let mut house = house_with_segments(test, &parts);
    house.upload_url = proxy.url();
    house.upload_settings = RARE_SLOTS;
    let first = last_in(&house, "sending");
    assert_exit(&upload(&house, &[&first]), 0, &["stored"]);
    house
}

/// Asks for a file, at once.
fn ask(house: &House, file: &str) -> Child {
    house
        .other_command("upload")
        .args([file, "--now"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits for the command's end, which must be a good one; what it said.
fn answer(house: &House, mut command: Child) -> String {
    let status = house.wait_for("the answer", || command.try_wait().unwrap());
    let mut said = String::new();
    command.stdout.unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    said
}

/// An answer in `inbox/` to which nothing more will come.
fn final_answer(house: &House) -> Option<(PathBuf, Value)> {
    let entries = fs::read_dir(house.spool().join("inbox")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    // A draft of an answer has another ending.
    let mut answers = files.filter_map(|file| {
        let name = file.file_name()?.to_str()?;
        if !name.ends_with(".answer.json") {
            return None;
        }
        let answer: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        Some((file, answer))
    });
    answers.find(|(_, answer)| answer["state"] != "waiting")
}

/// The rest goes the ordinary way, and everything is there once.
fn finish(mut house: House, proxy: &FaultProxy, all: &[traffic::Row], what: &str) {
    proxy.let_pass();
    house.upload_settings = "interval = \"100ms\"";
    house.start();
    house.wait_until_drained(&[]);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, all, what);
    assert!(is_empty(&house, "inbox") && is_empty(&house, "doubtful"));
}

#[test]
fn a_segment_whose_command_is_killed_after_the_post_is_not_packed_once_more() {
    let proxy = FaultProxy::before(stack().clickhouse);
    let all = rows(81, 900);
    let house = house_behind(&proxy, "cut_command", &all);
    let segment = last_in(&house, "ready");
    proxy.plan(&answer_kept_back(), 1);
    let mut command = ask(&house, &segment);
    house.wait_until("the insert", || proxy.shown() == 1);
    command.kill().unwrap();
    command.wait().unwrap();
    // It became a batch before a byte of it left.
    assert!(!house.spool().join(&segment).exists());
    let [sending] = &files_in(&house.spool(), "sending")[..] else {
        panic!("not one batch in sending/");
    };
    assert!(document(sending)["batch"].is_object(), "it is no batch");
    // The request was left behind; the next owner carries it out, and nobody
    // fetches the answer.
    proxy.let_pass();
    house.start();
    let (file, answer) = house.wait_for("the answer", || final_answer(&house));
    assert_eq!(answer["state"], "stored", "{answer}");
    fs::remove_file(file).unwrap();
    assert_eq!(house.stop(), Some(0));
    finish(house, &proxy, &all, "a killed command");
}

#[test]
fn a_request_is_answered_by_the_next_owner_when_the_first_is_killed_half_way() {
    let proxy = FaultProxy::before(stack().clickhouse);
    let all = rows(82, 900);
    let mut house = house_behind(&proxy, "cut_owner", &all);
    // Killed before ClickHouse's answer came.
    let segment = last_in(&house, "ready");
    proxy.plan(&answer_kept_back(), 1);
    house.start();
    let command = ask(&house, &segment);
    house.wait_until("the insert", || proxy.shown() == 1);
    house.kill();
    proxy.let_pass();
    house.start();
    assert!(answer(&house, command).contains("stored"));
    assert_eq!(house.stop(), Some(0));
    // Killed when the batch was gone, and nobody had been told.
    let segment = last_in(&house, "ready");
    house.environment = vec![("FAILPOINT", "batch.removed".to_owned())];
    house.start();
    let command = ask(&house, &segment);
    assert_eq!(house.wait_for_end(), None, "killed at the fail point");
    house.environment.clear();
    house.start();
    let said = answer(&house, command);
    assert!(said.contains("only what ClickHouse confirmed"), "{said}");
    assert_eq!(house.stop(), Some(0));
    finish(house, &proxy, &all, "a killed owner");
}
