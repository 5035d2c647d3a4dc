//! Are the dashboards in `ops/grafana/` right? They are what the code makes, every
//! panel's query adds up to the rows of the log, and every expression to
//! Prometheus names what `/metrics` exports. What is compared, and how a query
//! gets its macros and variables, is in `dashboards.py`.

use std::fs;
use std::process::Command;

use spoolhouse::traffic::corpus::bad_messages;

use crate::support::stack::rows::{rows, send};
use crate::support::stack::{House, root, stack};

/// Runs a program of the repository; what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(root().join(program))
        .args(arguments)
        .env("PYTHONPYCACHEPREFIX", root().join("target/pycache"))
        .current_dir(root())
        .output()
        .unwrap();
    let said = |stream: &[u8]| String::from_utf8_lossy(stream).into_owned();
    let (out, errors) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{arguments:?}:\n{out}{errors}");
    out
}

/// Runs the comparison; the stack, which every test here needs, brought its Python.
fn compare(arguments: &[&str]) {
    let script = root().join("tests/stack/dashboards.py");
    let all = [&[script.to_str().unwrap()], arguments].concat();
    print!("{}", run("target/tools/venv/bin/python", &all));
}

#[test]
fn the_files_are_what_the_code_makes() {
    run("ops/charts", &["write", "--check"]);
}

#[test]
fn macros_become_what_the_plugin_documents() {
    stack();
    compare(&["macros"]);
}

#[test]
fn every_query_of_every_panel_adds_up_to_the_log() {
    let house = House::new("dashboards_traffic", 1);
    compare(&["traffic", &stack().clickhouse.to_string(), house.topic()]);
}

#[test]
fn every_expression_names_what_is_exported() {
    let mut house = House::new("dashboards_health", 1);
    // Whatever has labels is exported from its first event on: each is made to happen.
    house.spool_settings = "undecodable_max_bytes = \"1MiB\"";
    let rows = rows(21, 300);
    let mut places = send(&house, &rows[..100]);
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));

    places.extend(send(&house, &rows[100..]));
    house.delete_before(0, 150);
    house.start();
    let bad = bad_messages();
    let dropped = "spoolhouse_undecodable_payloads_dropped_total";
    house.wait_until("payloads to be dropped", || {
        places.extend(house.produce(bad.iter().map(|(_, message)| message.as_slice())));
        house.wait_until_drained(&places);
        house.metric(dropped) > 0.0
    });
    let exported = house.dir().join("metrics");
    fs::write(&exported, house.observed("/metrics")).unwrap();
    compare(&["health", exported.to_str().unwrap()]);
}
