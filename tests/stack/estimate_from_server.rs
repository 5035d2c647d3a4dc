//! Does `estimate --from` take what rows cost from the real server, for one slot of
//! the proxy, waited for and noted as a batch's would be?

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::support::nginx::Nginx;
use crate::support::stack::house::NOWHERE;
use crate::support::stack::{House, stack};

const ROWS: u64 = 200_000;

/// A house whose tables hold rows, merged.
fn with_rows(test: &str) -> House {
    let house = House::new(test, 1);
    house.clickhouse(&format!(
        "INSERT INTO http_log SELECT toDateTime(1767225600 + number % 7200, 'UTC'), \
         cityHash64(number % 977) % 100000, cityHash64(number) % 5000000, number % 900, 200, \
         'HIT', 'GET', concat('10.', toString(number % 200), '.7.X'), \
         concat('https://cdn.example/', hex(cityHash64(number % 5003))) FROM numbers({ROWS})"
    ));
    for table in ["http_log", "http_log_totals"] {
        house.clickhouse(&format!("OPTIMIZE TABLE {table} FINAL"));
    }
    house
}

/// A proxy before the stack's ClickHouse.
fn proxy(rate: &str) -> Nginx {
    let clickhouse = stack().clickhouse;
    Nginx::start(rate, &format!("proxy_pass http://127.0.0.1:{clickhouse};"))
}

fn estimate(house: &House, words: &[&str]) -> Output {
    let mut command = house.other_command("estimate");
    command.args(["--rate", "50/s", "--retention", "30d", "--json"]);
    command.args(words).output().unwrap()
}

fn told(house: &House, words: &[&str]) -> Value {
    let output = estimate(house, words);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_fails(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(words), "{said}");
}

/// Equal but for the last digit, which printing and reading may change.
fn assert_near(said: f64, due: f64, what: &str) {
    assert!((said / due - 1.0).abs() < 1e-9, "{what}: {said}, not {due}");
}

fn used_at(house: &House) -> Option<u64> {
    let pace = fs::read(house.spool().join("pace.json")).ok()?;
    serde_json::from_slice::<Value>(&pace).unwrap()["used_at_ms"].as_u64()
}

fn admitted(nginx: &Nginx) -> usize {
    nginx.log().iter().filter(|line| line.is_admitted).count()
}

#[test]
fn bytes_per_row_are_those_of_the_servers_parts() {
    let house = with_rows("estimate_parts");
    let nginx = proxy("10r/s");
    let told = told(&house, &["--from", &nginx.url()]);
    let asked = |sql: &str| -> f64 { house.clickhouse(sql).trim().parse().unwrap() };
    let of_table = |what: &str, table: &str| {
        asked(&format!(
            "SELECT {what} FROM system.parts WHERE active AND database = currentDatabase() \
             AND table = '{table}'"
        ))
    };
    let of_projection = |what: &str, condition: &str| {
        asked(&format!(
            "SELECT {what} FROM system.projection_parts WHERE active \
             AND database = currentDatabase() AND {condition}"
        ))
    };
    let live = &told["server"];
    assert_eq!(live["log_rows"], ROWS);
    let per_row = |part: &str| live["bytes_per_row"][part].as_f64().unwrap();
    let log = of_table("sum(bytes_on_disk) / sum(rows)", "http_log");
    assert_near(per_row("log"), log, "log");
    let inside = of_projection("sum(bytes_on_disk)", "1");
    let totals = of_table("sum(bytes_on_disk)", "http_log_totals") - inside;
    let rows = of_table("sum(rows)", "http_log_totals");
    assert_near(per_row("totals"), totals / rows, "totals");
    for name in [
        "by_address",
        "without_address",
        "status_and_cache",
        "address_by_day",
        "resource_by_day",
    ] {
        let due = of_projection(
            "sum(bytes_on_disk) / sum(rows)",
            &format!("name = '{name}'"),
        );
        assert_near(per_row(name), due, name);
        let said = &told["per_day"]["parts"][name];
        let said = said["bytes"].as_f64().unwrap() / said["rows"].as_f64().unwrap();
        assert_near(said, due, name);
    }
    // Few rows are no sample, and that is said.
    let notes = live["notes"].to_string();
    assert!(notes.contains("say little"), "{notes}");
    assert_eq!(admitted(&nginx), 1);
}

#[test]
fn the_slot_is_waited_for_and_noted_if_the_proxy_is_the_configured_one() {
    let mut house = with_rows("estimate_slot");
    let nginx = proxy("20r/m");
    house.upload_url = nginx.url();
    // nginx counts 333 in 1000 s.
    house.upload_settings = "interval = \"3100ms\"";
    house.start();
    assert_eq!(house.stop(), Some(0));
    let before = used_at(&house);
    for _ in 0..2 {
        told(&house, &["--from", &nginx.url()]);
    }
    assert!(used_at(&house) > before);
    assert_eq!(admitted(&nginx), 2);
    assert!(nginx.log().len() <= 4, "{:?}", nginx.log());
    // Another server is none of pace.json's business.
    let noted = used_at(&house);
    let clickhouse = format!("http://127.0.0.1:{}/", stack().clickhouse);
    told(&house, &["--from", &clickhouse, "--direct"]);
    assert_eq!(used_at(&house), noted);
}

#[test]
fn a_server_without_figures_is_said_to_have_none() {
    let house = House::new("estimate_empty", 1);
    let nginx = proxy("10r/s");
    let empty = estimate(&house, &["--from", &nginx.url()]);
    assert_fails(&empty, "0 rows in the log");
    assert_fails(
        &estimate(&house, &["--from", NOWHERE]),
        "nothing could be sent",
    );
    let refuses = Nginx::start("10r/s", "return 403;");
    assert_fails(
        &estimate(&house, &["--from", &refuses.url(), "--direct"]),
        "403",
    );
}
