//! Do the reports still look as they did? Those of the golden spool are in
//! `tests/golden/reports/`, without what differs from day to day; after a change
//! that is wanted:
//!
//! ```text
//! INSTA_UPDATE=always cargo test --test cli reports
//! ```

use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;

use crate::support::golden::{self, files_below, golden_spool};

/// What a command says of the golden spool, and its exit code.
fn said(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("spoolhouse").unwrap();
    command.args(arguments).current_dir(dir);
    command.env("SPOOLHOUSE_KAFKA__BROKERS", "127.0.0.1:1");
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let text = text.replace(&dir.display().to_string(), "DIR");
    let lines: Vec<String> = text.lines().map(settled).collect();
    format!(
        "{}\nexit code {:?}\n",
        lines.join("\n"),
        output.status.code()
    )
}

/// A line without what differs from day to day: how old things are, and what the
/// disk has left.
fn settled(line: &str) -> String {
    if let Some(rest) = line.strip_prefix("its disk has ") {
        let (_, rest) = rest.split_once(" left").unwrap();
        return format!("its disk has SPACE left{rest}");
    }
    let is_age = |word: &str| {
        let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let units = [
            "s", "m", "h", "day", "days", "month", "months", "year", "years",
        ];
        unit.len() < word.len() && units.contains(&unit)
    };
    let words: Vec<&str> = line.split(' ').collect();
    let mut kept: Vec<&str> = Vec::new();
    for word in words {
        match (is_age(word), kept.last()) {
            (true, Some(&"AGE")) => {}
            (true, _) => kept.push("AGE"),
            (false, _) => kept.push(word),
        }
    }
    kept.join(" ")
}

#[test]
fn reports_look_as_they_did() {
    let dir = golden_spool();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden/reports");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let first_in = |directory: &str| {
        let files = std::fs::read_dir(dir.path().join("spool").join(directory)).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let name = names
            .filter(|name| name.ends_with(".parquet"))
            .min()
            .unwrap();
        format!("spool/{directory}/{name}")
    };
    settings.bind(|| {
        insta::assert_snapshot!("status", said(dir.path(), &["status"]));
        insta::assert_snapshot!("verify", said(dir.path(), &["verify"]));
        for directory in ["ready", "batches", "rejected", "undecodable"] {
            let report = said(
                dir.path(),
                &["inspect", "--rows", "2", &first_in(directory)],
            );
            insta::assert_snapshot!(format!("inspect-{directory}"), report);
        }
    });
}

#[test]
fn verify_says_of_every_golden_spool_what_is_listed() {
    for golden in golden::all() {
        let dir = tempfile::tempdir().unwrap();
        golden.copy_to(&dir.path().join("spool"));
        let report = said(dir.path(), &["verify"]);
        let expected = &golden.list.verified;
        for (file, fault) in &expected.faults {
            let line = format!("FAULT {file}: {fault}: ");
            assert!(report.contains(&line), "{line:?} in {report}");
        }
        for file in &expected.notes {
            assert!(report.contains(&format!("note  {file}: ")), "{report}");
        }
        let lines = |word: &str| report.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!(lines("FAULT "), expected.faults.len(), "{report}");
        assert_eq!(lines("note "), expected.notes.len(), "{report}");
        assert!(report.ends_with("exit code Some(1)\n"), "{report}");
        assert_eq!(files_below(&dir.path().join("spool")), golden.files());
    }
}

#[test]
fn every_report_is_one_json_document_a_line_when_asked_to() {
    let dir = golden_spool();
    for arguments in [
        &["status"][..],
        &["verify"],
        &["check"],
        &["inspect", "spool/ready/seg-0000000004.parquet"],
    ] {
        let mut command = Command::cargo_bin("spoolhouse").unwrap();
        command
            .args(arguments)
            .arg("--json")
            .current_dir(dir.path());
        command.env("SPOOLHOUSE_KAFKA__BROKERS", "127.0.0.1:1");
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.is_empty(), "{arguments:?}");
        for line in text.lines() {
            let document: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(document.is_object(), "{arguments:?}: {line}");
        }
    }
}
