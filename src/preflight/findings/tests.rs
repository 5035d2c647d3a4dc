//! Each thing that may be wrong, as if it had been seen.

use std::collections::BTreeMap;
use std::path::Path;

use super::server::{learned, proxy};
use super::*;
use crate::config;
use crate::ingest::handover::{Committed, Log, Signature};
use crate::ingest::positions::Standing;
use crate::preflight::proxy::Seen;
use crate::spool::footer::Source;
use crate::upload::answer::{Outcome, Reason, Refusal};
use crate::upload::inquire::{Server, Table};
use crate::upload::settings::{OF_HTTP, PINNED};

fn loaded(text: &str) -> Loaded {
    config::parse(Some((Path::new("x.toml"), text)), []).unwrap()
}

fn place() -> Probed {
    Probed {
        tried_in: "/spool".into(),
        spool: None,
        publishes: Ok([2, 3, 9].map(Duration::from_millis).to_vec()),
        free_bytes: Some(bytesize::TIB),
        used_bytes: 0,
        owner: None,
        in_memory: None,
    }
}

fn topic_with(settings: &[(&str, &str)]) -> Survey {
    let settings = settings
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    let log = Log { start: 10, end: 25 };
    let standing = Standing {
        own: Some(20),
        committed: None,
        log,
    };
    Survey {
        source: Source {
            cluster: "c".into(),
            topic: "http_log".into(),
            topic_id: "i".into(),
        },
        standings: BTreeMap::from([(0, standing)]),
        settings: Ok(settings.collect()),
    }
}

fn table(definition: &str) -> Table {
    Table {
        engine: "MergeTree".into(),
        definition: definition.into(),
    }
}

const WINDOW: &str = "MergeTree SETTINGS non_replicated_deduplication_window = 10000";

fn good_server() -> Server {
    let columns = [
        ("timestamp", "DateTime('UTC')"),
        ("resource_id", "UInt64"),
        ("bytes_sent", "UInt64"),
        ("request_time_milli", "UInt64"),
        ("response_status", "UInt16"),
        ("cache_status", "LowCardinality(String)"),
        ("method", "LowCardinality(String)"),
        ("remote_addr", "String"),
        ("url", "String"),
    ];
    // As a server lists them.
    let listed = PINNED
        .iter()
        .filter(|pinned| !OF_HTTP.contains(&pinned.name));
    let settings = listed.map(|pinned| pinned.name.to_owned());
    Server {
        version: "26.9".into(),
        columns: columns
            .map(|(name, of_type)| (name.into(), of_type.into()))
            .to_vec(),
        log: Some(table(WINDOW)),
        views: BTreeMap::from([("d.v".into(), "d.totals".into())]),
        totals: BTreeMap::from([("d.totals".into(), table(WINDOW))]),
        settings: settings
            .chain(["insert_deduplication_token".to_owned()])
            .collect(),
        window: 0,
    }
}

fn seen(answer: Result<Server, Outcome>) -> Seen {
    Seen {
        answer,
        refused_bytes: None,
        bytes: bytesize::MIB,
        waited: Duration::from_secs(3),
        noted: Ok(()),
    }
}

/// The one problem, and how to mend it.
fn problem(found: &[Finding]) -> (&str, &str) {
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
        spool(&place(), &loaded),
        topic(&topic_seen, &loaded, us),
        learned(bytesize::MIB, &loaded).into_iter().collect(),
        proxy(&seen(Ok(good_server())), &loaded),
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
        let trouble = probe::Trouble {
            kind,
            text: "no".into(),
        };
        let seen = Probed {
            publishes: Err(trouble),
            ..place()
        };
        let found = spool(&seen, &loaded);
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
        &Probed {
            publishes: Ok(slow),
            ..place()
        },
        &loaded,
    );
    assert!(
        problem(&found)
            .0
            .contains("6.0 ms (median of 3; the worst took 130.0 ms)")
    );
    let found = spool(
        &Probed {
            free_bytes: Some(bytesize::MIB),
            ..place()
        },
        &loaded,
    );
    assert!(problem(&found).1.contains("spool.min_free (default)"));
    let found = spool(
        &Probed {
            used_bytes: 10 * bytesize::GIB,
            ..place()
        },
        &loaded,
    );
    assert!(problem(&found).1.contains("raise spool.max_bytes"));
    let found = spool(
        &Probed {
            in_memory: Some("tmpfs"),
            ..place()
        },
        &loaded,
    );
    assert!(problem(&found).0.contains("which a power cut empties"));
    let little = spool(
        &Probed {
            free_bytes: Some(bytesize::GIB),
            ..place()
        },
        &loaded,
    );
    assert!(little.iter().any(|finding| finding.level == Level::Note));
}

