//! Does `spoolhouse upload` send what it is given, once, at its slot, with and
//! without a process that runs; does it keep what can't go; and does anything
//! in `inbox/` keep the owner from working? On the real broker, nginx and
//! ClickHouse.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use spoolhouse::spool::format::digest;
use spoolhouse::traffic;

use crate::support::nginx::Nginx;
use crate::support::stack::by_hand::{
    SLOW_SETTINGS, admitted, assert_exit, house_with_segments, is_empty, last_in, picture,
    refusals, refuse_data, rows_in, said, slow_proxy, upload,
};
use crate::support::stack::house::NOWHERE;
use crate::support::stack::rows::{assert_same, rows, send, stored};
use crate::support::stack::spool_files::{files_in, log_rows};
use crate::support::stack::{House, root, stack};

#[test]
fn a_ready_segment_goes_by_hand_after_what_may_be_stored_and_before_the_others() {
    let all = rows(1, 900);
    let parts: Vec<&[traffic::Row]> = all.chunks(300).collect();
    let mut house = house_with_segments("by_hand_segment", &parts);
    let proxy = slow_proxy();
    house.upload_url = proxy.url();
    let first = files_in(&house.spool(), "sending");
    assert_eq!(first.len(), 1, "the run had begun with the first");
    let segment = last_in(&house, "ready");
    let plan = upload(&house, &[&segment, "--dry-run"]);
    assert_exit(
        &plan,
        0,
        &[
            "frozen into a batch",
            "nobody owns the spool",
            "nothing was changed",
        ],
    );

    let done = upload(&house, &[&segment]);
    assert_exit(&done, 0, &["stored"]);
    assert!(!house.spool().join(&segment).exists());
    assert!(is_empty(&house, "sending") && is_empty(&house, "inbox"));
    let middle = files_in(&house.spool(), "ready");
    let left: usize = middle.iter().map(|file| rows_in(file)).sum();
    assert_eq!(left + house.stored_rows().len(), all.len());
    assert!(left > 0, "the older ones still wait");
    let sent = admitted(&proxy);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(
        first[0]
            .to_str()
            .unwrap()
            .contains(sent[0].token().unwrap())
    );

    // The rest goes the ordinary way, and everything is there once.
    house.start();
    house.wait_until_drained(&[]);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(&all));
    admitted(&proxy);
}

#[test]
fn a_refused_batch_goes_by_hand_once_its_data_is_mended_beside_a_process_that_runs() {
    let all = rows(2, 1_200);
    let mut house = House::new("by_hand_rejected", 1);
    let proxy = slow_proxy();
    house.upload_url = proxy.url();
    house.upload_settings = SLOW_SETTINGS;
    refuse_data(&house, true);
    house.start();
    send(&house, &all[..400]);
    house.wait_until("the batch to be rejected", || {
        files_in(&house.spool(), "rejected").len() == 1
    });
    let refused = last_in(&house, "rejected");
    let token = refused.rsplit_once('-').unwrap().1;
    let token = token.strip_suffix(".parquet").unwrap();

    // Not mended: it comes back, with its reason, and the command says so.
    let again = upload(&house, &[&refused]);
    assert_exit(&again, 1, &["not stored", "refused the data"]);
    assert!(house.spool().join(&refused).exists());

    refuse_data(&house, false);
    let done = upload(&house, &[&refused]);
    assert_exit(&done, 0, &["stored, 400 rows"]);
    assert!(is_empty(&house, "rejected"), "batch and reason are gone");
    assert!(is_empty(&house, "inbox"));
    let posts = admitted(&proxy);
    assert!(posts.iter().all(|line| line.token() == Some(token)));
    assert_eq!(
        posts.len(),
        3 + 3 + 1,
        "refused three times each, then stored"
    );

    // A segment that has just become ready, before the slot opens.
    send(&house, &all[400..]);
    house.wait_until("a segment", || {
        !files_in(&house.spool(), "ready").is_empty()
    });
    let segment = last_in(&house, "ready");
    let done = upload(&house, &[&segment]);
    assert_exit(&done, 0, &["stored"]);
    assert!(!house.spool().join(&segment).exists());
    house.wait_until_drained(&[]);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(&all));
    admitted(&proxy);
    assert!(refusals(&proxy) <= 6, "{} refusals", refusals(&proxy));
}

