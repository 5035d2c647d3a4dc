//! Does the upload trust whom it should, and nobody else; does it say so when it
//! trusts nobody there, and go on once it can? A real nginx that speaks TLS with
//! a certificate made here, by an authority made here.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::nginx::Nginx;
use crate::support::stack::house::NOWHERE;
use crate::support::stack::rows::{assert_stored_once, rows, send};
use crate::support::stack::spool_files::files_in;
use crate::support::stack::{House, stack};

/// Runs openssl in a directory.
fn openssl(dir: &Path, arguments: &str) {
    let done = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("openssl");
    assert!(
        done.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

const REQUEST: &str = "req -newkey rsa:2048 -nodes -subj";

/// A directory with an authority, `ca.pem`, and a certificate by it, `cert.pem`
/// and `key.pem`, for an address.
fn certificates(address: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    openssl(
        dir.path(),
        &format!("{REQUEST} /CN=Authority -x509 -days 2 -keyout ca.key -out ca.pem"),
    );
    certify(dir.path(), address);
    dir
}

/// Makes the authority of a directory issue a certificate for an address.
fn certify(path: &Path, address: &str) {
    openssl(
        path,
        &format!("{REQUEST} /CN=proxy -keyout key.pem -out request.pem"),
    );
    fs::write(path.join("names"), format!("subjectAltName=IP:{address}")).unwrap();
    openssl(
        path,
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
         -extfile names -out cert.pem",
    );
}

fn to_clickhouse() -> String {
    format!("proxy_pass http://127.0.0.1:{};", stack().clickhouse)
}

/// Waits until it shouts for an operator, and says what to do in its log and in
/// the status. Nothing was asked of the server, and the batch was not posted.
fn wait_for_alarm(house: &House, nginx: &Nginx, says: &str) {
    house.wait_until(says, || house.log().contains(says));
    house.wait_until("the alarm", || {
        house.metric("spoolhouse_operator_needed") == 1.0
    });
    house.wait_until("the batch in batches/ again", || {
        files_in(&house.spool(), "batches").len() == 1
    });
    let status = house.other_command("status").output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("uploads wait for a person"), "{status}");
    assert!(status.contains(says), "{status}");
    assert!(nginx.log().is_empty(), "nothing was asked of it");
}

/// `[upload]` with a file of authorities.
fn trusting(ca: &Path) -> &'static str {
    let text = format!("interval = \"100ms\"\nca_file = \"{}\"", ca.display());
    Box::leak(text.into_boxed_str())
}

#[test]
fn an_unknown_authority_gets_nothing_until_it_is_trusted() {
    let dir = certificates("127.0.0.1");
    let ca = tempfile::tempdir().unwrap();
    let ca_file = ca.path().join("ca.pem");
    fs::copy(dir.path().join("ca.pem"), &ca_file).unwrap();
    let nginx = Nginx::with_tls(dir, &to_clickhouse());
    let mut house = House::new("tls", 1);
    house.upload_url = nginx.url();
    // A proxy from the environment would lead nowhere.
    house.environment = ["http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"]
        .map(|name| (name, NOWHERE.to_owned()))
        .into();
    let all = rows(71, 600);
    house.start();
    let mut places = send(&house, &all[..300]);
    wait_for_alarm(&house, &nginx, "name its certificate in upload.ca_file");
    assert_eq!(house.stop(), Some(0));
    house.upload_settings = trusting(&ca_file);
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.metric("spoolhouse_operator_needed"), 0.0);
    assert_eq!(house.stop(), Some(0));
    // The system's own, which the environment can name, are trusted without a file.
    house.upload_settings = "interval = \"100ms\"";
    let system = ca_file.display().to_string();
    house.environment.push(("SSL_CERT_FILE", system));
    house.start();
    places.extend(send(&house, &all[300..]));
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &all, "TLS");
}

#[test]
fn a_certificate_for_somebody_else_gets_nothing_until_it_is_replaced() {
    let dir = certificates("127.0.0.2");
    let path = dir.path().to_owned();
    let ca = tempfile::tempdir().unwrap();
    let ca_file = ca.path().join("ca.pem");
    fs::copy(dir.path().join("ca.pem"), &ca_file).unwrap();
    let nginx = Nginx::with_tls(dir, &to_clickhouse());
    let mut house = House::new("tls_other_name", 1);
    house.upload_url = nginx.url();
    house.upload_settings = trusting(&ca_file);
    let rows = rows(72, 100);
    house.start();
    let places = send(&house, &rows);
    wait_for_alarm(&house, &nginx, "what its certificate calls it");
    // It heals by itself.
    certify(&path, "127.0.0.1");
    nginx.reload(&to_clickhouse());
    house.wait_until_drained(&places);
    assert_eq!(house.metric("spoolhouse_operator_needed"), 0.0);
    assert_eq!(house.stop(), Some(0));
    assert_stored_once(&house, &rows, "another certificate");
}

#[test]
fn a_server_that_speaks_no_tls_is_an_operators() {
    let nginx = Nginx::start("100r/s", &to_clickhouse());
    let mut house = House::new("no_tls", 1);
    house.upload_url = nginx.url().replace("http:", "https:");
    house.start();
    send(&house, &rows(73, 100));
    house.wait_until("the alarm", || {
        house.metric("spoolhouse_operator_needed") == 1.0
    });
    assert!(house.log().contains("not in TLS"), "{}", house.log());
}

#[test]
fn a_file_without_certificates_ends_the_start() {
    let mut house = House::new("no_certificates", 1);
    let empty = house.dir().join("empty.pem");
    fs::write(&empty, "no certificate\n").unwrap();
    house.upload_settings = trusting(&empty);
    let (code, said) = house.start_in_vain();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("upload.ca_file"), "{said}");
    assert!(said.contains("holds no certificate"), "{said}");
}
