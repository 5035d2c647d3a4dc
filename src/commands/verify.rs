//! `spoolhouse verify`: reads a spool and says what is wrong with it. Changes
//! nothing, takes no lock.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::terminal::progress_bar;
use super::{ConfigFile, Misuse};
use crate::ingest::decode::anonymize::mask;
use crate::spool::disk::LocalDisk;
use crate::spool::layout::{Directory, Layout};
use crate::spool::read_only::verify::{self, FileReport, Kind, Note, Options, Report};
use crate::text::plural;

/// How long to wait between two looks at a spool that may be changing: longer
/// than its owner takes from publishing a batch to removing the sources.
const PAUSE: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  The spool of the configuration in the working directory, also while it runs:
    spoolhouse verify

  A copy of a spool, every file of it, for a script:
    spoolhouse verify /backup/spool --json | jq '.files[] | select(.faults != [])'

What is checked: every file's digest, footer, name, spool, columns and number of
rows; that every address is masked; that every segment's rows are messages its
footer speaks of; and that no two files hold the same rows or are about to send
the same messages. A hole between files is no fault: what is not here was sent.
Notes are states in between that the owner or the next start clears up by itself.

The exit code is 1 if there is a fault, 0 if there is none.";

/// Check a spool, file by file and row by row, without changing it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The spool's directory [default: the one of the configuration]
    #[arg(value_name = "SPOOL_DIR", conflicts_with = "path")]
    pub dir: Option<PathBuf>,

    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,

    /// List every file, not only the faulty ones
    #[arg(long)]
    pub all: bool,

    /// Print one JSON object with every file instead
    #[arg(long)]
    pub json: bool,
}

/// Verifies and prints what was found.
///
/// # Errors
/// When there is a fault, or when the spool can't be listed.
pub fn run(args: Args) -> Result<()> {
    let dir = match args.dir {
        Some(dir) => dir,
        None => args.config.load()?.config.spool.dir,
    };
    let layout = Layout::new(&dir);
    if !layout.state().exists()
        && !Directory::ALL
            .iter()
            .any(|directory| layout.directory(*directory).exists())
    {
        let problem = format!("{} is no spool: none of its parts is there", dir.display());
        return Err(Misuse(problem).into());
    }
    let bar = progress_bar::bar(
        0,
        "{bar:30} {binary_bytes} of {binary_total_bytes}, {eta} left",
    );
    let options = Options {
        is_masked: &|address| mask(address.as_bytes()).as_str() == address,
        progress: &mut |read, total| {
            bar.set_length(total);
            bar.set_position(read);
        },
        pause: &|| std::thread::sleep(PAUSE),
    };
    let report = verify::verify(&LocalDisk, &layout, options)
        .with_context(|| format!("can't read the spool {}", dir.display()))?;
    bar.finish_and_clear();
    let mut stdout = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut stdout, &Json::of(&dir, &report))?;
        writeln!(stdout)?;
    } else {
        print(&mut stdout, &dir, &report, args.all)?;
    }
    match report.faults() {
        0 => Ok(()),
        faults => bail!(
            "{} found; nothing was changed",
            plural(faults as u64, "fault")
        ),
    }
}

/// The object that `--json` prints.
#[derive(Serialize)]
struct Json<'r> {
    dir: &'r Path,
    #[serde(flatten)]
    report: &'r Report,
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    files: u64,
    bytes: u64,
    rows: u64,
    faults: usize,
    notes: usize,
    set_aside: u64,
}

impl<'r> Json<'r> {
    fn of(dir: &'r Path, report: &'r Report) -> Self {
        let summary = Summary::of(report);
        Self {
            dir,
            report,
            summary,
        }
    }
}

impl Summary {
    fn of(report: &Report) -> Self {
        let files = &report.files;
        let is_rows = |file: &&FileReport| matches!(file.kind, Kind::Segment | Kind::Batch);
        Self {
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
            rows: files
                .iter()
                .filter(is_rows)
                .filter_map(|file| file.rows)
                .sum(),
            faults: report.faults(),
            notes: report.notes.len(),
            set_aside: files
                .iter()
                .filter(|file| file.kind == Kind::SetAside)
                .count() as u64,
        }
    }
}

fn print(out: &mut impl Write, dir: &Path, report: &Report, all: bool) -> io::Result<()> {
    if let Some(state) = &report.state {
        writeln!(out, "FAULT {}: {}", state.what, state.next)?;
    }
    for file in &report.files {
        if all || !file.faults.is_empty() {
            print_file(out, file)?;
        }
    }
    for Note { file, what } in &report.notes {
        writeln!(out, "note  {file}: {what}")?;
    }
    let summary = Summary::of(report);
    write!(
        out,
        "{}: {}, {}, {}, {}",
        dir.display(),
        plural(summary.files, "file"),
        bytesize::ByteSize(summary.bytes).display().iec(),
        plural(summary.rows, "row"),
        match summary.faults {
            0 => "no fault".to_owned(),
            faults => plural(faults as u64, "fault"),
        },
    )?;
    if summary.set_aside > 0 {
        let files = plural(summary.set_aside, "file");
        write!(
            out,
            "; {files} in doubtful/, each with its reason beside it"
        )?;
    }
    writeln!(out)
}

/// One line, whatever is wrong with it.
fn print_file(out: &mut impl Write, file: &FileReport) -> io::Result<()> {
    let path = format!("{}/{}", file.file.0.name(), file.file.1);
    if file.faults.is_empty() {
        write!(out, "ok    {path}: ")?;
        match file.kind {
            Kind::Draft => write!(out, "a draft, not published yet")?,
            Kind::SetAside => write!(out, "set aside, not looked into")?,
            _ => write!(out, "{}", plural(file.rows.unwrap_or(0), "row"))?,
        }
        for (partition, ranges) in &file.offsets {
            write!(out, "; partition {partition}")?;
            for range in ranges {
                write!(out, " {} to {}", range.0, range.1 - 1)?;
            }
        }
        return writeln!(out);
    }
    write!(out, "FAULT {path}:")?;
    for (place, fault) in file.faults.iter().enumerate() {
        let and = if place > 0 { "; also " } else { " " };
        write!(out, "{and}{}; next: {}", fault.what, fault.next)?;
    }
    writeln!(out)
}