#[test]
fn a_refused_batch_goes_by_hand_without_a_process_and_now_means_now() {
    let all = rows(3, 500);
    let mut house = House::new("by_hand_alone", 1);
    refuse_data(&house, true);
    house.start();
    send(&house, &all);
    house.wait_until("all to be rejected", || {
        log_rows(&house.spool(), &["rejected"]).len() == all.len()
    });
    assert_eq!(house.stop(), Some(0));
    refuse_data(&house, false);
    let proxy = slow_proxy();
    house.upload_url = proxy.url();
    house.upload_settings = SLOW_SETTINGS;

    // The slot is taken: what does not wait for it is refused, and kept.
    let (status, _) =
        crate::support::stack::http(proxy.address.port(), "GET", "/?query=SELECT%201", b"");
    assert_eq!(status, 200);
    let files: Vec<String> = files_in(&house.spool(), "rejected")
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let early = upload(&house, &[&files[0], "--now"]);
    assert_exit(&early, 1, &["slot is not open yet", "kept in the spool"]);
    assert_eq!(
        log_rows(&house.spool(), &["rejected", "sending"]).len(),
        all.len()
    );

    // It is in sending/ now, and may be named there or where it was.
    let names: Vec<String> = [last_in(&house, "sending")]
        .into_iter()
        .chain(files[1..].iter().cloned())
        .collect();
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    let done = upload(&house, &words);
    assert_exit(&done, 0, &["stored"]);
    for directory in ["rejected", "sending", "inbox"] {
        assert!(is_empty(&house, directory), "{directory}/ is not empty");
    }
    assert_same(&house.stored_rows(), &stored(&all));
    assert_eq!(admitted(&proxy).len(), 1 + files.len());
}

#[test]
fn what_cannot_be_sent_is_refused_with_its_reason_and_nothing_is_touched() {
    let all = rows(4, 600);
    let house = house_with_segments("by_hand_no", &[&all[..300], &all[300..]]);
    let spool = house.spool();
    let segment = files_in(&spool, "ready").pop().unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    let outside = house.dir().join("copy-of-a-segment.parquet");
    fs::copy(&segment, &outside).unwrap();
    fs::rename(&segment, spool.join("sealed").join(&name)).unwrap();
    fs::write(spool.join("doubtful/batch.parquet"), b"torn").unwrap();
    let batch = files_in(&spool, "sending").pop().unwrap();
    let batch_name = batch.file_name().unwrap().to_str().unwrap().to_owned();
    let copy = house.dir().join("copy-of-a-batch.parquet");
    fs::copy(&batch, &copy).unwrap();
    let before = picture(&house);
    for (file, words, why) in [
        (format!("sealed/{name}"), vec![], "not acknowledged"),
        (format!("doubtful/{batch_name}"), vec![], "no such file"),
        (
            "doubtful/batch.parquet".into(),
            vec![],
            "no segment and no batch",
        ),
        (outside.display().to_string(), vec![], "its columns are not"),
        (
            copy.display().to_string(),
            vec![],
            "the spool holds this very batch",
        ),
        (
            format!("sending/{batch_name}"),
            vec!["--keep"],
            "outside the spool",
        ),
        ("spool.json".into(), vec![], "no such room"),
        (
            format!("sending/{batch_name}"),
            vec!["--to", "ftp://there/"],
            "http://",
        ),
    ] {
        let file = match file.starts_with("doubtful/batch-") {
            true => "nowhere.parquet".to_owned(),
            false => file,
        };
        let no = upload(&house, &[&[file.as_str()][..], &words].concat());
        let why = if why == "no such file" {
            "No such file"
        } else {
            why
        };
        assert_exit(&no, 2, &[why]);
    }
    assert!(picture(&house) == before, "something was changed");
}

