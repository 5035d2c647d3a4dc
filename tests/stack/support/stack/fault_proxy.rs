//! A network that fails on order: mitmproxy in front of a port of this machine,
//! with the addon `ops/stack.d/fault_proxy.py`, which says what a plan can hold.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::house::PATIENCE;
use super::root;
use crate::support::exclusive::{Place, place};
use crate::support::ports::free_port;

/// A proxy of one's own; gone with the test.
pub struct FaultProxy {
    dir: TempDir,
    port: u16,
    target: u16,
    child: RefCell<Option<Child>>,
    plans: Cell<u32>,
    _place: Place,
}

impl FaultProxy {
    /// Starts one in front of a port of this machine.
    pub fn before(target: u16) -> Self {
        let proxy = Self {
            _place: place(),
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            target,
            child: RefCell::new(None),
            plans: Cell::new(0),
        };
        proxy.come_back();
        proxy
    }

    /// The URL that leads through it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Shows this fault to the next so many connections; a plan without a name
    /// and a number of times.
    pub fn plan(&self, fault: &Value, times: u32) {
        self.plans.set(self.plans.get() + 1);
        let mut plan = fault.clone();
        plan["name"] = self.plans.get().to_string().into();
        plan["times"] = times.into();
        let part = self.dir.path().join("plan.part");
        fs::write(&part, plan.to_string()).unwrap();
        fs::rename(part, self.dir.path().join("plan")).unwrap();
    }

    /// Lets everything pass from now on.
    pub fn let_pass(&self) {
        let _ = fs::remove_file(self.dir.path().join("plan"));
    }

    /// How often the last plan's fault was shown.
    pub fn shown(&self) -> usize {
        let shown = fs::read_to_string(self.dir.path().join("shown")).unwrap_or_default();
        let name = self.plans.get().to_string();
        shown.lines().filter(|line| **line == name).count()
    }

    /// Goes away: connections are refused.
    pub fn go_away(&self) {
        let mut child = self.child.replace(None).expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Comes back to the same port; returns when it listens.
    pub fn come_back(&self) {
        let dir = self.dir.path();
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        let child = Command::new(root().join("target/tools/venv/bin/mitmdump"))
            .arg("--mode")
            .arg(format!(
                "reverse:tcp://127.0.0.1:{}@127.0.0.1:{}",
                self.target, self.port
            ))
            .arg("--script")
            .arg(root().join("ops/stack.d/fault_proxy.py"))
            .args(["--set", &format!("confdir={}", dir.display())])
            .args(["--set", &format!("plan={}", dir.join("plan").display())])
            .args(["--set", &format!("shown={}", dir.join("shown").display())])
            .env("PYTHONPYCACHEPREFIX", root().join("target/pycache"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("mitmdump: run ops/setup");
        self.child.replace(Some(child));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "mitmdump does not listen: {log}");
            thread::sleep(Duration::from_millis(30));
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("the fault proxy's files: {}", self.dir.path().display());
        }
        if let Some(mut child) = self.child.replace(None) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
