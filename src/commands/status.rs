//! `spoolhouse status`: what waits, when the next slot is, how long the backlog
//! takes, and what needs a person.
//!
//! Invariant: looks at the files and changes nothing; takes no lock and needs no
//! daemon. Where one runs it is asked for what the files
//! don't tell: rates, Kafka, the last errors.

mod print;
mod report;
mod watch;

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use super::terminal::progress_bar;
use super::{ConfigFile, Misuse};
use crate::config::Config;
use crate::observe::running::Running;
use crate::observe::status::Spool;
use crate::spool::layout::{Directory, Layout};
use crate::spool::read_only::snapshot::{self, Contents};
use crate::upload::drain_estimate::Basis;
use crate::upload::slot::pace_file::Achieved;
use crate::upload::telemetry;

pub(super) use report::{of_files, slot};

const EXAMPLES: &str = "\
Examples:
  The spool of the configuration in the working directory, also while it runs:
    spoolhouse status

  The same, looked at every second until q or Ctrl-C:
    spoolhouse status --watch

  Seconds until the backlog is gone, for a script:
    spoolhouse status --json | jq .drain.seconds

Time to drain: rows that wait, by the rows that the last full batch took (before
there was one: that the oldest take when they are packed on trial, which takes a
second or two), at one batch per slot, if nothing new arrives. Ages are those of
the files: since a segment was sealed, or a batch frozen. Rates, the way to Kafka
and the last errors are what a running process says on `observe.listen`; the time
until reading pauses goes by how the spool grew within the last hour.";

/// Show what waits, when the next slot is, and how long the backlog takes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,

    /// Show it anew every second, until q or Ctrl-C
    #[arg(long)]
    pub watch: bool,

    /// Print one JSON object instead; with --watch, one a second
    #[arg(long)]
    pub json: bool,
}

/// Prints the status.
///
/// # Errors
/// When there is no spool, or it can't be read.
pub fn run(args: Args) -> Result<()> {
    let loaded = args.config.load()?;
    let config = &loaded.config;
    let layout = Layout::new(&config.spool.dir);
    if !layout.state().exists() {
        let problem = format!(
            "{} is no spool: there is no spool.json (no `spoolhouse run` has begun here)",
            layout.root().display()
        );
        return Err(Misuse(problem).into());
    }
    if args.watch {
        return watch::run(config, &layout, args.json);
    }
    let report = look(config, &layout)
        .with_context(|| format!("can't read the spool {}", layout.root().display()))?;
    if args.json {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer(&mut stdout, &report)?;
        writeln!(stdout)?;
    } else {
        print::report(&mut anstream::stdout().lock(), &report)?;
    }
    Ok(())
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    status: Spool,
    /// What the process says that owns the spool.
    running: Running,
}

fn look(config: &Config, layout: &Layout) -> io::Result<Report> {
    let bar = progress_bar::bar(0, "{bar:30} {pos} of {len} files, {eta} left");
    let contents = snapshot::directories(layout, &mut |seen, total| {
        bar.set_length(total);
        bar.set_position(seen);
    })?;
    bar.finish_and_clear();
    let trial = |bytes_max| report::trial(config, layout, bytes_max);
    Report::of(config, layout, &contents, trial)
}

impl Report {
    fn of(
        config: &Config,
        layout: &Layout,
        contents: &BTreeMap<Directory, Contents>,
        trial: impl FnOnce(u64) -> Option<(Achieved, Basis)>,
    ) -> io::Result<Self> {
        let owner = snapshot::owner(layout)?;
        let status = report::of_files(config, layout, contents, owner, trial)?;
        let running = Running::ask(config.observe.listen, &status, telemetry::ATTEMPTS_MAX);
        Ok(Self { status, running })
    }
}