#[test]
fn what_is_in_doubt_goes_only_when_a_person_has_decided() {
    let all = rows(5, 300);
    let mut house = house_with_segments("by_hand_doubt", &[&all]);
    house.upload_url = stack().proxy_url();
    let batch = last_in(&house, "sending");
    let doubtful = batch.replace("sending/", "doubtful/");
    fs::rename(house.spool().join(&batch), house.spool().join(&doubtful)).unwrap();
    let reason = doubtful.replace(".parquet", ".reason.json");
    fs::write(house.spool().join(&reason), "{\"reason\": \"a test\"}").unwrap();
    assert_exit(&upload(&house, &[&doubtful]), 2, &["--doubtful"]);
    let done = upload(&house, &[&doubtful, "--doubtful"]);
    assert_exit(&done, 0, &["stored"]);
    assert!(is_empty(&house, "doubtful") && is_empty(&house, "sending"));
    let ready = log_rows(&house.spool(), &["ready"]);
    let mut found = house.stored_rows();
    assert!(!found.is_empty());
    found.extend(ready);
    found.sort();
    assert_same(&found, &stored(&all));
}

#[test]
fn a_file_from_outside_goes_once_under_the_hash_of_its_bytes_and_is_removed() {
    let all = rows(6, 300);
    let mut house = house_with_segments("by_hand_outside", &[&all]);
    let batch = files_in(&house.spool(), "sending").pop().unwrap();
    let outside = house.dir().join("moved.parquet");
    fs::rename(&batch, &outside).unwrap();
    let count = rows_in(&outside);
    let token = digest::of(&fs::read(&outside).unwrap());
    let proxy = slow_proxy();
    house.upload_url = proxy.url();
    house.upload_settings = SLOW_SETTINGS;
    let file = outside.to_str().unwrap();

    let kept = upload(&house, &[file, "--keep"]);
    assert_exit(&kept, 0, &["stored"]);
    assert!(outside.exists());
    // A second time changes nothing in the table; past the proxy it needs no slot.
    let direct = format!("http://127.0.0.1:{}/", stack().clickhouse);
    house.start();
    let again = upload(&house, &[file, "--to", &direct, "--now"]);
    assert_exit(&again, 0, &["stored"]);
    assert!(!outside.exists());
    house.wait_until_drained(&[]);
    assert_eq!(house.stop(), Some(0));
    assert!(is_empty(&house, "inbox"));
    assert_same(&house.stored_rows(), &stored(&all));
    let posts = admitted(&proxy);
    assert_eq!(posts[0].token(), Some(token.as_str()));
    assert!(count > 0 && posts[1..].iter().all(|line| line.token() != Some(&token)));
}

