//! One installation of Spoolhouse for one test: the real binary with a spool,
//! topic, group, instance id, database and port of its own.
//!
//! A test that fails leaves its directory behind and says where; one that
//! passes takes everything with it.

pub mod seen;
pub mod topic;

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use topic::create_topic;

use super::feed::At;
use super::mounts::Mounts;
use super::{ask_clickhouse, ask_kafka, spool_files, stack, tables, unique_name};
use crate::support::exclusive::{Place, place};

/// The longest that anything may take that a test waits for; far more than it
/// does take, for a machine with other things to do.
pub const PATIENCE: Duration = Duration::from_secs(90);

const LOOK_EVERY: Duration = Duration::from_millis(30);

/// A URL where nobody listens: the spool keeps all it has.
pub const NOWHERE: &str = "http://127.0.0.1:1/";

/// A Spoolhouse of one's own.
pub struct House {
    /// Where batches are posted; the proxy unless a test says otherwise.
    pub upload_url: String,
    /// The consumer group.
    pub group: String,
    /// How old a segment gets.
    pub roll_after: &'static str,
    /// Lines of `[kafka.librdkafka]`.
    pub librdkafka: &'static str,
    /// More lines of `[spool]`.
    pub spool_settings: &'static str,
    /// More lines of `[upload]`.
    pub upload_settings: &'static str,
    /// What runs it: a program and its arguments, before its own command line.
    pub wrapped_in: Vec<String>,
    /// More of its environment.
    pub environment: Vec<(&'static str, String)>,
    /// `RUST_LOG`.
    pub log_filter: &'static str,
    mounts: Option<Mounts>,
    brokers: String,
    clickhouse: u16,
    name: String,
    dir: TempDir,
    partitions: i32,
    child: RefCell<Option<Child>>,
    observe: Cell<u16>,
    _place: Place,
}

impl House {
    /// A house whose topic has so many partitions; `test` names it.
    pub fn new(test: &str, partitions: i32) -> Self {
        Self::between(&stack().brokers(), stack().clickhouse, test, partitions)
    }

    /// A house that has its topic at other brokers.
    pub fn reading_from(brokers: &str, test: &str, partitions: i32) -> Self {
        Self::between(brokers, stack().clickhouse, test, partitions)
    }

    /// A house that has its tables in the ClickHouse at another port.
    pub fn storing_at(clickhouse: u16, test: &str, partitions: i32) -> Self {
        Self::between(&stack().brokers(), clickhouse, test, partitions)
    }

    fn between(brokers: &str, clickhouse: u16, test: &str, partitions: i32) -> Self {
        let place = place();
        let name = unique_name(test);
        assert!(
            create_topic(brokers, &name, partitions),
            "{name} exists already"
        );
        ask_clickhouse(clickhouse, "default", &format!("CREATE DATABASE {name}"));
        tables::create(clickhouse, &name);
        Self {
            upload_url: stack().proxy_url(),
            group: name.clone(),
            roll_after: "300ms",
            librdkafka: "",
            spool_settings: "",
            upload_settings: "interval = \"100ms\"",
            wrapped_in: Vec::new(),
            environment: Vec::new(),
            log_filter: "info,spoolhouse=debug",
            mounts: None,
            brokers: brokers.to_owned(),
            clickhouse,
            name,
            dir: tempfile::tempdir().unwrap(),
            partitions,
            child: RefCell::new(None),
            observe: Cell::new(0),
            _place: place,
        }
    }

    /// The directory that holds everything it writes.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.name
    }

    /// Its spool, as it is seen from here.
    pub fn spool(&self) -> PathBuf {
        let spool = self.dir().join("spool");
        match &self.mounts {
            Some(mounts) => mounts.seen(&spool),
            None => spool,
        }
    }

    /// Moves it to where these mounts are.
    pub fn live_among(&mut self, mounts: Mounts) -> &Mounts {
        self.mounts.insert(mounts)
    }

    /// The mounts that it lives among.
    ///
    /// # Panics
    /// Without any.
    pub fn mounts(&self) -> &Mounts {
        self.mounts.as_ref().expect("mounts of its own")
    }

    /// Its spool, as it sees it itself.
    pub fn own_spool(&self) -> PathBuf {
        self.dir().join("spool")
    }

    /// The file with its log, over all starts.
    pub fn log_file(&self) -> PathBuf {
        self.dir().join("log")
    }

    /// Its log, over all starts.
    pub fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Starts it, with the settings as they are now; returns when it runs.
    pub fn start(&self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .unwrap();
        let before = log.metadata().unwrap().len() as usize;
        let child = self.command().stderr(log).spawn().unwrap();
        let replaced = self.child.replace(Some(child));
        assert!(replaced.is_none(), "it was running");
        let port = self.wait_for("its start", || {
            let log = fs::read(self.log_file()).unwrap();
            let log = String::from_utf8_lossy(&log[before..]).into_owned();
            let (_, after) = log.split_once("listen=127.0.0.1:")?;
            let (port, _) = after.split_once(|c: char| !c.is_ascii_digit())?;
            port.parse().ok()
        });
        self.observe.set(port);
    }

