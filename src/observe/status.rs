//! `/status.json`: the one document in which a process tells how it is getting on.
//!
//! The process fills it in, the server serves it, the page's scripts show it, and
//! `spoolhouse status` reads it back, all as these types. Values only; knows nobody
//! that it speaks of.
//!
//! Invariant: names and meanings of fields stay, since the page reads them by name
//! and the process may be of another version than whoever asks it. A field that is
//! absent has its default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::history::Sample;

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    /// What the files say; absent before the first look at them.
    #[serde(flatten)]
    pub spool: Option<Spool>,
    /// When the next slot is, milliseconds since 1970; absent before it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_slot_ms: Option<u64>,
    /// What changes every second; absent while the process is starting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// The last requests, oldest first; absent while the process is starting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Attempt>>,
    /// Whether it takes records in.
    pub ready: bool,
    /// Why it doesn't, if it doesn't.
    pub held: Option<String>,
    /// The last hours.
    pub history: Samples,
}

/// What the files of a spool say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spool {
    /// The spool's directory.
    pub dir: PathBuf,
    /// The pid of the process that owns the spool.
    pub owner: Option<u32>,
    /// Size of the spool's files.
    pub bytes: u64,
    /// What they may take.
    pub bytes_max: u64,
    /// Free space of the spool's disk; `None` if the disk does not tell.
    pub free_bytes: Option<u64>,
    /// Free space below which reading pauses.
    pub free_bytes_min: u64,
    /// Seconds since the oldest file that waits for ClickHouse was written.
    pub oldest_unsent_s: Option<f64>,
    /// What lies in which directory of the spool, by its name.
    pub rooms: BTreeMap<String, DirectoryStatus>,
    /// The proxy's slots.
    pub slot: Slot,
    /// What keeps every batch from being stored until an operator has acted.
    pub refusal: Option<String>,
    /// When what waits will be gone.
    pub drain: Drain,
    /// Files that wait for a person.
    pub concerns: Vec<Concern>,
}

impl Spool {
    /// How much the spool may still grow before reading pauses, bytes.
    pub fn growth_bytes_max(&self) -> u64 {
        let budget = self.bytes_max.saturating_sub(self.bytes);
        self.free_bytes.map_or(budget, |free| {
            budget.min(free.saturating_sub(self.free_bytes_min))
        })
    }
}

/// What lies in one directory of the spool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectoryStatus {
    /// Files that carry one of our names.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Rows of those whose footer can be read.
    pub rows: u64,
    /// Files whose footer can't be read.
    pub unreadable: u64,
    /// Seconds since the oldest file was written.
    pub oldest_s: Option<u64>,
}

/// What is known about the proxy's slots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slot {
    /// Seconds until the next one.
    pub wait_s: f64,
    /// Seconds from one to the next.
    pub interval_s: f64,
    /// The largest body to post, bytes.
    pub body_bytes_max: u64,
    /// The last full batch.
    pub full_batch: Option<FullBatch>,
}

/// What a full batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FullBatch {
    /// Its rows.
    pub rows: u64,
    /// Its size, bytes.
    pub bytes: u64,
}

/// When what waits will be gone, if nothing is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Drain {
    /// Rows that a full batch takes.
    pub rows_per_batch: u64,
    /// Where that number comes from.
    pub basis: Basis,
    /// Batches that are still to go.
    pub batches: u64,
    /// Seconds until the last of them goes.
    pub seconds: f64,
}

/// Where the size of a full batch is known from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// The last full batch.
    Achieved,
    /// The oldest segments, packed on trial.
    Rehearsed,
    /// Nothing: it is supposed.
    #[default]
    Supposed,
}

/// A file that waits for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Concern {
    /// Its path in the spool.
    pub file: String,
    /// Why it is there. Text from outside.
    pub why: String,
}