#[test]
fn nothing_in_the_inbox_keeps_the_owner_from_working_and_a_dead_commands_request_is_carried_out() {
    let all = rows(7, 600);
    let mut house = house_with_segments("by_hand_inbox", &[&all[..300], &all[300..]]);
    let inbox = house.spool().join("inbox");
    let id = "3f0c6a52-6a2f-4f4e-9a43-3f1d1a4fb001";
    let bad = |name: &str, content: &[u8]| fs::write(inbox.join(name), content).unwrap();
    bad("notes.txt", b"not ours");
    bad(
        &format!("{}.request.json", id.replace("b001", "b002")),
        b"{ torn",
    );
    bad(
        &format!("{}.request.json", id.replace("b001", "b003")),
        &vec![b' '; 1 << 20],
    );
    bad(
        &format!("{}.request.json", id.replace("b001", "b004")),
        br#"{"format": 1, "asked_at_ms": 0, "file": "../../../etc/passwd"}"#,
    );
    bad(
        &format!("{}.request.json", id.replace("b001", "b005")),
        br#"{"format": 9, "asked_at_ms": 0, "file": "ready/x"}"#,
    );
    fs::create_dir(inbox.join("a-directory")).unwrap();

    // A command that is killed while it waits.
    let segment = last_in(&house, "ready");
    house.upload_url = NOWHERE.to_owned();
    let mut child = house
        .other_command("upload")
        .arg(&segment)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    house.wait_until("its request to be taken up", || {
        let entries = fs::read_dir(&inbox).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        let answers = names.filter(|name| name.to_str().unwrap().ends_with(".answer.json"));
        answers.count() > 1
    });
    child.kill().unwrap();
    child.wait().unwrap();

    house.upload_url = stack().proxy_url();
    house.start();
    house.wait_until_drained(&[]);
    house.wait_until("the requests to be answered", || {
        let entries = fs::read_dir(&inbox).unwrap();
        let mut names = entries.map(|entry| entry.unwrap().file_name());
        names.all(|name| name.to_str().unwrap().ends_with(".answer.json"))
    });
    assert_same(&house.stored_rows(), &stored(&all));
    let states: Vec<String> = fs::read_dir(&inbox)
        .unwrap()
        .map(|entry| {
            let text = fs::read(entry.unwrap().path()).unwrap();
            let answer: Value = serde_json::from_slice(&text).unwrap();
            answer["state"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(states.contains(&"declined".to_owned()), "{states:?}");
    assert_eq!(states.len(), 2, "{states:?}");
    let set_aside = fs::read_dir(house.spool().join("doubtful"))
        .unwrap()
        .count();
    assert_eq!(set_aside, 2 * 5, "each with its reason");
    assert_eq!(house.stop(), Some(0));
}

#[test]
fn what_the_readme_says_about_curl_stores_a_batch_under_its_token() {
    let all = rows(8, 300);
    let house = house_with_segments("by_hand_curl", &[&all]);
    let proxy = Nginx::start(
        "1000r/s",
        &format!("proxy_pass http://127.0.0.1:{};", stack().clickhouse),
    );
    let batch = files_in(&house.spool(), "sending").pop().unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme
        .split("```sh\n")
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.contains("sha256sum") && block.contains("curl"))
        .expect("the README shows how");
    let script = block
        .replace("http://proxy:8124/", &proxy.url())
        .replace("default.http_log", &format!("{}.http_log", house.topic()));
    // The README's file, and twice: the second changes nothing.
    let script = format!("{script}\n{script}");
    let (first_line, _) = block.split_once('\n').unwrap();
    let file = first_line.strip_prefix("FILE=").expect("FILE comes first");
    let script = script.replace(file, batch.to_str().unwrap());
    let done = Command::new("bash")
        .args(["-euc", &script])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(said(&done).trim(), "", "an insert answers nothing");
    assert_eq!(house.stored_rows().len(), rows_in(&batch));
    let name = batch.file_name().unwrap().to_str().unwrap();
    assert!(name.contains(&digest::of(&fs::read(&batch).unwrap())));

    // And the upload's own post of it is the same insert.
    let mut house = house;
    house.upload_url = proxy.url();
    let done = upload(&house, &[&format!("sending/{name}")]);
    assert_exit(&done, 0, &["stored"]);
    let mut found = house.stored_rows();
    found.extend(log_rows(&house.spool(), &["ready"]));
    found.sort();
    assert_same(&found, &stored(&all));
}

#[test]
fn the_status_tells_what_waits_beside_a_process_that_runs_and_without_one() {
    let all = rows(9, 900);
    let parts: Vec<&[traffic::Row]> = all.chunks(300).collect();
    let house = house_with_segments("status", &parts);
    let before = picture(&house);
    let status = |house: &House| -> Value {
        let done = house
            .other_command("status")
            .arg("--json")
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", said(&done));
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let alone = status(&house);
    assert!(picture(&house) == before, "it changed something");
    assert_eq!(alone["owner"], Value::Null);
    for directory in ["ready", "sending"] {
        let files = files_in(&house.spool(), directory);
        let rows: usize = files.iter().map(|file| rows_in(file)).sum();
        let bytes: u64 = files
            .iter()
            .map(|file| file.metadata().unwrap().len())
            .sum();
        let seen = &alone["rooms"][directory];
        assert_eq!(seen["files"], files.len(), "{directory}");
        assert_eq!(seen["rows"], rows, "{directory}");
        assert_eq!(seen["bytes"], bytes, "{directory}");
    }
    assert_eq!(
        alone["drain"]["batches"], 2,
        "one is frozen, one takes the rest"
    );

    house.start();
    let beside = status(&house);
    assert!(beside["owner"].as_u64().is_some(), "{beside}");
    assert_eq!(
        beside["rooms"]["ready"]["rows"],
        alone["rooms"]["ready"]["rows"]
    );
    let text = house.other_command("status").output().unwrap();
    assert_exit(
        &text,
        0,
        &["owned by process", "next slot in", "2 batches to go"],
    );
    assert_eq!(house.stop(), Some(0));
}
