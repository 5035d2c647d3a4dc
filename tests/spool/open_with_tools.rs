//! Can any Parquet tool open any file of a spool? pyarrow, DuckDB, the ClickHouse
//! engine and parquet-java each read a spool of the current code and every golden
//! one, and must agree. What they compare is in `open_with_tools.py`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use spoolhouse::ingest::window::Window;
use spoolhouse::spool::format::batch::order::Order;
use spoolhouse::spool::format::batch::recipe::{Codec, Recipe, Strength};
use spoolhouse::spool::format::encoding::Encoding;
use spoolhouse::spool::format::footer::BatchFooter;
use spoolhouse::spool::format::{batch, schema};
use spoolhouse::spool::outlet::{Batch, PackOptions, Rejection};
use spoolhouse::spool::{Intake, Outlet, Spool};
use spoolhouse::traffic::corpus::{ODD_ADDRESSES, bad_messages, odd_messages};

use crate::support::exclusive::place;
use crate::support::golden::{self, Golden};
use crate::support::segments::source;

/// Every room that may hold Parquet files.
const ROOMS: [&str; 7] = [
    "sealed",
    "ready",
    "batches",
    "sending",
    "rejected",
    "undecodable",
    "doubtful",
];

const BODY_BYTES_MAX: u64 = 1 << 20;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the comparison; `ops/setup` installs what it needs.
fn open(files: &[PathBuf]) -> Output {
    let tools = repository().join("target/tools");
    let python = tools.join("venv/bin/python");
    if !python.exists() || !tools.join("parquet-java/stamp").exists() {
        let setup = Command::new(repository().join("ops/setup")).output();
        let setup = setup.expect("ops/setup can be run");
        assert!(setup.status.success(), "{}", said(&setup.stderr));
    }
    // A Java machine, Python and two databases.
    let _place = place();
    // chdb leaves files where it is run.
    let dir = tempfile::tempdir().unwrap();
    Command::new(python)
        .arg(repository().join("tests/spool/open_with_tools.py"))
        .args(files)
        .current_dir(dir.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap()
}

fn said(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// Opens the files; what was read, one value per file.
fn opened(files: &[PathBuf]) -> Vec<Value> {
    let output = open(files);
    assert!(output.status.success(), "{}", said(&output.stderr));
    let lines = said(&output.stdout);
    let read: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let paths: BTreeSet<&str> = read
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    let asked: BTreeSet<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(paths, asked);
    read
}

/// The Parquet files of a spool, by room.
fn parquet_files(spool: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for directory in ROOMS {
        let Ok(entries) = fs::read_dir(spool.join(directory)) else {
            continue; // git keeps no empty directory
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        files.extend(paths.filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.ends_with(".parquet")
        }));
    }
    files.sort();
    files
}

#[test]
fn every_file_of_the_golden_spool_opens_in_every_tool() {
    for golden in golden::all() {
        let torn = torn_in(&golden);
        let mut files = parquet_files(&golden.dir);
        files.retain(|file| !torn.contains(file));
        let read = opened(&files);
        assert!(read.len() >= 9, "one of everything: {files:?}");
        for file in &read {
            let sample = &file["sample"]["remote_addr"];
            if file["columns"][0] == "timestamp" {
                assert_eq!(sample, &serde_json::json!(["1.2.3.X"]), "{file}");
            }
        }
    }
}

#[test]
fn every_file_of_a_spool_with_odd_content_opens_in_every_tool() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let files = parquet_files(dir.path());
    for directory in ROOMS {
        let here = dir.path().join(directory);
        assert!(
            directory == "doubtful" || files.iter().any(|file| file.starts_with(&here)),
            "no file in {directory}"
        );
    }
    let read = opened(&files);
    let mut addresses = BTreeSet::new();
    for file in &read {
        let sample = file["sample"]["remote_addr"].as_array();
        let values = sample.into_iter().flatten();
        addresses.extend(values.map(|value| value.as_str().unwrap().to_owned()));
    }
    for (_, _, masked) in ODD_ADDRESSES {
        assert!(addresses.contains(masked), "{masked} in {addresses:?}");
    }
}

