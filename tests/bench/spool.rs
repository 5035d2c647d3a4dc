//! A spool of very many files, and what it costs to look at it. The program
//! behind `ops/bench startup`.
//!
//! `spool fill DIR SEGMENTS BATCHES` makes one, `spool plain DIR` lists it and
//! reads the end of every file in a bare loop, `spool look DIR` opens it and
//! times what upload and metrics do all the time. Each prints one JSON object.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a bench that can't go on fails, and it measures by the system's clocks"
)]

#[path = "../support/many_files.rs"]
mod many_files;

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use spoolhouse::spool::layout::Directory;
use spoolhouse::spool::outlet::PackOptions;
use spoolhouse::spool::{Outlet, Spool};

type Done<T> = Result<T, Box<dyn Error>>;

/// Rows of each file: few, since their number is what is measured.
const ROWS: u64 = 20;

/// How many bytes of a file's end the plain loop reads.
const END: u64 = 8 * 1024;

/// How often the rooms are counted.
const LOOKS: u32 = 5;

/// How many batches are packed.
const PACKINGS: usize = 3;

fn main() -> Done<()> {
    // `cargo bench` adds an argument of its own, which begins with a dash.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["fill", dir, segments, batches] => {
            let begun = Instant::now();
            let (segments, batches) = (segments.parse()?, batches.parse()?);
            many_files::fill(Path::new(dir), segments, batches, ROWS)?;
            json!({ "files": segments + batches, "seconds": begun.elapsed().as_secs_f64() })
        }
        ["plain", dir] => plain(Path::new(dir))?,
        ["look", dir] => look(Path::new(dir))?,
        _ => {
            println!("spool: nothing to do; run `ops/bench startup`");
            return Ok(());
        }
    };
    println!("{result}");
    Ok(())
}

fn plain(dir: &Path) -> Done<Value> {
    let begun = Instant::now();
    let (mut files, mut bytes) = (0, 0);
    for directory in Directory::ALL {
        for entry in fs::read_dir(dir.join(directory.name()))? {
            let mut file = File::open(entry?.path())?;
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(size.saturating_sub(END)))?;
            let mut end = Vec::new();
            bytes += file.take(END).read_to_end(&mut end)?;
            files += 1;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "files": files, "bytes": bytes, "seconds": seconds }))
}

/// Takes out what is frozen, and a few batches that have to be packed first.
fn look(dir: &Path) -> Done<Value> {
    let begun = Instant::now();
    let spool = Spool::open(dir)?;
    let open = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    for _ in 0..LOOKS {
        spool.holdings()?;
    }
    let holdings = begun.elapsed().as_secs_f64() / f64::from(LOOKS);
    let options = PackOptions {
        bytes_max: 1 << 20,
        ..PackOptions::default()
    };
    let outlet = Outlet::new(spool);
    let (mut frozen, mut packed) = (Vec::new(), Vec::new());
    while packed.len() < PACKINGS {
        let begun = Instant::now();
        let Some(batch) = outlet.next(&options)? else {
            break;
        };
        let took = begun.elapsed().as_secs_f64();
        outlet.stored(&batch)?;
        if batch.footer.rows == ROWS {
            frozen.push(took);
        } else {
            packed.push(took);
        }
    }
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len().max(1) as f64;
    Ok(json!({
        "open_seconds": open,
        "holdings_seconds": holdings,
        "frozen_seconds": mean(&frozen),
        "packed_seconds": mean(&packed),
    }))
}