#[test]
fn an_owner_and_a_broken_state_are_named() {
    let loaded = loaded("");
    let found = spool(
        &Probed {
            owner: Some(42),
            ..place()
        },
        &loaded,
    );
    let note = found
        .iter()
        .find(|finding| finding.level == Level::Note)
        .unwrap();
    assert!(note.cure.as_ref().unwrap().contains("stop process 42"));
    let found = spool(
        &Probed {
            spool: Some(Err("format 9".into())),
            ..place()
        },
        &loaded,
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
            Trouble::NoTopic,
            "correct kafka.topic (x.toml:2), or create it",
        ),
        (
            Trouble::Broker("timed out".into()),
            "kafka.brokers (default)",
        ),
        (
            Trouble::Client("no such property".into()),
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

#[test]
fn tables_and_settings_of_the_server_are_held_against_ours() {
    let loaded = loaded("[upload.settings]\nno_such = 1\n");
    let mut server = good_server();
    server.settings.insert("no_such".into());
    let says = |server: Server| proxy(&seen(Ok(server)), &loaded);

    let found = says(Server {
        log: None,
        ..server.clone()
    });
    assert!(problem(&found).1.contains("apply the files of sql/"));
    let mut columns = server.columns.clone();
    columns.retain(|(name, _)| name != "method");
    let found = says(Server {
        columns: columns.clone(),
        ..server.clone()
    });
    assert!(problem(&found).1.contains("ADD COLUMN method String"));
    columns.push(("method".into(), "UInt8".into()));
    let found = says(Server {
        columns,
        ..server.clone()
    });
    assert!(problem(&found).1.contains("MODIFY COLUMN method String"));

    let bare = table("MergeTree ORDER BY x");
    let totals = BTreeMap::from([("d.totals".into(), bare.clone())]);
    let found = says(Server {
        totals,
        ..server.clone()
    });
    assert!(
        problem(&found)
            .1
            .starts_with("ALTER TABLE d.totals MODIFY SETTING")
    );
    let found = says(Server {
        log: Some(bare),
        ..server.clone()
    });
    assert!(
        problem(&found)
            .1
            .starts_with("ALTER TABLE default.http_log MODIFY SETTING")
    );
    let found = says(Server {
        views: BTreeMap::new(),
        ..server.clone()
    });
    assert!(found.iter().any(|finding| finding.level == Level::Note));

    let found = says(good_server());
    assert!(
        problem(&found)
            .1
            .contains("remove upload.settings.no_such (x.toml:2)")
    );
    server.settings.remove("async_insert");
    let found = says(server.clone());
    assert!(
        problem(&found)
            .1
            .contains("write async_insert = \"\" in [upload.settings]")
    );
    server.settings.insert("async_insert".into());
    server.settings.remove("insert_deduplication_token");
    assert!(problem(&says(server)).1.contains("22.2 or newer"));
}

#[test]
fn what_keeps_the_server_from_answering_is_told_apart() {
    let loaded = loaded("[upload]\nuser = \"u\"\n");
    let reason = |status, code| Reason {
        status,
        code,
        may_be_stored: false,
        message: "no".into(),
    };
    let operator = |status, code| Outcome::Refused(Refusal::Operator(reason(Some(status), code)));
    for (outcome, cure) in [
        (Outcome::NotSent(reason(None, None)), "start the proxy"),
        (
            Outcome::Throttled { retry_after: None },
            "something else takes its slots",
        ),
        (
            operator(403, Some(516)),
            "correct upload.user (x.toml:2) or the password",
        ),
        (operator(403, Some(497)), "grant the user"),
        (operator(401, None), "upload.auth = \"basic\""),
        (operator(404, None), "correct upload.url (default)"),
        (
            Outcome::Refused(Refusal::Operator(reason(None, None))),
            "mend what it names (upload.url (default)",
        ),
        (operator(404, Some(60)), "mend what it names"),
        (
            Outcome::Unknown(reason(Some(502), None)),
            "look at the logs",
        ),
        (Outcome::Stored, "8123"),
        (Outcome::TooLarge, "client_max_body_size"),
    ] {
        let found = proxy(&seen(Err(outcome)), &loaded);
        assert!(problem(&found).1.contains(cure), "{found:?}");
    }
}

#[test]
fn a_body_limit_below_ours_is_a_problem_whether_learned_or_tried() {
    let loaded = loaded("[upload]\nmax_body = \"2MiB\"\n");
    let found = learned(bytesize::MIB, &loaded).unwrap();
    assert!(found.cure.unwrap().contains("upload.max_body (x.toml:2)"));
    let tried = Seen {
        refused_bytes: Some(2 * bytesize::MIB),
        ..seen(Ok(good_server()))
    };
    assert!(
        problem(&proxy(&tried, &loaded))
            .1
            .contains("client_max_body_size")
    );
}

#[test]
fn a_slot_that_could_not_be_noted_is_said() {
    let unseen = Seen {
        noted: Err("process 7 owns the spool".into()),
        ..seen(Ok(good_server()))
    };
    let found = proxy(&unseen, &loaded(""));
    assert!(found[0].level == Level::Note && found[0].what.contains("process 7 owns"));
}
