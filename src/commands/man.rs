//! `spoolhouse man`: manual pages, made from the same description as the help.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::spool::disk::{Access, Disk, LocalDisk};

const EXAMPLES: &str = "\
Examples:
  Read the page of the program:
    spoolhouse man | man -l -

  Install all of them, one per command (as root):
    spoolhouse man /usr/local/share/man/man1
    man spoolhouse-upload";

/// Print the manual page, or write those of all commands into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to write spoolhouse.1, spoolhouse-run.1 and so on; made if it is not there
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints or writes the pages of `spoolhouse` as `command` describes it.
///
/// # Errors
/// When they can't be written.
pub fn run(args: Args, command: Command) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let Some(dir) = args.dir else {
        io::stdout()
            .lock()
            .write_all(&page(&Man::new(command.clone()), &command)?)?;
        return Ok(());
    };
    let written = || -> io::Result<()> {
        LocalDisk.create_dir(&dir)?;
        write(&dir, &command)?;
        command
            .get_subcommands()
            .try_for_each(|command| write(&dir, command))
    };
    written().with_context(|| format!("can't write manual pages into {}", dir.display()))
}

fn write(dir: &Path, command: &Command) -> io::Result<()> {
    let man = Man::new(command.clone());
    let path = dir.join(man.get_filename());
    LocalDisk.write(&path, &page(&man, command)?, Access::Shared)
}

/// A page. Not [`Man::render`], which would run the lines of the examples together.
fn page(man: &Man, command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(more) = command.get_after_help() {
        let mut roff = Roff::new();
        roff.control("SH", ["NOTES"]).control("nf", []);
        for line in more.to_string().lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []).to_writer(&mut page)?;
    }
    man.render_version_section(&mut page)?;
    Ok(page)
}
