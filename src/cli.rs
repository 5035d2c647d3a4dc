//! The command line: arguments, logging and exit codes. What a subcommand does
//! is in [`commands`].

use std::io::{self, stderr};
use std::process::{ExitCode, Termination};

use anstream::{AutoStream, ColorChoice};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::commands::terminal::progress_bar::LogLines;
use crate::commands::{self, Misuse};
use crate::config::ConfigError;

const EXAMPLES: &str = "\
Examples:
  Is everything as it must be, before the first start?
    spoolhouse check --proxy

  Carry records until Ctrl-C or SIGTERM, with the spoolhouse.toml that is here:
    spoolhouse run

  How far behind is it, and when will the backlog be gone?
    spoolhouse status

  What is in this file, and why was it refused?
    spoolhouse inspect spool/rejected/*.parquet

  Send it again, now that its table is mended:
    spoolhouse upload spool/rejected/*.parquet

Reports take --json. Colours and progress bars are for terminals only, and NO_COLOR
switches the colours off.

Exit codes:
  0  all was done, and nothing that was looked at is wrong
  1  something failed that may go well another time, or was found to be wrong
  2  the command line or the configuration can't be used as it is

`spoolhouse COMMAND --help` has examples of every command.";

/// How a process ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All was done.
    Done,
    /// Something failed that may go well another time.
    Failed,
    /// The command line or the configuration can't be used: it will not go
    /// well until somebody changes it.
    Usage,
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
        }
    }

    fn of(error: &anyhow::Error) -> Self {
        let is_usage = |cause: &(dyn std::error::Error + 'static)| {
            cause.is::<ConfigError>() || cause.is::<Misuse>()
        };
        if error.chain().any(is_usage) {
            Exit::Usage
        } else {
            Exit::Failed
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// Carries HTTP access logs from Kafka to ClickHouse, exactly once, through a
/// proxy that admits one request a minute.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
pub struct Cli {
    /// How log lines on standard error look. Which are shown: RUST_LOG
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The looks of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; in colours on a terminal
    Text,
    /// One JSON object a line
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry records until stopped by SIGINT or SIGTERM
    Run(commands::run::Args),
    /// Fill the topic with synthetic traffic
    Produce(commands::produce::Args),
    /// Check configuration, spool, Kafka and server, and say how to mend what is wrong
    Check(commands::check::Args),
    /// Show what waits, when the next slot is, and how long the backlog takes
    Status(commands::status::Args),
    /// Send files by hand: segments, batches, what was rejected, or any other file
    Upload(commands::upload::Args),
    /// Show what is in a Parquet file: kind, offsets, times, columns, rows
    Inspect(commands::inspect::Args),
    /// Check a spool without changing it
    Verify(commands::verify::Args),
    /// Show where every partition is read next, or move it
    Positions(commands::positions::Args),
    /// Say how much disk, proxy and Kafka traffic a rate and a retention take
    Estimate(commands::estimate::Args),
    /// Decode the messages in undecodable/ anew, after a fix
    ReplayUndecodable(commands::replay_undecodable::Args),
    /// Print what a shell needs to complete this command line
    Completions(commands::completions::Args),
    /// Print the manual page, or write those of all commands into a directory
    Man(commands::man::Args),
}

/// Parses the arguments of the process and does what they say. Errors go to
/// standard error, one line.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; a closed pipe is no concern.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
        }
    };
    log_to_stderr(cli.log_format);
    let done = match cli.command {
        Command::Run(args) => commands::run::run(args),
        Command::Produce(args) => commands::produce::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Status(args) => commands::status::run(args),
        Command::Upload(args) => commands::upload::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Verify(args) => commands::verify::run(args),
        Command::Positions(args) => commands::positions::run(args),
        Command::Estimate(args) => commands::estimate::run(args),
        Command::ReplayUndecodable(args) => commands::replay_undecodable::run(args),
        Command::Completions(args) => commands::completions::run(&args, Cli::command()),
        Command::Man(args) => commands::man::run(args, Cli::command()),
    };
    match done {
        Ok(()) => Exit::Done,
        // `| head` has seen enough.
        Err(error) if is_closed_pipe(&error) => Exit::Done,
        Err(error) => {
            eprintln!("spoolhouse: {error:#}");
            Exit::of(&error)
        }
    }
}

/// Whether it was the reader of our output that went away.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = error
        .downcast_ref::<io::Error>()
        .map(io::Error::kind)
        .or_else(|| error.downcast_ref::<serde_json::Error>()?.io_error_kind());
    kind == Some(io::ErrorKind::BrokenPipe)
}

/// Colours where they help: on a terminal, unless NO_COLOR says no.
fn is_coloured() -> bool {
    AutoStream::choice(&stderr()) != ColorChoice::Never
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LogLines);
    match format {
        LogFormat::Text => lines.with_ansi(is_coloured()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;
    use crate::config;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exit_codes_are_part_of_the_interface() {
        assert_eq!(
            [Exit::Done, Exit::Failed, Exit::Usage].map(Exit::code),
            [0, 1, 2]
        );
    }

    #[test]
    fn the_help_tells_every_exit_code() {
        let (_, codes) = EXAMPLES.split_once("Exit codes:\n").unwrap();
        let told = codes
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.get(..1));
        let all = [Exit::Done, Exit::Failed, Exit::Usage].map(|exit| exit.code().to_string());
        assert_eq!(told.collect::<Vec<_>>(), all);
    }

    #[test]
    fn an_error_of_the_configuration_exits_as_usage_even_with_context() {
        let unknown = [("SPOOLHOUSE_X".into(), "1".into())];
        let error = config::parse(None, unknown).unwrap_err();
        let error = Err::<(), _>(error).context("starting").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Usage);
        assert_eq!(Exit::of(&anyhow::anyhow!("disk full")), Exit::Failed);
    }
}
