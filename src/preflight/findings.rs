//! From what was seen to what is said about it, and how to mend it.
//!
//! Invariant: no I/O; what is right, worth knowing or wrong is decided here and
//! nowhere else, and each cure names the key and where it was set.

mod server;

use std::io::ErrorKind;
use std::time::Duration;

use bytesize::ByteSize;
use humantime::format_duration;
use serde::Serialize;
use uuid::Uuid;

use crate::config::{ConfigError, Loaded};
use crate::ingest::topic_report::{ReportError, TopicReport};
use crate::spool::read_only::disk_check::{self, DiskCheck};
use crate::text::plural;

pub(super) use server::{learned, proxy};

/// Kafka should keep a message for so many times `spool.roll_after`: a restart,
/// or a disk that is slow for a while, must not lose any.
const RETENTION_ROLLS: u32 = 4;

/// A retention below this leaves little time for a person.
const RETENTION_SHORT: Duration = Duration::from_secs(3_600);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// To be mended before it can go well.
    Problem,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about.
    pub about: &'static str,
    /// What was found.
    pub what: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    fn ok(about: &'static str, what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            about,
            what: what.into(),
            cure: None,
        }
    }

    fn note(about: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            level: Level::Note,
            about,
            what: what.into(),
            cure: Some(cure.into()),
        }
    }

    fn problem(about: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            level: Level::Problem,
            ..Self::note(about, what, cure)
        }
    }
}