/// What changes every second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Live {
    /// When this was written, milliseconds since 1970.
    pub at_ms: u64,
    /// When the process was started, milliseconds since 1970.
    pub started_ms: u64,
    /// Its version.
    pub version: String,
    /// How many partitions it reads.
    pub partitions: u64,
    /// Whether reading pauses because spool or disk are full or fail.
    pub paused: bool,
    /// Messages that Kafka has and that are not read.
    pub lag: Option<u64>,
    /// The same of the partition that has most.
    pub lag_max: Option<u64>,
    /// Age of the oldest message that is not yet on our disk, seconds.
    pub unsealed_s: f64,
    /// How long Kafka keeps a message, seconds.
    pub retention_s: Option<f64>,
    /// Messages read per second, over the last seconds.
    pub read_per_s: f64,
    /// Requests since the last that was stored.
    pub since_success: u32,
}

/// What became of one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// When its answer was there, milliseconds since 1970.
    pub at_ms: u64,
    /// The outcome, as the metrics name it.
    pub outcome: String,
    /// The batch.
    pub batch: String,
    /// How often the batch was posted by then.
    pub attempt: u32,
    /// Its rows.
    pub rows: u64,
    /// Its size, bytes.
    pub bytes: u64,
    /// Its size as a share of the body limit, 0 to 1.
    pub fill: f64,
    /// Seconds from sending to the end of the answer.
    pub took_s: f64,
    /// What was answered, if it wasn't stored. Text from outside.
    pub message: Option<String>,
    /// How old its records were when it was stored.
    pub latency: Option<Latency>,
}

/// How old the records of a batch were when it was stored, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// The youngest.
    pub least_s: f64,
    /// Half of them were no older.
    pub median_s: f64,
    /// The oldest.
    pub most_s: f64,
}

