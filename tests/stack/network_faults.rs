//! What if the network fails between us and the proxy, or between the proxy and
//! ClickHouse, before, amid or after a request? A proxy that fails on order
//! stands there, the other parts are real; after each fault every row is in the
//! log and in the totals exactly once.

use serde_json::{Value, json};

use crate::support::nginx::Nginx;
use crate::support::stack::fault_proxy::FaultProxy;
use crate::support::stack::rows::{assert_stored_once, rows, send};
use crate::support::stack::spool_files::files_in;
use crate::support::stack::{House, stack};

/// How often in a row a fault is shown.
const TIMES: u32 = 2;

/// Rows that a fault meets.
const ROWS: usize = 80;

/// What an nginx says by itself.
fn of_nginx(status: &str) -> String {
    answer(
        status,
        "Server: nginx\r\nContent-Type: text/html\r\n",
        "<html></html>",
    )
}

/// What ClickHouse says of a failure, with a code.
fn of_clickhouse(status: &str, code: u16) -> String {
    let headers =
        format!("X-ClickHouse-Server-Display-Name: ch\r\nX-ClickHouse-Exception-Code: {code}\r\n");
    answer(
        status,
        &headers,
        &format!("Code: {code}. DB::Exception: so it is.\n"),
    )
}

/// A success that ClickHouse takes back in its body.
fn taken_back(headers: &str, body: &str) -> String {
    let headers = format!("X-ClickHouse-Query-Id: q\r\nX-ClickHouse-Summary: {{}}\r\n{headers}");
    answer("200 OK", &headers, body)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Every fault with its name and the outcome that it must be taken for.
fn faults() -> Vec<(String, Value, &'static str)> {
    let mut faults = Vec::new();
    let mut add =
        |name: &str, fault: Value, outcome| faults.push((name.to_owned(), fault, outcome));
    for pass in ["nothing", "half", "all"] {
        let name = |what: &str| format!("{what}, {pass} of the request passed on");
        add(
            &name("reset"),
            json!({"pass": pass, "then": "reset"}),
            "unknown",
        );
        let mut said = |what: &str, text: String, outcome| {
            let fault = json!({"pass": pass, "then": "answer", "answer": text});
            add(&name(what), fault, outcome);
        };
        said("nginx's 502", of_nginx("502 Bad Gateway"), "unknown");
        said(
            "nginx's 503",
            of_nginx("503 Service Temporarily Unavailable"),
            "throttled",
        );
        said("nginx's 504", of_nginx("504 Gateway Time-out"), "unknown");
        said(
            "a 503 of ClickHouse",
            of_clickhouse("503 Service Unavailable", 209),
            "unknown",
        );
        if pass == "half" {
            continue;
        }
        let old = "Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)\n";
        said("200 with an exception", taken_back("", old), "unknown");
        let tagged = "\r\n__exception__\r\nrumfyutgqkncbgau\r\nCode: 241. DB::Exception: Memory \
                      limit exceeded.\r\n74 rumfyutgqkncbgau\r\n__exception__\r\n";
        let tag = "X-ClickHouse-Exception-Tag: rumfyutgqkncbgau\r\n";
        said(
            "200 with a tagged exception",
            taken_back(tag, tagged),
            "unknown",
        );
        said("200 of somebody else", answer("200 OK", "", ""), "unknown");
        let torn = answer("200 OK", "X-ClickHouse-Summary: {}\r\n", "0123456789");
        said(
            "an answer cut in its body",
            torn[..torn.len() - 5].to_owned(),
            "unknown",
        );
    }
    let late = json!({"pass": "all", "then": "late", "seconds": 1.5});
    add("an answer after the time-out", late, "unknown");
    let cut = json!({"pass": "all", "then": "cut", "at": 20});
    add("an answer cut in its head", cut, "unknown");
    let drip = |seconds| json!({"pass": "all", "then": "trickle", "seconds": seconds});
    add(
        "an answer that drips past the time-out",
        drip(0.05),
        "unknown",
    );
    add("an answer that drips in time", drip(0.001), "stored");
    faults
}

/// Shows every fault to a house and looks what became of the rows each time.
fn show_all(house: &House, proxy: &FaultProxy, refused_is: &str) {
    let faults = faults();
    let all = rows(41, ((faults.len() + 1) * ROWS) as u64);
    let mut parts = all.chunks(ROWS);
    let mut done = 0;
    house.start();
    for (name, fault, outcome) in &faults {
        let before = house.requests_with(outcome);
        // Those that take their time are shown once.
        let times = if fault["seconds"].is_null() { TIMES } else { 1 };
        proxy.plan(fault, times);
        send(house, parts.next().unwrap());
        done += ROWS;
        house.wait_until(name, || proxy.shown() >= times as usize);
        house.wait_until_stored(done);
        assert!(
            house.requests_with(outcome) > before,
            "{name}: not taken for {outcome}"
        );
        assert_stored_once(house, &all[..done], name);
        proxy.let_pass();
    }
    let before = house.requests_with(refused_is);
    proxy.go_away();
    send(house, parts.next().unwrap());
    house.wait_until("refused connections", || {
        house.requests_with(refused_is) >= before + 2.0
    });
    proxy.come_back();
    house.wait_until_stored(all.len());
    assert_stored_once(house, &all, "refused connections");
    assert_eq!(house.stop(), Some(0));
    assert!(files_in(&house.spool(), "doubtful").is_empty());
    assert!(files_in(&house.spool(), "rejected").is_empty());
}

#[test]
fn whatever_happens_before_the_proxy_every_row_is_stored_once() {
    let proxy = FaultProxy::before(stack().proxy);
    let mut house = House::new("faults_before_nginx", 1);
    house.upload_url = proxy.url();
    house.roll_after = "100ms";
    house.upload_settings = "interval = \"100ms\"\ntimeout = \"1s\"";
    show_all(&house, &proxy, "not_sent");
}

#[test]
fn whatever_happens_before_clickhouse_every_row_is_stored_once() {
    let proxy = FaultProxy::before(stack().clickhouse);
    let to = format!("proxy_pass http://127.0.0.1:{};", proxy.port());
    let nginx = Nginx::start("100r/s", &to);
    let mut house = House::new("faults_before_clickhouse", 1);
    house.upload_url = nginx.url();
    house.roll_after = "100ms";
    house.upload_settings = "interval = \"100ms\"\ntimeout = \"1s\"";
    // nginx says 502 for us.
    show_all(&house, &proxy, "unknown");
}
