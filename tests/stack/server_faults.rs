//! What if ClickHouse itself is slow, dies amid an insert, or is too old? With a
//! server of the test's own each; afterwards every row is in the log and in the
//! totals exactly once.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use crate::support::exclusive::{Place, place};
use crate::support::nginx::Nginx;
use crate::support::ports::free_port;
use crate::support::stack::House;
use crate::support::stack::own_server::OwnServer;
use crate::support::stack::rows::{assert_stored_once, rows, send};
use crate::support::stack::spool_files::files_in;

/// Makes every insert take this long: a view that sleeps.
fn slow_down(house: &House, seconds: u32) {
    house.clickhouse("CREATE TABLE IF NOT EXISTS slept (x UInt8) ENGINE = Null");
    house.clickhouse(&format!(
        "CREATE MATERIALIZED VIEW sleeper TO slept AS SELECT toUInt8(sleep({seconds})) AS x \
         FROM http_log"
    ));
}

#[test]
fn a_server_that_goes_on_after_the_504_and_after_our_time_out_stores_once() {
    let server = OwnServer::start();
    let nginx = Nginx::start(
        "100r/s",
        &format!(
            "proxy_pass http://127.0.0.1:{}; proxy_read_timeout 1s;",
            server.port
        ),
    );
    let mut house = House::storing_at(server.port, "goes_on", 1);
    let all = rows(61, 400);
    slow_down(&house, 3);
    // First nginx gives up, then we do, without nginx.
    house.upload_url = nginx.url();
    house.upload_settings = "interval = \"500ms\"";
    house.start();
    let mut places = send(&house, &all[..200]);
    house.wait_until("a 504", || house.log().contains("status 504"));
    house.clickhouse("DROP VIEW sleeper");
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    slow_down(&house, 3);
    house.upload_url = format!("http://127.0.0.1:{}/", server.port);
    house.upload_settings = "interval = \"500ms\"\ntimeout = \"1s\"";
    house.start();
    places.extend(send(&house, &all[200..]));
    house.wait_until("a time-out", || house.log().contains("timed out"));
    house.clickhouse("DROP VIEW sleeper");
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &all, "time-outs");
}

#[test]
fn a_server_killed_amid_an_insert_stores_once_when_it_is_back() {
    let server = OwnServer::start();
    let mut house = House::storing_at(server.port, "killed_server", 1);
    let all = rows(62, 300);
    house.upload_url = format!("http://127.0.0.1:{}/", server.port);
    slow_down(&house, 3);
    house.start();
    let places = send(&house, &all);
    house.wait_until("a post", || !files_in(&house.spool(), "sending").is_empty());
    thread::sleep(Duration::from_secs(1));
    server.kill();
    house.wait_until("the loss of the connection", || {
        house.requests_with("unknown") >= 1.0
    });
    server.come_back();
    house.clickhouse("DROP VIEW sleeper");
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &all, "a kill");
}

/// Debian's clickhouse-server 18.16: a real server that knows neither tokens nor
/// Parquet. Gone with the test.
struct OldServer {
    child: Child,
    port: u16,
    _place: Place,
}

const PROGRAM: &str = "/usr/sbin/clickhouse-server";

impl OldServer {
    fn start(dir: &Path) -> Self {
        let place = place();
        let (port, tcp) = (free_port(), free_port());
        let path = dir.display();
        fs::create_dir(dir.join("tmp")).unwrap();
        let config = format!(
            "<yandex><logger><console>1</console><level>warning</level></logger>\
             <listen_host>127.0.0.1</listen_host>\
             <http_port>{port}</http_port><tcp_port>{tcp}</tcp_port>\
             <path>{path}/data/</path><tmp_path>{path}/tmp/</tmp_path>\
             <mark_cache_size>5368709120</mark_cache_size>\
             <users_config>{path}/users.xml</users_config>\
             <default_profile>default</default_profile>\
             <default_database>default</default_database><timezone>UTC</timezone></yandex>"
        );
        let users = "<yandex><profiles><default/></profiles><quotas><default/></quotas>\
                     <users><default><password></password>\
                     <networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
                     <quota>default</quota></default></users></yandex>";
        fs::write(dir.join("server.xml"), config).unwrap();
        fs::write(dir.join("users.xml"), users).unwrap();
        let log = File::create(dir.join("server.log")).unwrap();
        let child = Command::new(PROGRAM)
            .arg(format!("--config-file={path}/server.xml"))
            .current_dir(dir)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            port,
            _place: place,
        }
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_too_old_refuses_and_pointing_at_the_right_one_heals() {
    if !Path::new(PROGRAM).exists() {
        eprintln!("skipped: no {PROGRAM}; ops/setup --with-clickhouse-server installs it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let old = OldServer::start(dir.path());
    let mut house = House::new("old_server", 1);
    let right = house.upload_url.clone();
    house.wait_until("the old server", || {
        TcpStream::connect(("127.0.0.1", old.port)).is_ok()
    });
    let all = rows(63, 300);
    house.upload_url = format!("http://127.0.0.1:{}/", old.port);
    house.start();
    let places = send(&house, &all);
    house.wait_until("the cause", || house.log().contains("older than 22.2"));
    house.wait_until_committed(&places);
    assert_eq!(house.metric("spoolhouse_operator_needed"), 1.0);
    assert_eq!(house.stop(), Some(0));
    assert_eq!(files_in(&house.spool(), "batches").len(), 1, "it is kept");
    house.upload_url = right;
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &all, "a server too old");
    assert!(files_in(&house.spool(), "doubtful").is_empty());
    assert!(files_in(&house.spool(), "rejected").is_empty());
}
