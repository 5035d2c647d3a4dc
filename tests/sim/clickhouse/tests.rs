//! The model against what was measured of ClickHouse.

use std::time::Duration;

use arrow_array::{RecordBatch, StringArray, UInt16Array, UInt32Array, UInt64Array};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use spoolhouse::spool::format::schema;
use spoolhouse::upload::outcome::{Outcome, Refusal, classify};
use spoolhouse::upload::request::{Target, insert};
use spoolhouse::upload::settings::{Settings, effective};
use url::Url;

use super::insert::FOR_VIEWS;
use super::*;
use crate::messages::MessageId;
use crate::scheduler::{now, simulate, wait_until};

/// A batch of these messages of partition 0, all of them records.
pub fn batch(offsets: std::ops::Range<i64>) -> Bytes {
    changed(offsets, |_| {})
}

fn changed(offsets: std::ops::Range<i64>, change: impl Fn(&mut crate::messages::Row)) -> Bytes {
    let rows: Vec<_> = offsets
        .map(|offset| {
            let id = MessageId {
                incarnation: 0,
                partition: 0,
                offset,
            };
            let mut row = id.make().row.clone().unwrap();
            change(&mut row);
            row
        })
        .collect();
    let numbers = |of: fn(&crate::messages::Row) -> u64| {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(of)))
    };
    let texts = |of: fn(&crate::messages::Row) -> &String| {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    let times = rows.iter().map(|row| row.timestamp);
    let statuses = rows.iter().map(|row| row.response_status);
    let columns: Vec<arrow_array::ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(times)),
        numbers(|row| row.resource_id),
        numbers(|row| row.bytes_sent),
        numbers(|row| row.request_time_milli),
        Arc::new(UInt16Array::from_iter_values(statuses)),
        texts(|row| &row.cache_status),
        texts(|row| &row.method),
        texts(|row| &row.remote_addr),
        texts(|row| &row.url),
    ];
    let rows = RecordBatch::try_new(schema::batch(), columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema::batch(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.into_inner().unwrap().into()
}

/// The URL of its insert.
pub fn url(body: &Bytes, settings: &Settings) -> Url {
    let target = Target {
        url: "http://proxy/".parse().unwrap(),
        database: "default".to_owned(),
        table: "http_log".to_owned(),
    };
    insert(&target, &sha256(body), settings).url
}

/// A server, and what it finds wrong.
fn server(window: usize) -> (ClickHouse, Violations) {
    let violations = Violations::default();
    (ClickHouse::new(window, violations.clone()), violations)
}

/// Inserts, waits, and says what became of it.
fn post(server: &ClickHouse, body: &Bytes) -> Outcome {
    let run = server.begin(&url(body, &effective(&Settings::new())), body, now());
    wait_until(server.done_at(run).unwrap());
    classify(&server.answer(run).unwrap())
}

/// How often the records 0, 100 and 200 are in log and totals; the last is of another day.
fn counts(server: &ClickHouse) -> [(u32, u32); 3] {
    [0, 100, 200].map(|id| {
        let count = server.count(id);
        (count.log, count.totals)
    })
}

#[test]
fn an_insert_is_stored_once_however_often_it_comes() {
    simulate(1, || {
        let (server, violations) = server(100);
        let body = batch(0..300);
        for _ in 0..3 {
            assert_eq!(post(&server, &body), Outcome::Stored);
        }
        assert_eq!(counts(&server), [(1, 1); 3]);
        assert_eq!(server.stored(&sha256(&body)), Stored::Wholly);
        assert!(violations.is_empty(), "{:?}", violations.all());
        // Other bytes are another insert.
        assert_eq!(post(&server, &batch(0..200)), Outcome::Stored);
        assert_eq!(counts(&server), [(2, 2), (2, 2), (1, 1)]);
    });
}

#[test]
fn a_token_is_known_within_the_window_only() {
    simulate(1, || {
        let (server, _) = server(2);
        let old = batch(0..50);
        post(&server, &old);
        post(&server, &batch(50..60));
        post(&server, &old);
        assert_eq!(server.count(0).log, 1);
        post(&server, &batch(60..70));
        post(&server, &old);
        assert_eq!(server.count(0), Count { log: 2, totals: 2 });
    });
}

#[test]
fn a_view_that_throws_once_is_completed_by_the_retry() {
    simulate(1, || {
        let (server, _) = server(100);
        let body = batch(0..300);
        server.fail_inserts(1, InsertFault::InView(395));
        let outcome = post(&server, &body);
        assert!(
            matches!(&outcome, Outcome::Refused(Refusal::Data(r)) if r.may_be_stored),
            "{outcome:?}"
        );
        assert_eq!(counts(&server), [(1, 0); 3]);
        assert_eq!(server.stored(&sha256(&body)), Stored::Partly);
        assert_eq!(post(&server, &body), Outcome::Stored);
        assert_eq!(counts(&server), [(1, 1); 3]);
    });
}

#[test]
fn an_insert_over_two_days_that_stopped_half_way_is_completed_by_the_retry() {
    for seed in 0..5 {
        simulate(seed, || {
            let (server, _) = server(100);
            let body = batch(0..300);
            server.fail_inserts(1, InsertFault::Halfway(241));
            assert!(matches!(post(&server, &body), Outcome::Unknown(_)));
            assert_eq!(counts(&server).map(|(log, _)| log), [1, 1, 0]);
            assert_eq!(post(&server, &body), Outcome::Stored);
            assert_eq!(counts(&server), [(1, 1); 3]);
        });
    }
}

#[test]
fn without_its_setting_a_retry_feeds_the_view_again() {
    simulate(1, || {
        let (server, _) = server(100);
        let body = batch(0..50);
        let off = [(FOR_VIEWS.to_owned(), String::new())].into();
        for _ in 0..2 {
            let run = server.begin(&url(&body, &effective(&off)), &body, now());
            wait_until(server.done_at(run).unwrap());
        }
        assert_eq!(server.count(0), Count { log: 1, totals: 2 });
    });
}

#[test]
fn every_kind_of_exception_is_what_the_loop_takes_it_for() {
    type Check = fn(&Outcome) -> bool;
    let cases: [(InsertFault, u32, Check); 7] = [
        (InsertFault::Refused(60), 0, |o| {
            matches!(o, Outcome::Refused(Refusal::Operator(_)))
        }),
        (InsertFault::Refused(516), 0, |o| {
            matches!(o, Outcome::Refused(Refusal::Operator(_)))
        }),
        (InsertFault::Refused(469), 0, |o| {
            matches!(o, Outcome::Refused(Refusal::Data(_)))
        }),
        (InsertFault::Unreadable(33), 0, |o| {
            matches!(o, Outcome::Refused(Refusal::Format(_)))
        }),
        (InsertFault::Refused(241), 0, |o| {
            matches!(o, Outcome::Unknown(_))
        }),
        (InsertFault::After(159), 1, |o| {
            matches!(o, Outcome::Unknown(_))
        }),
        (InsertFault::MidStream(241), 1, |o| {
            matches!(o, Outcome::Unknown(_))
        }),
    ];
    for (fault, stored, is_right) in cases {
        simulate(1, move || {
            let (server, _) = server(100);
            server.fail_inserts(1, fault);
            let outcome = post(&server, &batch(0..10));
            assert!(is_right(&outcome), "{fault:?}: {outcome:?}");
            assert_eq!(server.count(0).log, stored, "{fault:?}");
        });
    }
}

#[test]
fn an_insert_that_runs_keeps_its_query_id_busy() {
    simulate(1, || {
        let (server, _) = server(100);
        server.fail_inserts(1, InsertFault::Slow(Duration::from_secs(90)));
        let body = batch(0..10);
        let first = server.begin(&url(&body, &Settings::new()), &body, now());
        let second = server.begin(&url(&body, &Settings::new()), &body, now());
        wait_until(now() + Duration::from_secs(1));
        let answer = classify(&server.answer(second).unwrap());
        assert!(matches!(answer, Outcome::Unknown(reason) if reason.code == Some(216)));
        assert_eq!(server.count(0).log, 0);
        wait_until(server.done_at(first).unwrap());
        assert_eq!(server.count(0), Count { log: 1, totals: 1 });
    });
}

#[test]
fn a_restart_forgets_nothing_and_a_power_cut_the_last_tokens() {
    simulate(1, || {
        let (server, _) = server(100);
        let (old, last) = (batch(0..10), batch(10..20));
        post(&server, &old);
        post(&server, &last);
        server.restart();
        post(&server, &last);
        assert_eq!(server.count(10).log, 1);
        server.cut_power(1);
        assert!(server.has_forgotten(&sha256(&last)) && !server.has_forgotten(&sha256(&old)));
        post(&server, &old);
        post(&server, &last);
        assert_eq!((server.count(0).log, server.count(10).log), (1, 2));
    });
}

#[test]
fn a_request_that_is_wrong_is_noted() {
    let unmasked = changed(0..1, |row| row.remote_addr = "192.0.2.7".to_owned());
    let altered = changed(0..1, |row| row.bytes_sent += 1);
    let cases = [
        (unmasked, Rule::Unmasked),
        (altered, Rule::Request),
        (Bytes::from_static(b"PAR1"), Rule::Request),
    ];
    for (body, rule) in cases {
        simulate(1, move || {
            let (server, violations) = server(100);
            server.begin(&url(&body, &Settings::new()), &body, now());
            assert_eq!(violations.all()[0].rule, rule);
        });
    }
    simulate(1, || {
        let (server, violations) = server(100);
        let (one, other) = (batch(0..10), batch(10..20));
        server.begin(&url(&one, &effective(&Settings::new())), &one, now());
        server.begin(&url(&one, &Settings::new()), &one, now());
        assert_eq!(violations.all().len(), 1);
        server.begin(&url(&one, &Settings::new()), &other, now());
        assert_eq!(violations.all()[1].rule, Rule::TokenReused);
    });
}