/// A key and where its value was set.
fn key(loaded: &Loaded, key: &str) -> String {
    format!("{key} ({})", loaded.origin(key))
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

fn duration(time: Duration) -> String {
    format_duration(time).to_string()
}

/// A configuration that can't be used; nothing else can be looked at then.
pub fn config(error: &ConfigError) -> Finding {
    Finding::problem(
        "config",
        error.to_string(),
        "correct it where the brackets say; `spoolhouse check` then looks at the rest",
    )
}

/// The spool's directory. Below `floor` free bytes nothing is read from Kafka.
pub(super) fn spool(seen: &DiskCheck, loaded: &Loaded, floor: u64) -> Vec<Finding> {
    const ABOUT: &str = "spool";
    let dir = loaded.config.spool.dir.display();
    let dir_key = key(loaded, "spool.dir");
    let mut found = Vec::new();
    found.push(match &seen.spool {
        Some(Ok(id)) => Finding::ok(ABOUT, format!("{dir} is the spool {id}")),
        Some(Err(error)) => Finding::problem(
            ABOUT,
            format!("{dir}/spool.json can't be used: {error}"),
            "put back the spool.json that belongs to the files beside it, or use the version of \
             spoolhouse that wrote it",
        ),
        None => Finding::ok(ABOUT, format!("{dir} is no spool yet; `run` makes it one")),
    });
    match &seen.publishes {
        Ok(took) => found.push(speed(took, loaded)),
        Err(trouble) => found.push(Finding::problem(
            ABOUT,
            format!(
                "nothing can be written to {}: {}",
                seen.tried_in.display(),
                trouble.text
            ),
            write_cure(trouble, &dir_key),
        )),
    }
    if let Some(memory) = seen.in_memory {
        found.push(Finding::problem(
            ABOUT,
            format!(
                "{} is {memory}: memory, which a power cut empties",
                seen.tried_in.display()
            ),
            format!("set {dir_key} to a directory on a disk"),
        ));
    }
    found.extend(space(seen, loaded, floor));
    if let Some(pid) = seen.owner {
        found.push(Finding::note(
            ABOUT,
            format!("process {pid} owns it: a second `spoolhouse run` here does not start"),
            format!("nothing if that is your `run`; else stop process {pid}, or set {dir_key} to another directory"),
        ));
    }
    found
}

fn write_cure(trouble: &disk_check::WriteFailure, dir_key: &str) -> String {
    match trouble.kind {
        ErrorKind::ReadOnlyFilesystem => {
            format!("mount it writable, or set {dir_key} to another directory")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!(
            "free space there (nothing in a spool is safe to remove by hand), enlarge it, or set \
             {dir_key} to another directory"
        ),
        ErrorKind::PermissionDenied => format!(
            "give the directory to the user that runs spoolhouse, or set {dir_key} to another one"
        ),
        _ => format!("look at the disk (dmesg), or set {dir_key} to another directory"),
    }
}

/// How fast it is there, against what a roll may take.
fn speed(took: &[Duration], loaded: &Loaded) -> Finding {
    const ABOUT: &str = "spool";
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    let worst = took.last().copied().unwrap_or_default();
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let what = format!(
        "a file is durable there in {} (median of {}; the worst took {})",
        ms(median),
        took.len(),
        ms(worst)
    );
    let roll_after = loaded.config.spool.roll_after;
    if worst >= roll_after {
        let cure = format!(
            "use a faster disk, or raise {}: a segment takes longer to seal than to fill",
            key(loaded, "spool.roll_after")
        );
        return Finding::problem(ABOUT, what, cure);
    }
    Finding::ok(ABOUT, what)
}

fn space(seen: &DiskCheck, loaded: &Loaded, floor: u64) -> Option<Finding> {
    const ABOUT: &str = "spool";
    let free = seen.free_bytes?;
    let spool = &loaded.config.spool;
    let used = seen.used_bytes;
    let what = format!(
        "{} free; the spool takes {} of its {}",
        size(free),
        size(used),
        size(spool.max_bytes)
    );
    let lower = || {
        format!(
            "free or add space, or lower {} or {}",
            key(loaded, "spool.max_bytes"),
            key(loaded, "spool.min_free")
        )
    };
    Some(if free < floor {
        let what = format!("{what}; below {} nothing is read from Kafka", size(floor));
        Finding::problem(ABOUT, what, lower())
    } else if used >= spool.max_bytes {
        let cure = format!(
            "let the upload drain it (`spoolhouse status`), or raise {}",
            key(loaded, "spool.max_bytes")
        );
        Finding::problem(
            ABOUT,
            format!("{what}: it is full, and nothing is read"),
            cure,
        )
    } else if free.saturating_add(used) < spool.max_bytes.saturating_add(floor) {
        let what = format!("{what}: the disk is full before the budget is reached");
        Finding::note(ABOUT, what, lower())
    } else {
        Finding::ok(ABOUT, what)
    })
}

/// Broker and topic.
pub(super) fn topic(
    seen: &Result<TopicReport, ReportError>,
    loaded: &Loaded,
    spool: Uuid,
) -> Vec<Finding> {
    const ABOUT: &str = "kafka";
    let kafka = &loaded.config.kafka;
    let brokers_key = key(loaded, "kafka.brokers");
    let topic_key = key(loaded, "kafka.topic");
    let topic_report = match seen {
        Ok(topic_report) => topic_report,
        Err(ReportError::Client(error)) => {
            return vec![Finding::problem(
                ABOUT,
                format!("the client can't be made: {error}"),
                "correct the property in [kafka.librdkafka]",
            )];
        }
        Err(ReportError::NoTopic) => {
            return vec![Finding::problem(
                ABOUT,
                format!("{} has no topic {}", kafka.brokers, kafka.topic),
                format!(
                    "correct {topic_key}, or create it: kafka-topics.sh --bootstrap-server {} \
                     --create --topic {}",
                    kafka.brokers, kafka.topic
                ),
            )];
        }
        Err(ReportError::Broker(error)) => {
            return vec![Finding::problem(
                ABOUT,
                format!("{} does not answer: {error}", kafka.brokers),
                format!(
                    "start the broker, correct {brokers_key}, or, if it wants TLS or a login, set \
                     them in [kafka.librdkafka]"
                ),
            )];
        }
    };
    let partitions = topic_report.standings.len();
    let mut found = vec![Finding::ok(
        ABOUT,
        format!(
            "{}, {}",
            topic_report.source,
            plural(partitions as u64, "partition")
        ),
    )];
    match &topic_report.settings {
        Ok(settings) => {
            let text = |name: &str| settings.get(name).map(String::as_str);
            found.extend(retention(text("retention.ms"), loaded));
            if text("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
                found.push(Finding::problem(
                    ABOUT,
                    "the topic is compacted: Kafka removes messages that nobody has read",
                    format!("set cleanup.policy=delete on {}", kafka.topic),
                ));
            }
        }
        Err(error) => found.push(Finding::note(
            ABOUT,
            format!("the broker does not tell how long it keeps the topic: {error}"),
            "allow this user DESCRIBE_CONFIGS on the topic, so that this can be checked",
        )),
    }
    found.extend(standing(topic_report, spool, loaded));
    found
}

/// How long Kafka keeps what was not read, against how long we take to make it safe.
fn retention(retention_ms: Option<&str>, loaded: &Loaded) -> Option<Finding> {
    const ABOUT: &str = "kafka";
    let retention_ms: i64 = retention_ms?.parse().ok()?;
    let Ok(retention_ms) = u64::try_from(retention_ms) else {
        return Some(Finding::ok(ABOUT, "keeps messages whatever their age"));
    };
    let retention = Duration::from_millis(retention_ms);
    let roll_after = loaded.config.spool.roll_after;
    let what = format!(
        "keeps a message for {}; {} is {}",
        duration(retention),
        key(loaded, "spool.roll_after"),
        duration(roll_after)
    );
    let raise = "raise retention.ms of the topic";
    Some(if retention < roll_after * RETENTION_ROLLS {
        Finding::problem(
            ABOUT,
            format!("{what}: it deletes what is not safe on disk yet"),
            format!(
                "lower spool.roll_after to at most {}, or {raise}",
                duration(retention / RETENTION_ROLLS)
            ),
        )
    } else if retention < RETENTION_SHORT {
        Finding::note(
            ABOUT,
            format!("{what}: a stop of spoolhouse longer than that loses records"),
            format!("{raise} to what an outage may take"),
        )
    } else {
        Finding::ok(ABOUT, what)
    })
}

/// How far behind we are, and whose commits are there.
fn standing(topic_report: &TopicReport, spool: Uuid, loaded: &Loaded) -> Vec<Finding> {
    const ABOUT: &str = "kafka";
    let standings = topic_report.standings.values();
    let lag: i64 = standings
        .clone()
        .map(|standing| standing.lag(spool).max(0))
        .sum();
    let positions = standings
        .clone()
        .filter(|standing| standing.own.is_some())
        .count();
    let mut found = vec![Finding::ok(
        ABOUT,
        format!(
            "{} not read yet; the spool has a position in {positions} of {}",
            plural(lag.unsigned_abs(), "message"),
            plural(topic_report.standings.len() as u64, "partition")
        ),
    )];
    let lost = standings
        .clone()
        .filter_map(|standing| standing.start(spool).lost);
    let lost: i64 = lost.map(|range| range.1 - range.0).sum();
    if lost > 0 {
        found.push(Finding::problem(
            ABOUT,
            format!(
                "retention took {} before they were read",
                plural(lost.unsigned_abs(), "offset")
            ),
            "nothing brings them back: the next `run` writes them to gaps.jsonl and goes on; raise \
             retention.ms of the topic to what an outage may take",
        ));
    }
    let signatures =
        standings.filter_map(|standing| standing.committed.as_ref()?.signature.as_ref());
    if let Some(other) = signatures.map(|by| by.spool).find(|by| *by != spool) {
        found.push(Finding::note(
            ABOUT,
            format!("the group's offsets were committed by the spool {other}, not by this one"),
            format!(
                "nothing if this spool takes over from that one; else set {} to a name of its own",
                key(loaded, "kafka.group")
            ),
        ));
    }
    found
}

#[cfg(test)]
mod tests;
