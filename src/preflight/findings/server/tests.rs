//! Each thing that may be wrong with the proxy or the server, as if it had been seen.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::preflight::findings::Level;
use crate::preflight::findings::tests::{loaded, problem};
use crate::upload::settings::OF_HTTP;

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

#[test]
fn where_everything_is_right_nothing_is_to_be_mended() {
    let loaded = loaded("");
    let learned = learned(bytesize::MIB, &loaded);
    assert_eq!(learned, None);
    let found = proxy(&seen(Ok(good_server())), &loaded);
    assert!(
        found.iter().all(|finding| finding.level == Level::Ok),
        "{found:#?}"
    );
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
