//! Each thing that may be wrong, as if it had been seen.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::config;
use crate::ingest::assignment::positions::Standing;
use crate::ingest::commit::{Committed, Log, Signature};
use crate::spool::format::footer::Source;

/// Free space below which nothing is read.
const FLOOR: u64 = 100 * bytesize::MIB;

pub(super) fn loaded(text: &str) -> Loaded {
    config::parse(Some((Path::new("x.toml"), text)), []).unwrap()
}

fn place() -> DiskCheck {
    DiskCheck {
        tried_in: "/spool".into(),
        spool: None,
        publishes: Ok([2, 3, 9].map(Duration::from_millis).to_vec()),
        free_bytes: Some(bytesize::TIB),
        used_bytes: 0,
        owner: None,
        in_memory: None,
    }
}

fn topic_with(settings: &[(&str, &str)]) -> TopicReport {
    let settings = settings
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    let log = Log { start: 10, end: 25 };
    let standing = Standing {
        own: Some(20),
        committed: None,
        log,
    };
    TopicReport {
        source: Source {
            cluster: "c".into(),
            topic: "http_log".into(),
            topic_id: "i".into(),
        },
        standings: BTreeMap::from([(0, standing)]),
        settings: Ok(settings.collect()),
    }
}

/// The one problem, and how to mend it.
pub(super) fn problem(found: &[Finding]) -> (&str, &str) {
    let problems: Vec<_> = found
        .iter()
        .filter(|finding| finding.level == Level::Problem)
        .collect();
    assert_eq!(problems.len(), 1, "{found:#?}");
    (&problems[0].what, problems[0].cure.as_deref().unwrap())
}

#[test]
fn where_everything_is_right_nothing_is_to_be_mended() {
    let loaded = loaded("");
    let us = Uuid::nil();
    let topic_seen = Ok(topic_with(&[
        ("retention.ms", "604800000"),
        ("cleanup.policy", "delete"),
    ]));
    let found = [
        spool(&place(), &loaded, FLOOR),
        topic(&topic_seen, &loaded, us),
    ];
    let found = found.concat();
    assert!(
        found.iter().all(|finding| finding.level == Level::Ok),
        "{found:#?}"
    );
    assert!(
        found
            .iter()
            .any(|finding| finding.what.starts_with("5 messages not read yet"))
    );
}

#[test]
fn a_place_that_takes_nothing_names_the_key_and_where_it_was_set() {
    let loaded = loaded("[spool]\ndir = \"s\"\n");
    for (kind, cure) in [
        (ErrorKind::ReadOnlyFilesystem, "mount it writable"),
        (ErrorKind::StorageFull, "free space"),
        (ErrorKind::PermissionDenied, "give the directory"),
    ] {
        let trouble = disk_check::WriteFailure {
            kind,
            text: "no".into(),
        };
        let seen = DiskCheck {
            publishes: Err(trouble),
            ..place()
        };
        let found = spool(&seen, &loaded, FLOOR);
        let (_, said) = problem(&found);
        assert!(
            said.contains(cure) && said.contains("spool.dir (x.toml:2)"),
            "{said}"
        );
    }
}

#[test]
fn room_and_speed_are_held_against_the_configuration() {
    let loaded = loaded("[spool]\nroll_after = \"100ms\"\n");
    let slow = [5, 6, 130].map(Duration::from_millis).to_vec();
    let found = spool(
        &DiskCheck {
            publishes: Ok(slow),
            ..place()
        },
        &loaded,
        FLOOR,
    );
    assert!(
        problem(&found)
            .0
            .contains("6.0 ms (median of 3; the worst took 130.0 ms)")
    );
    let found = spool(
        &DiskCheck {
            free_bytes: Some(bytesize::MIB),
            ..place()
        },
        &loaded,
        FLOOR,
    );
    assert!(problem(&found).1.contains("spool.min_free (default)"));
    let found = spool(
        &DiskCheck {
            used_bytes: 10 * bytesize::GIB,
            ..place()
        },
        &loaded,
        FLOOR,
    );
    assert!(problem(&found).1.contains("raise spool.max_bytes"));
    let found = spool(
        &DiskCheck {
            in_memory: Some("tmpfs"),
            ..place()
        },
        &loaded,
        FLOOR,
    );
    assert!(problem(&found).0.contains("which a power cut empties"));
    let little = spool(
        &DiskCheck {
            free_bytes: Some(bytesize::GIB),
            ..place()
        },
        &loaded,
        FLOOR,
    );
    assert!(little.iter().any(|finding| finding.level == Level::Note));
}

