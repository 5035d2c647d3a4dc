//! What does a person see who sits at a terminal? A tmux is driven key by key:
//! `status --watch`, the countdown of `upload`, colours, and a terminal that is
//! afterwards as it was.

use std::fs;
use std::path::Path;

use crate::support::golden::golden_spool;
use crate::support::nginx::Nginx;
use crate::support::stack::by_hand::{house_with_segments, last_in};
use crate::support::stack::rows::rows;
use crate::support::stack::stack;
use crate::support::terminal::{PROMPT, Terminal};

const SPOOLHOUSE: &str = env!("CARGO_BIN_EXE_spoolhouse");

/// A terminal that is large enough for everything.
const LARGE: (u16, u16) = (150, 45);

/// Another segment in `ready/`.
fn add_segment(spool: &Path, number: u32) {
    let ready = spool.join("ready");
    let name = |number: u32| format!("seg-{number:010}.parquet");
    fs::copy(ready.join(name(4)), ready.join(name(number))).unwrap();
}

/// How many files `ready/` has, by what is on the screen.
fn ready_files(screen: &str) -> Option<u32> {
    let line = screen.lines().find(|line| line.starts_with("ready "))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn watch() -> String {
    format!("{SPOOLHOUSE} status --watch")
}

/// Asserts that a terminal is as a shell wants it, and shows what it did before.
fn assert_given_back(terminal: &Terminal) {
    terminal.wait_until("the shell's own screen", |screen| {
        screen.contains("it-was-here") && !screen.contains("next slot")
    });
    assert_eq!(terminal.flag("alternate_on"), "0");
    assert_eq!(terminal.flag("cursor_flag"), "1");
    assert_eq!(terminal.flag("wrap_flag"), "1");
    terminal.type_line("echo exit-$?");
    terminal.wait_until("what is typed, and exit code 0", |screen| {
        screen.contains(&format!("{PROMPT}echo exit-$?")) && screen.contains("\nexit-0")
    });
}

#[test]
fn a_watched_status_is_drawn_anew_in_place_and_gives_the_terminal_back() {
    let dir = golden_spool();
    for leave in ["q", "C-c"] {
        let terminal = Terminal::open(LARGE, dir.path(), &[]);
        terminal.type_line("echo it-was-here");
        terminal.type_line(&watch());
        let before = terminal.wait_for("the spool's rooms", ready_files);
        assert_eq!(terminal.flag("cursor_flag"), "0");
        add_segment(&dir.path().join("spool"), 100 + before);
        terminal.wait_until("one file more", |screen| {
            ready_files(screen) == Some(before + 1)
        });
        let screen = terminal.screen();
        assert_eq!(screen.matches("next slot in").count(), 1, "{screen}");
        assert!(!screen.contains("it-was-here"), "{screen}");
        let clock = |screen: &str| screen.lines().next().map(str::to_owned);
        let first = clock(&screen);
        terminal.wait_until("its clock to go on", |screen| clock(screen) != first);
        terminal.press(leave);
        assert_given_back(&terminal);
    }
}

#[test]
fn a_watched_status_fits_a_terminal_that_is_small_or_becomes_so() {
    let dir = golden_spool();
    let terminal = Terminal::open((150, 45), dir.path(), &[]);
    terminal.type_line(&watch());
    terminal.wait_for("the spool's rooms", ready_files);
    terminal.resize(44, 8);
    terminal.wait_until("a page of eight short lines", |screen| {
        let lines: Vec<&str> = screen.lines().collect();
        // The first line of the page is the first of the screen, and none took two.
        lines.len() == 8
            && lines[0].contains("q or Ctrl-C")
            && lines[1].is_empty()
            && lines[3].starts_with("its disk")
            && lines[4].contains("bytes")
    });
    terminal.press("q");
    terminal.wait_until("the prompt", |screen| screen.contains(PROMPT.trim()));
}

#[test]
fn what_needs_a_person_is_coloured_unless_no_color_says_no() {
    let dir = golden_spool();
    for command in [watch(), format!("{SPOOLHOUSE} status; echo all")] {
        for (environment, wanted) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
            let terminal = Terminal::open(LARGE, dir.path(), environment);
            terminal.type_line(&command);
            let needs_one = "for a person to look at";
            terminal.wait_until("what needs a person", |screen| screen.contains(needs_one));
            let screen = terminal.styled_screen();
            let line = screen
                .lines()
                .find(|line| line.contains(needs_one))
                .unwrap();
            assert_eq!(line.contains("\u{1b}["), wanted, "{command}: {line:?}");
        }
    }
}

#[test]
fn without_a_terminal_the_pages_follow_each_other_and_json_has_a_line_each() {
    let dir = golden_spool();
    let terminal = Terminal::open(LARGE, dir.path(), &[]);
    terminal.type_line(&format!(
        "{} | head -n 60 | grep -c 'next slot in'",
        watch()
    ));
    terminal.wait_until("two pages and more", |screen| {
        screen
            .lines()
            .any(|line| line.parse().is_ok_and(|pages: u32| pages >= 2))
    });
    terminal.type_line("clear");
    let count = "import json, sys; print(sum('drain' in json.loads(line) for line in sys.stdin), 'objects')";
    terminal.type_line(&format!(
        "{} --json | head -n 2 | python3 -c \"{count}\"",
        watch()
    ));
    terminal.wait_until("two objects", |screen| {
        screen.lines().any(|line| line == "2 objects")
    });
}

/// The seconds of a countdown, and how many lines show one.
fn countdown(screen: &str) -> (Option<u32>, usize) {
    let mut counts = screen
        .lines()
        .filter_map(|line| line.split_once(" goes in ")?.1.split_once("s: "))
        .map(|(count, _)| count.parse().ok());
    let last = counts.next_back().flatten();
    (last, usize::from(last.is_some()) + counts.count())
}

#[test]
fn an_upload_by_hand_counts_down_to_its_slot_on_one_line() {
    let all = rows(71, 600);
    let mut house = house_with_segments("terminal_upload", &[&all[..300], &all[300..]]);
    let location = format!("proxy_pass http://127.0.0.1:{};", stack().clickhouse);
    let proxy = Nginx::start("10r/m", &location);
    house.upload_url = proxy.url();
    house.upload_settings = "interval = \"6s\"";
    drop(house.other_command("upload")); // writes its configuration
    // As narrow as terminals usually are.
    let terminal = Terminal::open((80, 24), house.dir(), &[]);
    // What may be stored goes first and at once, so that this one waits for a slot.
    let segment = last_in(&house, "ready");
    terminal.type_line(&format!(
        "{SPOOLHOUSE} upload --config by-hand.toml {segment} && echo all-\"went\"-well"
    ));
    let mut seen = Vec::new();
    terminal.wait_until("the end", |screen| {
        let (seconds, lines) = countdown(screen);
        assert!(lines <= 1, "{screen}");
        if let Some(seconds) = seconds.filter(|seconds| seen.last() != Some(seconds)) {
            seen.push(seconds);
        }
        screen.lines().any(|line| line == "all-went-well")
    });
    assert!(seen.len() >= 3, "{seen:?}");
    assert!(seen.iter().max() >= Some(&4), "{seen:?}");
    let down = seen.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(down >= 2, "{seen:?}");
    let screen = terminal.screen();
    assert!(
        screen.contains("stored") && !screen.contains("goes in"),
        "{screen}"
    );
}
