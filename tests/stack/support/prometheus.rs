//! A Prometheus of a test's own with the rules of `ops/prometheus/`, which looks
//! every second and does not wait before it fires; what it looks for stays as it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::exclusive::{Place, place};
use super::ports::free_address;

/// The server.
pub struct Prometheus {
    child: Child,
    address: String,
    /// Holds its files.
    _dir: TempDir,
    _place: Place,
}

impl Prometheus {
    /// Starts one that scrapes the Spoolhouse at this address.
    pub fn watching(spoolhouse: &str) -> Self {
        let place = place();
        let dir = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/prometheus");
        let read = |name: &str| fs::read_to_string(from.join(name)).unwrap();
        let config = read("prometheus.yml")
            .replace("interval: 15s", "interval: 1s")
            .replace("spoolhouse:9464", spoolhouse);
        assert!(config.contains(spoolhouse) && !config.contains("15s"));
        fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        fs::write(dir.path().join("alerts.yml"), hasty(&read("alerts.yml"))).unwrap();
        let address = free_address().to_string();
        let child = Command::new("prometheus")
            .arg(format!(
                "--config.file={}",
                dir.path().join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus: ops/setup --with-prometheus installs it");
        Self {
            child,
            address,
            _dir: dir,
            _place: place,
        }
    }

    /// The alerts that fire, with the places of their cures. None before it is up.
    pub fn firing(&self) -> BTreeSet<(String, String)> {
        let url = format!("http://{}/api/v1/alerts", self.address);
        let done = Command::new("curl").args(["-sS", &url]).output().unwrap();
        let Ok(answer) = serde_json::from_slice::<Value>(&done.stdout) else {
            return BTreeSet::new();
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let alerts = answer["data"]["alerts"].as_array().unwrap();
        alerts
            .iter()
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| {
                let cure = &alert["annotations"]["runbook_url"];
                (text(&alert["labels"]["alertname"]), text(cure))
            })
            .collect()
    }

    /// Where the cure of an alert is described, if it fires.
    pub fn cure_of(&self, alert: &str) -> Option<String> {
        let firing = self.firing().into_iter();
        firing
            .filter(|(name, _)| name == alert)
            .map(|(_, cure)| cure)
            .next()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rules with every wait before an alert shortened but those of predictions: what a
/// minute of figures says of the next six hours is what else writes to this disk.
fn hasty(rules: &str) -> String {
    let mut lines = Vec::new();
    let mut predicts = false;
    for line in rules.lines() {
        predicts = predicts && !line.contains("- alert:") || line.contains("predict_linear");
        match line.split_once("for: ") {
            Some((before, _)) if before.trim().is_empty() && !predicts => {
                lines.push(format!("{before}for: 1s"));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}
