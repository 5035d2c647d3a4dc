//! A ClickHouse that only one test has: one to kill, or to shut its door. The
//! same engine as the shared one, from the same `ops/stack`, in a directory and
//! on a port of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::ops_stack;
use crate::support::exclusive::{Place, place};
use crate::support::ports::free_port;

/// A server of one's own; gone with the test.
pub struct OwnServer {
    dir: TempDir,
    /// Its port.
    pub port: u16,
    _place: Place,
}

impl OwnServer {
    /// Starts one that lets everybody do everything.
    pub fn start() -> Self {
        let server = Self {
            _place: place(),
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
        };
        server.admit(&serde_json::json!({"default": {}}));
        server.come_back();
        server
    }

    /// Admits these users from now on, by name: `password`, `readonly`.
    pub fn admit(&self, users: &Value) {
        let part = self.dir.path().join("users.part");
        fs::write(&part, users.to_string()).unwrap();
        fs::rename(part, self.users()).unwrap();
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) {
        let pid = fs::read_to_string(self.dir.path().join("clickhouse.pid")).unwrap();
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

    fn users(&self) -> PathBuf {
        self.dir.path().join("users.json")
    }

    fn stack(&self, command: &str) {
        ops_stack(
            &[command, "clickhouse"],
            self.dir.path(),
            &[
                ("CLICKHOUSE_PORT", self.port.to_string()),
                ("CLICKHOUSE_USERS", self.users().display().to_string()),
            ],
        );
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.stack("down");
    }
}
