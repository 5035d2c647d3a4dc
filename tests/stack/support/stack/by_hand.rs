//! What the tests of `spoolhouse upload` share: a spool that has something to
//! send by hand, the command, and what it said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use spoolhouse::traffic;

use super::House;
use super::house::{NOWHERE, output_in_time};
use super::rows::send;
use super::spool_files::{decode, files_in};
use super::stack;
use crate::support::nginx::{Line, Nginx};

/// Slots far enough apart to see which is used.
pub const SLOW_SETTINGS: &str = "interval = \"3s\"";

/// One request every 3.003 s: nginx counts 333 in 1000 s.
const SLOW: &str = "20r/m";
const SLOT: f64 = 3.0;

/// Two clocks, and a loaded machine.
const TOLERANCE: f64 = 0.1;

/// A house that stopped with segments in its spool, at least one for each part
/// of the rows; the first is frozen in sending/.
pub fn house_with_segments(test: &str, parts: &[&[traffic::Row]]) -> House {
    let mut house = House::new(test, 1);
    house.upload_url = NOWHERE.to_owned();
    house.upload_settings = SLOW_SETTINGS;
    house.start();
    for part in parts {
        let places = send(&house, part);
        house.wait_until_committed(&places);
    }
    let is_done = || {
        let count = |directory| files_in(&house.spool(), directory).len();
        (count("sealed"), count("sending")) == (0, 1)
    };
    house.wait_until("the first batch and the last segment", is_done);
    assert_eq!(house.stop(), Some(0));
    house
}

/// Runs `spoolhouse upload` with these words, to its end.
pub fn upload(house: &House, words: &[&str]) -> Output {
    output_in_time(house.other_command("upload").args(words))
}

/// All that a command said.
pub fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// Asserts how it ended, and that it said why.
pub fn assert_exit(output: &Output, code: i32, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

/// `room/name` of the last file in a room.
pub fn last_in(house: &House, directory: &str) -> String {
    let files = files_in(&house.spool(), directory);
    let name = files.last().expect("a file").file_name().unwrap();
    format!("{directory}/{}", name.to_str().unwrap())
}

/// Whether nothing is in a room.
pub fn is_empty(house: &House, directory: &str) -> bool {
    fs::read_dir(house.spool().join(directory)).unwrap().count() == 0
}

/// A proxy with slow slots.
pub fn slow_proxy() -> Nginx {
    Nginx::start(
        SLOW,
        &format!("proxy_pass http://127.0.0.1:{};", stack().clickhouse),
    )
}

/// Requests that were let through, which must keep their distance.
pub fn admitted(nginx: &Nginx) -> Vec<Line> {
    let log = nginx.log();
    let admitted: Vec<Line> = log.into_iter().filter(|line| line.is_admitted).collect();
    for pair in admitted.windows(2) {
        let distance = pair[1].time - pair[0].time;
        assert!(distance > SLOT - TOLERANCE, "two requests in {distance} s");
    }
    admitted
}

/// How many requests the limiter refused.
pub fn refusals(nginx: &Nginx) -> usize {
    nginx.log().iter().filter(|line| !line.is_admitted).count()
}

/// Makes the table refuse every row, or no more.
pub fn refuse_data(house: &House, refuse: bool) {
    house.clickhouse(match refuse {
        true => "ALTER TABLE http_log ADD CONSTRAINT no CHECK resource_id > 18446744073709551614",
        false => "ALTER TABLE http_log DROP CONSTRAINT no",
    });
}

/// How many rows a file holds.
pub fn rows_in(file: &Path) -> usize {
    let batches = decode(fs::read(file).unwrap());
    batches.iter().map(|batch| batch.num_rows()).sum()
}

/// Every file of the spool with its content.
pub fn picture(house: &House) -> Vec<(PathBuf, Vec<u8>)> {
    let files = walkdir::WalkDir::new(house.spool()).sort_by_file_name();
    let files = files.into_iter().map(Result::unwrap);
    files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let content = fs::read(entry.path()).unwrap();
            (entry.into_path(), content)
        })
        .collect()
}