    /// Starts it although it can't go well, and waits for its end: exit code
    /// and what it said.
    pub fn start_in_vain(&self) -> (Option<i32>, String) {
        let done = output_in_time(&mut self.command());
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.code(), said)
    }

    /// The command that runs it, with the settings as they are now.
    fn command(&self) -> Command {
        let config = self.dir().join("spoolhouse.toml");
        fs::write(&config, self.config()).unwrap();
        let mut words = self.mounts.as_ref().map_or_else(Vec::new, Mounts::enter);
        words.extend(self.wrapped_in.iter().cloned());
        words.push(env!("CARGO_BIN_EXE_spoolhouse").to_owned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["run", "--config"])
            .arg(config)
            .env("RUST_LOG", self.log_filter)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn config(&self) -> String {
        let Self {
            upload_url,
            group,
            roll_after,
            librdkafka,
            spool_settings,
            upload_settings,
            brokers,
            name,
            ..
        } = self;
        let spool = self.own_spool();
        let spool = spool.display();
        format!(
            "[kafka]\nbrokers = {brokers:?}\ntopic = {name:?}\ngroup = {group:?}\n\
             instance_id = {name:?}\n\
             [kafka.librdkafka]\n{librdkafka}\n\
             [spool]\ndir = \"{spool}\"\nroll_after = {roll_after:?}\n{spool_settings}\n\
             [upload]\nurl = {upload_url:?}\ndatabase = {name:?}\n{upload_settings}\n\
             [observe]\nlisten = \"127.0.0.1:0\"\n"
        )
    }

    /// Another command of the program on this house's behalf, with the settings
    /// as they are now.
    pub fn other_command(&self, name: &str) -> Command {
        let config = self.dir().join("by-hand.toml");
        fs::write(&config, self.config()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_spoolhouse"));
        command
            .args([name, "--config"])
            .arg(config)
            .current_dir(self.dir())
            .stdin(Stdio::null());
        command
    }

    /// Asks it to stop (SIGTERM) and waits; its exit code.
    pub fn stop(&self) -> Option<i32> {
        self.signal("TERM");
        self.wait_for_end()
    }

    /// Waits for it to end by itself; its exit code, none if it was killed.
    pub fn wait_for_end(&self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self
                .child
                .borrow_mut()
                .as_mut()
                .expect("it runs")
                .try_wait();
            if let Some(status) = ended.unwrap() {
                self.child.replace(None);
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "it does not stop{}",
                self.state()
            );
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) {
        let mut child = self.child.replace(None).expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Does something while the process stands still (SIGSTOP), so that what
    /// is seen in several places is seen at one moment.
    pub fn while_frozen<T>(&self, look: impl FnOnce() -> T) -> T {
        let pid = self.pid();
        self.signal("STOP");
        self.wait_for("its standstill", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let (_, fields) = stat.rsplit_once(')').unwrap();
            fields.trim_start().starts_with('T').then_some(())
        });
        let seen = look();
        self.signal("CONT");
        seen
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.borrow().as_ref().expect("it runs").id()
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {pid}")])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Looks until there is something to see.
    ///
    /// # Panics
    /// With the state of everything, when the process ends meanwhile or it
    /// takes longer than [`PATIENCE`].
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            if let Some(child) = self.child.borrow_mut().as_mut()
                && let Some(status) = child.try_wait().unwrap()
            {
                panic!("waiting for {what}: it ended, {status}{}", self.state());
            }
            assert!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} for {what}{}",
                self.state()
            );
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until a condition holds.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        self.wait_for(what, || holds().then_some(()));
    }

    /// The spool's files and the log's last lines, for a failure's message.
    fn state(&self) -> String {
        let files = walkdir::WalkDir::new(self.spool()).sort_by_file_name();
        let files = files.into_iter().flatten();
        let files = files.filter(|entry| entry.file_type().is_file());
        let files: Vec<String> = files
            .map(|entry| entry.path().display().to_string())
            .collect();
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(40)..];
        format!(
            "\nspool:\n  {}\nlog:\n  {}",
            files.join("\n  "),
            last.join("\n  ")
        )
    }

    /// Waits until all of that is committed and nothing waits in the spool.
    pub fn wait_until_drained(&self, places: &[At]) {
        self.wait_until_committed(places);
        self.wait_until("its spool to drain", || self.is_drained());
    }

    /// Waits until its table has so many rows, and nothing waits in the spool.
    pub fn wait_until_stored(&self, rows: usize) {
        self.wait_until("its rows in ClickHouse", || {
            let count = self.clickhouse("SELECT count() FROM http_log");
            count.trim().parse::<usize>().unwrap() >= rows && self.is_drained()
        });
    }

    fn is_drained(&self) -> bool {
        let rooms = ["sealed", "ready", "batches", "sending"];
        let holds = |directory: &&str| !spool_files::files_in(&self.spool(), directory).is_empty();
        !rooms.iter().any(holds)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.replace(None) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("what it left: {}", self.dir().display());
            return;
        }
        let drop = format!("DROP DATABASE {}", self.name);
        ask_clickhouse(self.clickhouse, "default", &drop);
        let topics = [self.name.as_str()];
        let _ = ask_kafka(&self.brokers, |admin, options| {
            admin.delete_topics(&topics, options)
        });
    }
}

/// Runs a command that says little to its end, or to a kill when it takes longer
/// than [`PATIENCE`].
pub fn output_in_time(command: &mut Command) -> Output {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        thread::sleep(LOOK_EVERY);
    }
    let _ = child.kill();
    child.wait_with_output().unwrap()
}
