//! The rules of the slot and of the order in which batches go.
//!
//! **The interval.** After a request that used the slot, or may have, none leaves before
//! the configured interval is over. That is what the pacer's rules (`upload/slot`) come to
//! from outside: it keeps the configured interval or a longer one that it has learned; of a
//! learned one it tries shorter ones only above what was refused, which was the configured
//! one or more; and it tries less than the configured one only after 60 admitted requests
//! ([`ADMITTED_MAX`]), from where on this rule says nothing. A body that was too large, a
//! refusal of the limiter and a connection that failed use no slot. A person's request that
//! says `now` may go early. Distances go by the wall clock, which may jump: the longer of
//! both clocks counts, and a jump is allowed for.
//!
//! **What is known.** A process that comes after one that died before it noted the answer
//! knows when the request was to leave, not when it did; and where `pace.json` could not be
//! saved, it knows less.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value;

use super::Audit;
use super::files::{self, Files};
use crate::disk::{LifeDisk, SPOOL};
use crate::proxy::Seen;
use crate::scheduler::now;
use crate::violations::Rule;

/// Admitted requests after which the pacer may try less than what is configured.
const ADMITTED_MAX: usize = 60;

/// A segment that came to `ready/` while a batch was being packed need not be in it.
const PACKING_MAX: Duration = Duration::from_secs(5);

/// `pace.json` is saved so long before the slot opens, at most (`upload/send/attempt.rs`).
const READY_LEAD_MAX: Duration = Duration::from_secs(1);

/// Times are saved in whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(1);

impl Audit {
    /// The first byte of a request is about to leave.
    pub(super) fn check_post(&self, disk: &LifeDisk, seen: &Seen, body: &Bytes) {
        let certain = disk.certain_files(Path::new(SPOOL));
        let is_there = |(path, bytes): (&std::path::PathBuf, &Bytes)| {
            matches!(files::directory(path), "sending" | "inbox") && bytes == body
        };
        if !certain.iter().any(is_there) {
            let what = format!("{} is not durable in sending/", seen.token);
            self.parts.violations.report(Rule::SentBeforeDurable, what);
        }
        let live = disk.files(Path::new(SPOOL));
        let requests = requests(&live);
        if seen.is_main {
            self.check_announced(&certain, seen);
            if !requests.iter().any(|request| request["now"] == true) {
                self.check_interval(seen);
            }
            if requests.is_empty() {
                self.check_order(&live, seen);
            }
        }
    }

    fn check_announced(&self, certain: &Files, seen: &Seen) {
        let pace = certain.get(&Path::new(SPOOL).join("pace.json"));
        let pace: Value = pace
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let announced = pace["in_flight_ms"].as_u64();
        let mut state = self.state();
        let is_new = announced.is_some() && announced != state.announced;
        if !is_new && !state.pace_lost.contains(&seen.process) {
            let what = format!("{}: pace.json announces {announced:?}", seen.token);
            self.parts.violations.report(Rule::SentUnannounced, what);
        }
        state.announced = announced;
    }

    fn check_interval(&self, seen: &Seen) {
        let state = self.state();
        let early = self.parts.nginx.look_at_seen(|all| {
            let main = || all.iter().filter(|before| before.is_main);
            let admitted = main().filter(|before| before.reply.may_use_slot()).count();
            let last = main().rfind(|before| before.reply.may_use_slot())?;
            let is_forgotten =
                last.process != seen.process && state.pace_lost.contains(&last.process);
            if admitted >= ADMITTED_MAX || is_forgotten {
                return None;
            }
            // What a process knows that came after one that died.
            let (known, since) = match last.process == seen.process {
                true => (last.left, last.left),
                false => (
                    last.left.min(last.opens),
                    last.opens.saturating_sub(READY_LEAD_MAX),
                ),
            };
            let jumps = state.jumps.iter().filter(|(at, _)| *at >= since);
            let jumped: Duration = jumps.map(|(_, by)| *by).sum();
            let steady = seen.left.saturating_sub(last.left);
            let by_wall = since_1970(seen.left_wall).saturating_sub(since_1970(last.left_wall));
            let delay = last.left - known;
            let distance = steady.max(by_wall) + delay + jumped + ROUNDING;
            (distance < self.parts.interval).then(|| (distance, last.token.clone()))
        });
        if let Some((distance, last)) = early {
            let what = format!("{}: {distance:?} after {last}", seen.token);
            self.parts.violations.report(Rule::SentEarly, what);
        }
    }