/// A batch in each encoding that a column may have, in each order of rows: none
/// of them is worth its bytes where a reader lacks it.
#[test]
fn a_batch_in_any_encoding_opens_in_every_tool() {
    let dir = tempfile::tempdir().unwrap();
    let messages: Vec<(i32, i64)> = (0..3_000).map(|offset| (0, offset)).collect();
    let rows = crate::support::segments::rows_of(&messages);
    let mut files = Vec::new();
    for encoding in [Encoding::Compact, Encoding::Compatible] {
        for turn in 0..Order::ALL.len() {
            let columns = schema::batch();
            let codecs = std::array::from_fn(|place| {
                let column = columns.field(place);
                let candidates = Codec::candidates(column.name(), column.data_type(), encoding);
                candidates[turn % candidates.len()]
            });
            let recipe = Recipe::new(Order::ALL[turn], codecs, encoding);
            let file = dir.path().join(format!("{encoding:?}-{turn}.parquet"));
            let footer = BatchFooter {
                spool: uuid::Uuid::nil(),
                rows: rows.num_rows() as u64,
                source: source(),
                covers: Vec::new(),
                offsets: Default::default(),
                settings: Default::default(),
                encoding,
                split_from: None,
            };
            let bytes = batch::encode(&rows, &footer, &recipe, Strength::Full).unwrap();
            fs::write(&file, bytes).unwrap();
            let used = encodings(&file);
            if encoding == Encoding::Compatible {
                let old = ["PLAIN", "RLE", "RLE_DICTIONARY"];
                assert!(used.iter().all(|name| old.contains(&&**name)), "{used:?}");
            }
            files.push(file);
        }
    }
    let all: BTreeSet<String> = files.iter().flat_map(|file| encodings(file)).collect();
    for name in ["BYTE_STREAM_SPLIT", "DELTA_BYTE_ARRAY", "RLE_DICTIONARY"] {
        assert!(all.contains(name), "{all:?}");
    }
    assert_eq!(opened(&files).len(), 2 * Order::ALL.len());
}

/// The encodings that a file's own footer names.
fn encodings(file: &Path) -> BTreeSet<String> {
    let reader = SerializedFileReader::new(fs::File::open(file).unwrap()).unwrap();
    let columns = reader.metadata().row_group(0).columns();
    columns
        .iter()
        .flat_map(|column| column.encodings().map(|encoding| encoding.to_string()))
        .collect()
}

/// The files of a golden spool that were cut off on purpose.
fn torn_in(golden: &Golden) -> Vec<PathBuf> {
    let faults = golden.list.verified.faults.iter();
    let torn = faults.filter(|(_, fault)| *fault == "torn");
    torn.map(|(file, _)| golden.dir.join(file)).collect()
}

#[test]
fn a_torn_file_is_noticed() {
    let torn = torn_in(&golden::newest());
    assert_eq!(torn.len(), 1);
    assert!(!open(&torn).status.success());
}

/// One file of each kind in each room, all with odd content.
fn fill(root: &Path) {
    let spool = Spool::open(root).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    let next = |bytes_max| -> Batch {
        let options = PackOptions {
            bytes_max,
            settings: Default::default(),
            ..PackOptions::default()
        };
        outlet.next(&options).unwrap().unwrap()
    };
    // Packed wholly, refused.
    seal(&intake, 0, true);
    outlet
        .reject(&next(BODY_BYTES_MAX), &Rejection::default())
        .unwrap();
    // Packed in part, under way; the rest waits.
    seal(&intake, 1_000, true);
    let size = fs::metadata(root.join("ready/seg-0000000002.parquet"));
    let mut half = next(size.unwrap().len() * 3 / 4);
    outlet.begin(&mut half).unwrap();
    let rest = fs::read_dir(root.join("ready")).unwrap().count();
    assert_eq!(rest, 1, "what is left of the segment");
    // Frozen: packing goes on past the one under way only in another process.
    let sending = root.join("sending").join(half.name());
    let hidden = root.join("hidden");
    fs::rename(&sending, &hidden).unwrap();
    seal(&intake, 2_000, true);
    next(BODY_BYTES_MAX);
    fs::rename(&hidden, &sending).unwrap();
    // Waiting, and not yet committed.
    seal(&intake, 3_000, true);
    seal(&intake, 4_000, false);
    // Bad messages alone: a segment without rows.
    let mut window = Window::new().unwrap();
    take(&mut window, 5_000, bad_messages());
    finish(&intake, window, true);
}

fn seal(intake: &Intake, offset: i64, committed: bool) {
    let mut window = Window::new().unwrap();
    let mut messages = odd_messages();
    messages.extend(bad_messages());
    take(&mut window, offset, messages);
    finish(intake, window, committed);
}

fn take(window: &mut Window, start: i64, messages: Vec<(&str, Vec<u8>)>) {
    let now = Instant::now();
    for (offset, (_, message)) in (start..).zip(messages) {
        window.take(0, offset, offset, Some(&message), now).unwrap();
    }
}

fn finish(intake: &Intake, window: Window, committed: bool) {
    let (segment, _) = window.close().unwrap();
    let finished = intake.finish(segment, &source()).unwrap();
    intake.seal(&finished).unwrap();
    if committed {
        intake.ready(&finished.footer).unwrap();
    }
}
