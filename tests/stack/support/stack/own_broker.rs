//! A broker that only one test has: one to kill, to keep away, or to forget
//! early. The same Kafka as the shared one, from the same `ops/stack`, in a
//! directory and on ports of its own.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::ops_stack;
use crate::support::exclusive::{Place, place};
use crate::support::ports::free_port;

/// A broker of one's own; gone with the test.
pub struct OwnBroker {
    dir: TempDir,
    port: u16,
    controller_port: u16,
    retention_check_ms: u32,
    _place: Place,
}

impl OwnBroker {
    /// Starts one that looks for old data so often.
    pub fn start(retention_check_ms: u32) -> Self {
        let broker = Self {
            _place: place(),
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            controller_port: free_port(),
            retention_check_ms,
        };
        broker.come_back();
        broker
    }

    /// Its address.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) {
        let pid = fs::read_to_string(self.dir.path().join("kafka.pid")).unwrap();
        let pid: u32 = pid.lines().next().unwrap().parse().unwrap();
        let killed = Command::new("sh")
            .args(["-c", &format!("kill -KILL {pid}")])
            .status();
        assert!(killed.unwrap().success());
    }

    /// Starts it with the data it has; returns when it answers.
    pub fn come_back(&self) {
        self.stack("up");
    }

    fn stack(&self, command: &str) {
        ops_stack(
            &[command, "kafka"],
            self.dir.path(),
            &[
                ("KAFKA_PORT", self.port.to_string()),
                ("KAFKA_CONTROLLER_PORT", self.controller_port.to_string()),
                (
                    "KAFKA_RETENTION_CHECK_MS",
                    self.retention_check_ms.to_string(),
                ),
            ],
        );
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.stack("down");
    }
}
