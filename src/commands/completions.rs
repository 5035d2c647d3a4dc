//! `spoolhouse completions`: what a shell completes, made from the same
//! description as the help.

use std::io::{self, Write};

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  For every bash of this machine (as root):
    spoolhouse completions bash > /usr/share/bash-completion/completions/spoolhouse

  For your own zsh, in a directory of its $fpath:
    spoolhouse completions zsh > ~/.zfunc/_spoolhouse

  For your own fish:
    spoolhouse completions fish > ~/.config/fish/completions/spoolhouse.fish";

/// Print what a shell needs to complete this command line
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the completions of `spoolhouse` as `command` describes it.
///
/// # Errors
/// When standard output can't be written.
pub fn run(args: &Args, mut command: Command) -> Result<()> {
    // At once: clap_complete panics on a pipe that is closed.
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(())
}
