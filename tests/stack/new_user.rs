//! Does the way of a new user lead to the end as the README describes it? Install,
//! check, run, look; break the proxy, hear of it, find the cure, mend it; send by
//! hand what was refused. On the real broker, nginx, ClickHouse and Prometheus, with
//! the README's own commands and the runbook's.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use crate::support::exclusive::quiet;
use crate::support::nginx::Nginx;
use crate::support::ports::free_address;
use crate::support::prometheus::Prometheus;
use crate::support::readme;
use crate::support::stack::by_hand::{assert_exit, said};
use crate::support::stack::spool_files::files_in;
use crate::support::stack::{House, root, stack};

/// The proxy's slots: one a second.
const RATE: &str = "60r/m";

/// What a person does at a shell, in a directory of their own.
struct User {
    /// Topic, database and directory; its own process is never started.
    house: House,
    proxy: Nginx,
    address: String,
    programs: PathBuf,
    running: RefCell<Vec<Child>>,
}

impl User {
    fn new() -> Self {
        let house = House::new("new_user", 3);
        let programs = house.dir().join("programs");
        fs::create_dir(&programs).unwrap();
        // They stand for ClickHouse's and DuckDB's own programs: the engines are the same.
        let engines = [
            (
                "clickhouse",
                "import chdb, sys; print(chdb.query(sys.argv[3], \"PrettyCompact\"))",
            ),
            (
                "duckdb",
                "import duckdb, sys; duckdb.sql(sys.argv[2]).show()",
            ),
        ];
        for (name, engine) in engines {
            let shim = programs.join(name);
            fs::write(
                &shim,
                format!("#!/bin/sh\nexec python3 -c '{engine}' \"$@\"\n"),
            )
            .unwrap();
            fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self {
            house,
            proxy: Nginx::start(RATE, &to_clickhouse()),
            address: free_address().to_string(),
            programs,
            running: RefCell::default(),
        }
    }

    fn shell(&self, line: &str) -> Command {
        let line = line.replace("localhost:9464", &self.address);
        let installed = self.programs.join("bin");
        let own = [
            &installed,
            &self.programs,
            &root().join("target/tools/venv/bin"),
        ]
        .map(|dir| dir.display().to_string());
        let path = format!("{}:{}", own.join(":"), std::env::var("PATH").unwrap());
        let (house, proxy) = (&self.house, &self.proxy);
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", &line])
            .current_dir(house.dir())
            .stdin(Stdio::null())
            .env("PATH", path)
            .env("SPOOLHOUSE_KAFKA__BROKERS", stack().brokers())
            .env("SPOOLHOUSE_KAFKA__TOPIC", house.topic())
            .env("SPOOLHOUSE_KAFKA__GROUP", house.topic())
            .env("SPOOLHOUSE_UPLOAD__URL", proxy.url())
            .env("SPOOLHOUSE_UPLOAD__DATABASE", house.topic())
            .env("SPOOLHOUSE_UPLOAD__INTERVAL", "1s")
            .env("SPOOLHOUSE_OBSERVE__LISTEN", &self.address);
        shell
    }

    /// Does what the README says, in the line that begins like this.
    fn does(&self, beginning: &str) -> Output {
        self.shell(&readme::command(beginning)).output().unwrap()
    }

    /// The same for a command that goes on in the background, with more words at
    /// its end; what it prints goes to a file of this name.
    fn begins(&self, beginning: &str, more: &str, output: &str) {
        let line = readme::command(beginning);
        let line = line
            .strip_suffix(" &")
            .expect("it goes on in the background");
        let file = File::create(self.house.dir().join(output)).unwrap();
        let mut shell = self.shell(&format!("exec {line} {more}"));
        shell.stdout(file.try_clone().unwrap()).stderr(file);
        self.running.borrow_mut().push(shell.spawn().unwrap());
    }

    /// What is in a file of their directory.
    fn reads(&self, file: &str) -> String {
        fs::read_to_string(self.house.dir().join(file)).unwrap_or_default()
    }

    fn waits(&self, what: &str, holds: impl FnMut() -> bool) {
        self.house.wait_until(what, holds);
    }

    /// The first commands under a heading of the runbook, done.
    fn follows_the_runbook(&self, place: &str) -> Output {
        let (file, anchor) = place.split_once('#').unwrap();
        let text = fs::read_to_string(root().join(file)).unwrap();
        let heading = |part: &&str| part.lines().next().unwrap().to_lowercase() == anchor;
        let part = text.split("\n### ").find(heading).expect(place);
        let commands = part
            .split("```sh\n")
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        let commands = commands
            .replace(" LOG", " log")
            .replace(" --config FILE", "");
        // It may find nothing, and the next one something.
        self.shell(&format!("set +e +o pipefail\n{commands}"))
            .output()
            .unwrap()
    }

    fn count(&self, sql: &str) -> u64 {
        self.house.clickhouse(sql).trim().parse().unwrap()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for mut child in self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn to_clickhouse() -> String {
    format!("proxy_pass http://127.0.0.1:{};", stack().clickhouse)
}

/// Asserts that it went well, and that it said this.
fn assert_said(output: &Output, words: &[&str]) {
    assert_exit(output, 0, words);
}

#[test]
fn from_nothing_to_a_refused_batch_that_is_stored_by_hand() {
    // A build on every core, and alerts that predict when the disk that all tests write
    // to will be full.
    let _quiet = quiet();
    let user = User::new();
    installs(&user);

    assert_said(
        &user.does("spoolhouse check --proxy"),
        &["no problem", "upload.url"],
    );
    user.begins("spoolhouse run", "", "log");
    user.waits("its start", || user.reads("log").contains("listen="));
    let more = format!(
        "--brokers {} --topic {}",
        stack().brokers(),
        user.house.topic()
    );
    user.begins("spoolhouse produce", &more, "produced");
    user.waits("its readiness", || {
        user.does("curl -s localhost:9464/readyz").stdout == b"ok\n"
    });
    user.waits("rows in ClickHouse", || {
        user.count("SELECT count() FROM http_log") > 0
    });
    assert_said(
        &user.does("spoolhouse status"),
        &["owned by process", "next slot in", "messages read a second"],
    );

    let prometheus = Prometheus::watching(&user.address);
    breaks_the_proxy(&user, &prometheus);
    looks_into_files(&user);
    user.proxy.reload(&to_clickhouse());
    user.waits("the alert's end", || {
        prometheus.cure_of("SpoolhouseNoSuccess").is_none()
    });

    has_a_batch_refused(&user, &prometheus);
    user.waits("all to be produced", || {
        user.reads("produced").contains("\"messages\"")
    });
    let produced = user.reads("produced");
    let produced: serde_json::Value =
        serde_json::from_str(produced.lines().last().unwrap()).unwrap();
    let messages = produced["messages"].as_u64().unwrap();
    user.waits("all to be stored", || {
        user.count("SELECT count() FROM http_log") >= messages
            && said(&user.does("spoolhouse status")).contains("nothing waits")
    });
    assert_eq!(user.count("SELECT count() FROM http_log"), messages);
    assert_eq!(
        user.count("SELECT sum(requests) FROM http_log_totals"),
        messages
    );
    user.waits("silence", || prometheus.firing().is_empty());
    assert_said(&user.does("spoolhouse verify"), &[]);
}

/// The program, from what the tests have built: the same profile is not built anew.
fn installs(user: &User) {
    let line = readme::command("cargo install");
    let target = root().join("target");
    let more = format!(
        "--debug --offline --target-dir {} --root {}",
        target.display(),
        user.programs.display()
    );
    let mut shell = user.shell(&format!("{line} {more}"));
    shell.current_dir(root());
    for (name, _) in std::env::vars() {
        // What cargo tells tests would make it build anew.
        if name.starts_with("CARGO_") && name != "CARGO_HOME" {
            shell.env_remove(name);
        }
    }
    assert_said(&shell.output().unwrap(), &["spoolhouse"]);
    assert!(user.programs.join("bin/spoolhouse").exists());
    let line = readme::command("ops/stack up");
    let ports = [
        (
            "STACK_DIR",
            std::env::var("STACK_DIR").unwrap_or_else(|_| "target/test/stack".into()),
        ),
        ("KAFKA_PORT", stack().kafka.to_string()),
        ("CLICKHOUSE_PORT", stack().clickhouse.to_string()),
        ("PROXY_PORT", stack().proxy.to_string()),
    ];
    let mut shell = user.shell(&line);
    // With another python3 before it on the path, ops/setup would make its tools
    // anew: those that the stack is running on.
    shell.env("PATH", std::env::var_os("PATH").unwrap());
    assert_said(
        &shell.current_dir(root()).envs(ports).output().unwrap(),
        &["kafka", "proxy"],
    );
}

/// The alert, and what the runbook has to say about it.
fn breaks_the_proxy(user: &User, prometheus: &Prometheus) {
    assert!(prometheus.cure_of("SpoolhouseNoSuccess").is_none());
    user.proxy.reload("return 502;");
    let cure = user
        .house
        .wait_for("the alert", || prometheus.cure_of("SpoolhouseNoSuccess"));
    let found = said(&user.follows_the_runbook(&cure));
    assert!(found.contains("outcome=\"unknown\""), "{found}");
    assert!(found.contains("fate unknown"), "{found}");
    assert_said(
        &user.does("spoolhouse status"),
        &["what went wrong last", "unknown: status 502"],
    );
}

/// With our own tool and with others.
fn looks_into_files(user: &User) {
    user.waits("segments", || {
        files_in(&user.house.spool(), "ready").len() > 1
    });
    assert_said(
        &user.does("spoolhouse inspect spool/ready"),
        &["segment", "offsets", "remote_addr"],
    );
    assert_said(&user.does("duckdb -c"), &["response_status"]);
    assert_said(&user.does("python3 -c"), &["timestamp", "count"]);
    assert_said(&user.does("clickhouse local"), &["remote_addr", ".X"]);
}

/// The table refuses rows until it is mended; what was set aside goes by hand.
fn has_a_batch_refused(user: &User, prometheus: &Prometheus) {
    let table = "ALTER TABLE http_log";
    user.house.clickhouse(&format!(
        "{table} ADD CONSTRAINT no CHECK resource_id > 18446744073709551614"
    ));
    let cure = user
        .house
        .wait_for("the alert", || prometheus.cure_of("SpoolhouseDataRejected"));
    assert_said(
        &user.does("spoolhouse status"),
        &["for a person to look at", "rejected/batch-"],
    );
    user.house
        .clickhouse(&format!("{table} DROP CONSTRAINT no"));
    let found = said(&user.follows_the_runbook(&cure));
    assert!(
        found.contains("VIOLATED_CONSTRAINT") || found.contains("469"),
        "{found}"
    );
    // What is in it, and that it is whole.
    assert_said(
        &user.does("spoolhouse inspect spool/rejected"),
        &["batch", "attempts="],
    );
    assert_said(&user.does("spoolhouse upload"), &["stored"]);
    assert!(files_in(&user.house.spool(), "rejected").is_empty());
}
