//! What the tests of `spoolhouse upload` share: a spool that has something to
//! send by hand, the command, and what it said.

use std::fs;
use std::process::Output;

use spoolhouse::traffic;

use super::House;
use super::house::{NOWHERE, output_in_time};
use super::rows::send;
use super::spool_files::files_in;

/// Slots far enough apart to see which is used.
pub const SLOW_SETTINGS: &str = "interval = \"3s\"";

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
        let count = |room| files_in(&house.spool(), room).len();
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
pub fn last_in(house: &House, room: &str) -> String {
    let files = files_in(&house.spool(), room);
    let name = files.last().expect("a file").file_name().unwrap();
    format!("{room}/{}", name.to_str().unwrap())
}

/// Whether nothing is in a room.
pub fn is_empty(house: &House, room: &str) -> bool {
    fs::read_dir(house.spool().join(room)).unwrap().count() == 0
}
