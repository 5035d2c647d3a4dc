//! What does `inspect` say of a file: one of ours, one that was changed, one of
//! somebody else's? The files are those of the newest golden spool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt32Array};
use assert_cmd::cargo::CommandCargoExt;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use spoolhouse::spool::read_only::inspect::{Options, inspect};

use crate::support::golden;

const SEGMENT: &str = "ready/seg-0000000004.parquet";
const UNDECODABLE: &str = "undecodable/und-0000000007.parquet";

fn golden(file: &str) -> PathBuf {
    golden::newest().dir.join(file)
}

/// The one batch in a room.
fn batch_in(directory: &str) -> PathBuf {
    let entries = fs::read_dir(golden(directory)).unwrap();
    let mut files = entries.map(|entry| entry.unwrap().path());
    files
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "parquet")
        })
        .unwrap()
}

fn run(options: &[&str], file: &Path) -> Output {
    let mut command = Command::cargo_bin("spoolhouse").unwrap();
    command.arg("inspect").args(options).arg(file);
    command.output().unwrap()
}

fn text(options: &[&str], file: &Path) -> String {
    let output = run(options, file);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The object that `--json` prints, and the exit code.
fn json_of(options: &[&str], file: &Path) -> (Value, Option<i32>) {
    let output = run(&[&["--json"], options].concat(), file);
    let found = serde_json::from_slice(&output.stdout).unwrap();
    (found, output.status.code())
}

#[test]
fn a_segment_tells_what_it_holds() {
    let (found, code) = json_of(&["--rows", "2"], &golden(SEGMENT));
    assert_eq!(code, Some(0));
    assert_eq!(found["kind"], "segment");
    assert_eq!(found["rows"], 10);
    assert_eq!(found["faults"], json!([]));
    assert_eq!(found["footer"]["segment"], 4);
    assert_eq!(found["footer"]["offsets"], json!({"0": [30, 40]}));
    assert_eq!(found["times"], json!([1_700_000_000, 1_700_000_000]));
    assert_eq!(found["digest"]["fits"], true);
    assert_eq!(found["true_name"], "seg-0000000004.parquet");
    let url = &found["columns"][8];
    assert_eq!((&url["name"], &url["bytes"]), (&json!("url"), &json!(136)));
    assert_eq!(url["encodings"], json!(["RLE", "DELTA_LENGTH_BYTE_ARRAY"]));
    assert_eq!(found["sample"].as_array().unwrap().len(), 2);
    assert_eq!(found["sample"][1]["kafka_offset"], 31);
}

#[test]
fn a_segment_is_shown_for_people_too() {
    let shown = text(&["--rows", "1"], &golden(SEGMENT));
    for line in [
        "  kind       segment 4, of spool 9a96f925-e19a-4b65-a0c9-1fd73eedc98d",
        "  times      2023-11-14T22:13:20Z to 2023-11-14T22:13:20Z",
        "  offsets    partition 0: 30 to 39",
        "  row 0: timestamp=1700000000 resource_id=30",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[test]
fn a_refused_batch_tells_its_token_its_settings_and_why() {
    let file = batch_in("rejected");
    let (found, code) = json_of(&[], &file);
    assert_eq!(code, Some(0));
    assert_eq!(found["kind"], "batch");
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    let token = found["digest"]["sha256"].as_str().unwrap();
    assert!(name.ends_with(token), "{name}: {token}");
    assert_eq!(found["digest"]["fits"], true);
    assert_eq!(found["footer"]["settings"]["async_insert"], "0");
    assert_eq!(found["sidecar"]["says"]["message"], "Cannot parse input");
    let shown = text(&[], &file);
    assert!(
        shown.contains("covers     segment 1 from row 0 through segment 1"),
        "{shown}"
    );
    assert!(shown.contains("message=\"Cannot parse input\""), "{shown}");
}

#[test]
fn a_message_that_is_no_record_is_shown_only_when_asked_for() {
    let file = golden(UNDECODABLE);
    let (found, _) = json_of(&["--rows", "9"], &file);
    assert_eq!(found["kind"], "undecodable");
    assert_eq!(found["sample"][0]["message"], "<3 bytes>");
    let (found, _) = json_of(&["--rows", "9", "--payloads"], &file);
    assert_eq!(found["sample"][0]["message"], "\\x00\\x01\\x02");
}

#[test]
fn one_flipped_byte_is_a_fault_and_no_row_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    for file in [golden(SEGMENT), golden(UNDECODABLE), batch_in("rejected")] {
        let copy = dir.path().join(file.file_name().unwrap());
        let mut bytes = fs::read(&file).unwrap();
        bytes[10] ^= 1;
        fs::write(&copy, bytes).unwrap();
        let (found, code) = json_of(&["--rows", "5", "--payloads"], &copy);
        assert_eq!(code, Some(1));
        assert_eq!(found["digest"]["fits"], false);
        assert_eq!(
            found["faults"][0],
            "damaged: the digest does not match the bytes"
        );
        assert_eq!(
            (&found["sample"], &found["times"]),
            (&Value::Null, &Value::Null)
        );
    }
}

#[test]
fn a_name_that_does_not_fit_is_a_fault_and_a_name_of_somebody_elses_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("seg-0000000005.parquet");
    fs::copy(golden(SEGMENT), &wrong).unwrap();
    let (found, code) = json_of(&[], &wrong);
    assert_eq!(code, Some(1));
    let fault = "the name does not fit the content: it is seg-0000000004.parquet";
    assert_eq!(found["faults"], json!([fault]));
    // As doubtful/ keeps a second one, and as a person may call it.
    for name in ["seg-0000000004.parquet.1", "from-the-backup.parquet"] {
        let copy = dir.path().join(name);
        fs::copy(golden(SEGMENT), &copy).unwrap();
        assert_eq!(json_of(&[], &copy).1, Some(0), "{name}");
    }
}

#[test]
fn a_file_of_somebody_elses_shows_no_raw_address_and_no_raw_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("theirs.parquet");
    let column = |texts: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
    let rows = RecordBatch::try_from_iter([
        (
            "timestamp",
            Arc::new(UInt32Array::from(vec![7, 3])) as ArrayRef,
        ),
        ("remote_addr", column(["192.0.2.1", "no address"])),
        ("peer\u{1b}[2J", column(["2001:db8:1:2::3", "192.0.2.77"])),
        (
            "raw",
            Arc::new(BinaryArray::from(vec![&b"192.0.2.1"[..], b""])),
        ),
    ]);
    let rows = rows.unwrap();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(&file).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();

    let (found, code) = json_of(&["--rows", "2"], &file);
    assert_eq!(code, Some(0));
    assert_eq!(
        (&found["kind"], &found["rows"]),
        (&json!("foreign"), &json!(2))
    );
    assert_eq!(found["times"], json!([3, 7]));
    let shown = text(&["--rows", "2"], &file);
    for text in [shown.as_str(), &found.to_string()] {
        assert!(
            text.contains("192.0.2.X") && text.contains("<9 bytes>"),
            "{text}"
        );
        for raw in ["192.0.2.1", "192.0.2.77", "2001:db8:1:2::3", "no address"] {
            assert!(!text.contains(raw), "{raw} in {text}");
        }
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn what_is_no_parquet_file_is_named_and_the_others_are_shown_all_the_same() {
    let mut command = Command::cargo_bin("spoolhouse").unwrap();
    command.arg("inspect").arg(golden("ready/foreign.txt"));
    let output = command
        .arg("/nowhere")
        .arg(golden(SEGMENT))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shown.matches("FAULT").count(), 2, "{shown}");
    assert!(shown.contains("segment 4, of spool"), "{shown}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("spoolhouse: 2 of 3 files can't be read"),
        "{said}"
    );
}

/// No name vouches for the bytes here, so that a change gets as far as it can.
#[test]
fn no_change_of_a_byte_and_no_cut_makes_it_fall_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.parquet");
    let mask = |_: &str| "X".to_owned();
    let options = Options {
        rows: 20,
        payloads: true,
        mask: &mask,
    };
    let whole = fs::read(batch_in("rejected")).unwrap();
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x55;
        fs::write(&file, &changed).unwrap();
        let _ = inspect(&file, &options);
    }
    for length in (0..whole.len()).step_by(7) {
        fs::write(&file, &whole[..length]).unwrap();
        assert!(inspect(&file, &options).is_err());
    }
}
