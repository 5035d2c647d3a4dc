//! `spoolhouse check`: looks at everything that a run depends on and says how to
//! mend what is wrong.
//!
//! Invariant: changes nothing but a temporary file in the spool's directory, and with
//! `--proxy` takes one slot. What is examined, and what is said about it, is in
//! `preflight`; here it is asked for and printed.

mod print;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;

use super::terminal::progress_bar;
use super::{ConfigFile, status, wiring};
use crate::config::{Loaded, Shown};
use crate::preflight::findings::{self, Finding, Level};
use crate::preflight::{self, Step, Subject};
use crate::spool::layout::Layout;
use crate::text::plural;

/// How often the spinner turns while something is asked.
const TURN: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  Configuration, spool and Kafka; nothing reaches the proxy:
    spoolhouse check

  The server behind the proxy, too. Takes one of its slots, and waits for it:
    spoolhouse check --proxy

  Only what is wrong, for a script:
    spoolhouse check --json | jq '.findings[] | select(.level == \"problem\")'

What is looked at: every key with the place it was set at; whether the spool's
directory is there or can be made, has room, and how long it takes to write there
durably; broker, topic, its retention and our lag; with --proxy the server's version,
columns, deduplication windows, views and settings, and whether the proxy admits a
body of upload.max_body.

The slot is waited for as `run` would, by what pace.json knows, and noted there
unless a process owns the spool: that one then finds its next slot taken, once.

The exit code is 1 if there is a problem, 0 if there is none. A note is worth
knowing, but nothing to mend before a start.";

/// Check configuration, spool, Kafka and server, and say how to mend what is wrong
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,

    /// Ask the server behind the proxy, too: one request, which takes one slot
    #[arg(long)]
    pub proxy: bool,

    /// Print one JSON object instead
    #[arg(long)]
    pub json: bool,
}

/// What `--json` prints.
#[derive(Debug, Default, Serialize)]
struct Report {
    config: Vec<Value>,
    findings: Vec<Finding>,
    problems: usize,
}

/// A key of the configuration.
#[derive(Debug, Serialize)]
struct Value {
    key: String,
    value: String,
    origin: String,
}

impl From<Shown> for Value {
    fn from(shown: Shown) -> Self {
        Self {
            key: shown.key,
            value: shown.value,
            origin: shown.origin.to_string(),
        }
    }
}

/// Looks, and prints what was found.
///
/// # Errors
/// When there is a problem.
pub fn run(args: Args) -> Result<()> {
    let mut report = Report::default();
    match args.config.load() {
        Ok(loaded) => {
            report.config = loaded.shown().into_iter().map(Value::from).collect();
            report.findings = look(&loaded, args.proxy);
        }
        Err(error) => report.findings.push(findings::config(&error)),
    }
    let problems = report.findings.iter();
    report.problems = problems
        .filter(|finding| finding.level == Level::Problem)
        .count();
    let mut stdout = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut stdout, &report)?;
        writeln!(stdout)?;
    } else {
        print::report(&mut stdout, &report)?;
    }
    match report.problems {
        0 => Ok(()),
        problems => bail!("{} found", plural(problems as u64, "problem")),
    }
}

fn look(loaded: &Loaded, asks_proxy: bool) -> Vec<Finding> {
    let config = &loaded.config;
    let layout = Layout::new(&config.spool.dir);
    let subject = Subject {
        loaded,
        layout: &layout,
        kafka: &|spool| wiring::kafka_options(config, spool),
        upload: wiring::upload_options(config),
        transport: &|| wiring::transport(config),
        free_bytes_floor: wiring::headroom(config).free_bytes_floor(),
        body_bytes_learned: status::slot(config, &layout).body_bytes_max,
        asks_proxy,
    };
    let mut countdown = progress_bar::countdown();
    let mut bar = None;
    preflight::examine(&subject, &mut |step| match step {
        Step::Begun(what) => {
            let spinner = progress_bar::spinner("{spinner} {msg}").with_message(what);
            spinner.enable_steady_tick(TURN);
            bar = Some(spinner);
        }
        Step::Slot(waiting) => countdown(waiting),
        Step::Done => {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        }
    })
}