    /// Nothing goes before what may have been posted, nor before what is older.
    fn check_order(&self, live: &Files, seen: &Seen) {
        // What somebody put there by hand is no batch if it is broken.
        let in_directory = |wanted: &'static str| {
            let files = live.iter().filter(move |(path, bytes)| {
                files::directory(path) == wanted && files::content(bytes).is_some()
            });
            files.filter_map(|(path, _)| Some((files::name(path), files::token(path)?)))
        };
        let mut own = in_directory("sending").filter(|(_, token)| *token == seen.token);
        let Some((own, _)) = own.next() else {
            return; // a copy of a file from outside
        };
        let before = in_directory("sending").find(|(_, token)| *token != seen.token);
        let is_asked_for = self.state().asked_for.contains(&seen.token);
        let older = in_directory("batches").find(|(name, _)| !is_asked_for && *name < own);
        if let Some((name, _)) = before.or(older) {
            let what = format!("{own} goes before {name}");
            self.parts.violations.report(Rule::OutOfTurn, what);
        }
    }

    /// A batch is about to be put in line; while a request is open it may be for that.
    pub(super) fn note_asked_for(&self, disk: &LifeDisk, to: &Path) {
        let live = disk.files(Path::new(SPOOL));
        if let Some(token) = files::token(to).filter(|_| !requests(&live).is_empty()) {
            self.state().asked_for.insert(token.to_owned());
        }
    }

    /// A batch is about to be published.
    pub(super) fn check_packed(&self, disk: &LifeDisk, from: &Path, to: &Path) {
        let live = disk.files(Path::new(SPOOL));
        let is_there = |path: &&std::path::PathBuf| {
            files::directory(path) == "sending" && files::token(path) == files::token(to)
        };
        if live.keys().any(|path| is_there(&path)) {
            return; // it goes back to where it was
        }
        let Some(content) = live.get(from).and_then(files::content) else {
            return;
        };
        let mut others = live.keys().filter(|path| *path != from);
        if others.any(|path| files::is_published(path) && files::token(path) == files::token(to)) {
            return; // it is moved, not packed
        }
        if let Some(whole) = content.footer["split_from"].as_str() {
            self.check_split(whole, to);
        } else if requests(&live).is_empty() {
            self.check_oldest(&live, content.footer["covers"][0]["first"].as_u64(), to);
        }
    }

    fn check_split(&self, whole: &str, part: &Path) {
        let may_be_stored = self.parts.nginx.look_at_seen(|all| {
            let of_whole = |seen: &&Seen| seen.token == whole;
            all.iter()
                .filter(of_whole)
                .any(|seen| seen.reply.may_have_stored())
        });
        if may_be_stored {
            let what = format!(
                "{} holds rows of {whole}, which may be stored",
                files::name(part)
            );
            self.parts.violations.report(Rule::Repacked, what);
        }
    }

    fn check_oldest(&self, live: &Files, first: Option<u64>, to: &Path) {
        let state = self.state();
        let waits = |path: &&std::path::PathBuf| {
            let since = state.ready_since.get(*path);
            files::directory(path) == "ready"
                && since.is_some_and(|since| *since + PACKING_MAX < now())
        };
        let numbers = live.keys().filter(waits).filter_map(|path| {
            let digits = files::name(path).strip_prefix("seg-")?.get(..10)?;
            digits.parse::<u64>().ok()
        });
        if let Some(older) = numbers.min().filter(|number| Some(*number) < first) {
            let what = format!("{} was packed before segment {older}", files::name(to));
            self.parts.violations.report(Rule::OutOfTurn, what);
        }
    }
}

/// What people have asked for and is not answered yet.
fn requests(live: &Files) -> Vec<Value> {
    let requests = live.iter().filter(|(path, _)| {
        files::directory(path) == "inbox" && files::name(path).ends_with(".request.json")
    });
    let mut seen = BTreeSet::new();
    let requests = requests.filter(|(path, _)| seen.insert(*path));
    requests
        .filter_map(|(_, bytes)| serde_json::from_slice(bytes).ok())
        .collect()
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
