//! `spoolhouse inspect`: what a Parquet file is, of the spool or not.
//!
//! Invariant: looks at one file after the other, needs no configuration and changes nothing.

mod print;

use std::io::{self, Write};
use std::panic;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::ingest::decode::anonymize::mask;
use crate::spool::read_only::inspect::{self, Inspection, Options};
use crate::text::plural;

/// Rows that may be asked for: they are in memory.
const ROWS_MAX: i64 = 1_000;

const EXAMPLES: &str = "\
Examples:
  Why is this file here, which offsets does it hold, when did they happen?
    spoolhouse inspect rejected/batch-0000000039-9f86d0….parquet

  Its first five rows:
    spoolhouse inspect --rows 5 ready/seg-0000000042.parquet

  How many bytes does a row of each batch take?
    spoolhouse inspect --json batches/*.parquet | jq -r '[.file, .bytes_per_row] | @tsv'

  What do the messages look like that are no record? They may hold raw addresses:
    spoolhouse inspect --rows 3 --payloads undecodable/und-0000000042.parquet

Any Parquet tool opens the same files:
    duckdb -c \"select * from 'FILE' limit 5\"
    python3 -c \"import pyarrow.parquet as pq; print(pq.read_table('FILE').slice(0, 5))\"
    clickhouse local -q \"select * from file('FILE', Parquet) limit 5\"

Sizes per column are those in the file, after encoding and compression. The rows of
a file whose digest doesn't fit are not looked at.

The exit code is 1 if a file can't be read or is not what it says it is, else 0. A
Parquet file that is none of ours is shown as far as it goes, and is no failure.";

/// Show what is in a Parquet file: kind, offsets, times, columns, rows
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Show so many rows from the beginning, at most 1000; addresses are masked
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=ROWS_MAX), hide_default_value = true)]
    pub rows: i64,

    /// Show binary values in these rows: messages as they came, which may hold
    /// addresses that nobody has masked
    #[arg(long, requires = "rows")]
    pub payloads: bool,

    /// Print one JSON object per file, each on a line of its own
    #[arg(long)]
    pub json: bool,
}

/// A file, as `--json` prints it.
#[derive(Serialize)]
struct Json<'f> {
    file: &'f Path,
    #[serde(flatten)]
    inspection: Option<&'f Inspection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Does something whose panics are caught, without the lines that they print.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let done = work();
    panic::set_hook(hook);
    done
}

/// Inspects the files.
///
/// # Errors
/// When one of them can't be read, or is not what it says.
pub fn run(args: Args) -> Result<()> {
    let options = Options {
        rows: usize::try_from(args.rows).unwrap_or(0),
        payloads: args.payloads,
        mask: &|address| mask(address.as_bytes()).as_str().to_owned(),
    };
    let mut stdout = io::stdout().lock();
    let mut faulty = 0_u64;
    for (place, file) in args.files.iter().enumerate() {
        let found = quietly(|| inspect::inspect(file, &options));
        let is_whole = found.as_ref().is_ok_and(|found| found.faults.is_empty());
        faulty += u64::from(!is_whole);
        if args.json {
            let line = Json {
                file,
                inspection: found.as_ref().ok(),
                error: found.as_ref().err().map(ToString::to_string),
            };
            serde_json::to_writer(&mut stdout, &line)?;
            writeln!(stdout)?;
            continue;
        }
        if place > 0 {
            writeln!(stdout)?;
        }
        match found {
            Ok(found) => print::inspection(&mut stdout, file, &found)?,
            Err(fault) => print::fault(&mut stdout, file, &fault)?,
        }
    }
    match faulty {
        0 => Ok(()),
        _ => bail!(
            "{faulty} of {} can't be read, or not what it says it is; nothing was changed",
            plural(args.files.len() as u64, "file")
        ),
    }
}