#[test]
fn an_owner_and_a_broken_state_are_named() {
    let loaded = loaded("");
    let found = spool(
        &DiskCheck {
            owner: Some(42),
            ..place()
        },
        &loaded,
        FLOOR,
    );
    let note = found
        .iter()
        .find(|finding| finding.level == Level::Note)
        .unwrap();
    assert!(note.cure.as_ref().unwrap().contains("stop process 42"));
    let found = spool(
        &DiskCheck {
            spool: Some(Err("format 9".into())),
            ..place()
        },
        &loaded,
        FLOOR,
    );
    assert!(problem(&found).1.contains("spool.json"));
}

#[test]
fn a_retention_that_a_roll_outlasts_is_a_problem_and_a_short_one_a_note() {
    let loaded = loaded("[spool]\nroll_after = \"20s\"\n");
    let found = topic(
        &Ok(topic_with(&[("retention.ms", "60000")])),
        &loaded,
        Uuid::nil(),
    );
    assert!(
        problem(&found)
            .1
            .contains("lower spool.roll_after to at most 15s")
    );
    let found = topic(
        &Ok(topic_with(&[("retention.ms", "80000")])),
        &loaded,
        Uuid::nil(),
    );
    assert!(found.iter().any(|finding| finding.level == Level::Note));
    let found = topic(
        &Ok(topic_with(&[("retention.ms", "-1")])),
        &loaded,
        Uuid::nil(),
    );
    assert!(found.iter().all(|finding| finding.level == Level::Ok));
}

#[test]
fn a_topic_that_is_away_compacted_or_read_too_late_is_a_problem() {
    let loaded = loaded("[kafka]\ntopic = \"t\"\n");
    let us = Uuid::nil();
    for (trouble, cure) in [
        (
            ReportError::NoTopic,
            "correct kafka.topic (x.toml:2), or create it",
        ),
        (
            ReportError::Broker("timed out".into()),
            "kafka.brokers (default)",
        ),
        (
            ReportError::Client("no such property".into()),
            "[kafka.librdkafka]",
        ),
    ] {
        let found = topic(&Err(trouble), &loaded, us);
        assert!(problem(&found).1.contains(cure), "{found:?}");
    }
    let found = topic(
        &Ok(topic_with(&[("cleanup.policy", "compact,delete")])),
        &loaded,
        us,
    );
    assert!(problem(&found).1.contains("cleanup.policy=delete"));
    let mut late = topic_with(&[]);
    late.standings.get_mut(&0).unwrap().own = Some(4);
    let found = topic(&Ok(late), &loaded, us);
    assert!(problem(&found).0.contains("retention took 6 offsets"));
}

#[test]
fn commits_of_another_spool_are_a_note() {
    let loaded = loaded("");
    let signature = Signature {
        spool: Uuid::max(),
        segment: 1,
        topic_id: "i".into(),
    };
    let mut shared = topic_with(&[]);
    let committed = Committed {
        offset: 20,
        signature: Some(signature),
    };
    shared.standings.get_mut(&0).unwrap().committed = Some(committed);
    let found = topic(&Ok(shared), &loaded, Uuid::nil());
    let note = found
        .iter()
        .find(|finding| finding.level == Level::Note)
        .unwrap();
    assert!(note.cure.as_ref().unwrap().contains("kafka.group"));
}
