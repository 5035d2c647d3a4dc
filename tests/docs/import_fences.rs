//! Do imports still point only downward, and does each outside crate stay in
//! its room? Reads the sources as text: a fence that a `use` can't climb.

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below `src/`, with `/` in its path, and what it says
/// outside comments and tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                if name.ends_with("tests.rs") {
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let code: Vec<&str> = shipped
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect();
                files.push((name, code.join("\n")));
            }
        }
    }
    assert!(files.len() > 20, "the sources were not found");
    files
}

/// Asserts that only files under the `allowed` prefixes hold one of `words`.
fn fence(words: &[&str], allowed: &[&str]) {
    for (name, code) in sources() {
        if allowed.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        for word in words {
            let line = code.lines().find(|line| line.contains(word));
            assert!(
                line.is_none(),
                "src/{name} holds `{word}`, which belongs to {allowed:?}: {}",
                line.unwrap_or_default().trim(),
            );
        }
    }
}

#[test]
fn kafkas_client_stays_in_ingest_kafka_and_produce() {
    fence(&["rdkafka::"], &["ingest/kafka", "commands/produce"]);
}

#[test]
fn cap_n_proto_stays_in_ingest_record_and_produce() {
    fence(
        &["capnp::", "http_log_capnp::"],
        &["ingest/decode/record", "traffic/"],
    );
}

#[test]
fn the_http_client_stays_in_upload() {
    fence(&["reqwest::"], &["upload/"]);
}

#[test]
fn files_are_changed_only_in_spool_disk() {
    let changes = [
        "fs::write",
        "fs::rename",
        "fs::remove",
        "fs::create_dir",
        "fs::hard_link",
        "fs::copy",
        "fs::set_permissions",
        "File::create",
        "OpenOptions",
        "set_len(",
        "sync_all(",
    ];
    // `produce --expect` writes a file of the user's, outside any spool.
    fence(&changes, &["spool/disk", "commands/produce"]);
}

#[test]
fn the_spool_knows_no_other_room() {
    for (name, code) in sources() {
        if name.starts_with("spool/") {
            for room in ["ingest", "upload", "observe", "commands", "config", "cli"] {
                let path = format!("crate::{room}");
                assert!(!code.contains(&path), "src/{name} reaches up into {room}");
            }
        }
    }
}

#[test]
fn ingest_upload_and_observe_never_meet() {
    let rooms = ["ingest", "upload", "observe"];
    for (name, code) in sources() {
        let Some(own) = rooms
            .iter()
            .find(|room| name.starts_with(&format!("{room}/")))
        else {
            continue;
        };
        for other in rooms
            .iter()
            .filter(|room| *room != own)
            .chain(&["commands", "config"])
        {
            let path = format!("crate::{other}");
            assert!(!code.contains(&path), "src/{name} reaches into {other}");
        }
    }
}