/// The last hours, in samples at a fixed distance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Samples {
    /// Their distance, seconds.
    pub every_s: u64,
    /// How many are kept.
    pub samples_max: u64,
    /// The samples that were asked for, oldest first.
    pub samples: Vec<Sample>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A document with something in every field.
    fn full() -> Document {
        Document {
            spool: Some(Spool {
                dir: "/spool".into(),
                owner: Some(42),
                bytes: 700,
                bytes_max: 1_000,
                free_bytes: Some(5_000),
                free_bytes_min: 4_900,
                oldest_unsent_s: Some(1.5),
                rooms: BTreeMap::from([(
                    "ready".to_owned(),
                    DirectoryStatus {
                        files: 1,
                        bytes: 2,
                        rows: 3,
                        unreadable: 4,
                        oldest_s: Some(5),
                    },
                )]),
                slot: Slot {
                    wait_s: 0.5,
                    interval_s: 62.5,
                    body_bytes_max: 1_048_576,
                    full_batch: Some(FullBatch {
                        rows: 70_000,
                        bytes: 1_040_000,
                    }),
                },
                refusal: Some("no such table".to_owned()),
                drain: Drain {
                    rows_per_batch: 70_000,
                    basis: Basis::Achieved,
                    batches: 2,
                    seconds: 63.0,
                },
                concerns: vec![Concern {
                    file: "doubtful/x".to_owned(),
                    why: "torn".to_owned(),
                }],
            }),
            next_slot_ms: Some(1_500),
            live: Some(Live {
                at_ms: 1_000,
                started_ms: 900,
                version: "0.1.0".to_owned(),
                partitions: 6,
                paused: true,
                lag: Some(7),
                lag_max: Some(4),
                unsealed_s: 2.5,
                retention_s: Some(60.0),
                read_per_s: 12.5,
                since_success: 1,
            }),
            attempts: Some(vec![Attempt {
                at_ms: 950,
                outcome: "unknown".to_owned(),
                batch: "batch-0000000001".to_owned(),
                attempt: 2,
                rows: 10,
                bytes: 200,
                fill: 0.25,
                took_s: 0.125,
                message: Some("reset".to_owned()),
                latency: Some(Latency {
                    least_s: 1.0,
                    median_s: 2.0,
                    most_s: 3.0,
                }),
            }]),
            ready: false,
            held: Some("paused".to_owned()),
            history: Samples {
                every_s: 30,
                samples_max: 720,
                samples: vec![Sample {
                    at_ms: 800,
                    spool_bytes: 600,
                    waiting_rows: 9,
                    lag: Some(7),
                    read_per_s: 12.5,
                    latency_s: Some((2.0, 3.0)),
                }],
            },
        }
    }

    #[test]
    fn fields_keep_their_names() {
        let expected = json!({
            "dir": "/spool", "owner": 42, "bytes": 700, "bytes_max": 1_000,
            "free_bytes": 5_000, "free_bytes_min": 4_900, "oldest_unsent_s": 1.5,
            "rooms": {
                "ready": {"files": 1, "bytes": 2, "rows": 3, "unreadable": 4, "oldest_s": 5},
            },
            "slot": {
                "wait_s": 0.5, "interval_s": 62.5, "body_bytes_max": 1_048_576,
                "full_batch": {"rows": 70_000, "bytes": 1_040_000},
            },
            "refusal": "no such table",
            "drain": {"rows_per_batch": 70_000, "basis": "achieved", "batches": 2, "seconds": 63.0},
            "concerns": [{"file": "doubtful/x", "why": "torn"}],
            "next_slot_ms": 1_500,
            "live": {
                "at_ms": 1_000, "started_ms": 900, "version": "0.1.0", "partitions": 6,
                "paused": true, "lag": 7, "lag_max": 4, "unsealed_s": 2.5, "retention_s": 60.0,
                "read_per_s": 12.5, "since_success": 1,
            },
            "attempts": [{
                "at_ms": 950, "outcome": "unknown", "batch": "batch-0000000001", "attempt": 2,
                "rows": 10, "bytes": 200, "fill": 0.25, "took_s": 0.125, "message": "reset",
                "latency": {"least_s": 1.0, "median_s": 2.0, "most_s": 3.0},
            }],
            "ready": false, "held": "paused",
            "history": {
                "every_s": 30, "samples_max": 720,
                "samples": [{
                    "at_ms": 800, "spool_bytes": 600, "waiting_rows": 9, "lag": 7,
                    "read_per_s": 12.5, "latency_s": [2.0, 3.0],
                }],
            },
        });
        assert_eq!(serde_json::to_value(full()).unwrap(), expected);
        let read: Document = serde_json::from_value(expected).unwrap();
        assert_eq!(read, full());
    }

    #[test]
    fn one_that_is_starting_tells_only_that() {
        let starting = Document {
            held: Some("it is starting".to_owned()),
            ..Document::default()
        };
        let told = serde_json::to_value(&starting).unwrap();
        let mut names: Vec<&String> = told.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["held", "history", "ready"]);
    }

    /// Names that follow `what` in a script (`status.json` is a file).
    fn read_of<'s>(script: &'s str, what: &'s str) -> impl Iterator<Item = &'s str> {
        script.match_indices(what).filter_map(move |(place, _)| {
            let is_word = script[..place].ends_with(|c: char| c.is_alphanumeric() || c == '.');
            let rest = &script[place + what.len()..];
            let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_'))?;
            (!is_word && end > 0).then_some(&rest[..end])
        })
    }

    #[test]
    fn the_page_reads_fields_that_are_there() {
        let told = serde_json::to_value(full()).unwrap();
        let scripts = [include_str!("page/page.js"), include_str!("page/flow.js")];
        let mut read = 0;
        for script in scripts {
            for (what, document) in [
                ("status.", &told),
                ("status.live.", &told["live"]),
                ("live.", &told["live"]),
                ("drain.", &told["drain"]),
                ("slot.", &told["slot"]),
                ("attempt.", &told["attempts"][0]),
                ("sample.", &told["history"]["samples"][0]),
            ] {
                for name in read_of(script, what).filter(|name| *name != "json") {
                    assert_ne!(document.get(name), None::<&Value>, "{what}{name}");
                    read += 1;
                }
            }
        }
        assert!(read > 20, "only {read} fields were found in the scripts");
    }
}
