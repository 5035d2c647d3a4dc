//! The status for people. Styles are always written: whoever knows what the
//! output is strips them. Text from outside can't do anything to a terminal.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use clap::builder::styling::{AnsiColor, Style};
use humantime::{format_duration, format_rfc3339_seconds};

use super::Report;
use crate::observe::running::{Error, Running, Said};
use crate::observe::status::{Basis, DirectoryStatus, Spool};
use crate::spool::layout::Directory;
use crate::text::{plural, printable};

/// Files that need a person are named up to so many.
const NAMED_MAX: usize = 10;

/// Rooms that are shown even when they are empty.
const ALWAYS: [Directory; 4] = [
    Directory::Sealed,
    Directory::Ready,
    Directory::Batches,
    Directory::Sending,
];

/// A spool that is full later than this is not worth a word: thirty days.
const FAR_S: f64 = 30.0 * 86_400.0;

/// What needs a person.
const NEEDED: Style = AnsiColor::Red.on_default().bold();

/// What is in danger.
const DANGER: Style = AnsiColor::Yellow.on_default();

/// What a table is headed by.
const HEADING: Style = Style::new().dimmed();

pub(super) fn report(out: &mut impl Write, report: &Report) -> io::Result<()> {
    status(out, &report.status)?;
    match &report.running {
        Running::No => writeln!(
            out,
            "no process runs: nothing is read; `spoolhouse check` says how long Kafka keeps it",
        )?,
        Running::Silent { address } => writeln!(
            out,
            "the process does not answer at {address}: rates and errors are not known",
        )?,
        Running::Yes(said) => running(out, said)?,
    }
    concerns(out, &report.status)
}

fn status(out: &mut impl Write, status: &Spool) -> io::Result<()> {
    let owner = status.owner.map_or(
        "no process owns it (the kernel lists no lock)".to_owned(),
        |pid| format!("owned by process {pid}"),
    );
    let percent = status.bytes as f64 * 100.0 / status.bytes_max.max(1) as f64;
    writeln!(
        out,
        "{}: {} of {} ({percent:.1} %), {owner}",
        printable(&status.dir.display().to_string()),
        size(status.bytes),
        size(status.bytes_max),
    )?;
    if let Some(free) = status.free_bytes {
        writeln!(
            out,
            "its disk has {} left, and reading pauses below {}",
            size(free),
            size(status.free_bytes_min),
        )?;
    }
    rooms(out, status)?;
    let slot = &status.slot;
    writeln!(
        out,
        "next slot in {}, then one every {:.1} s",
        seconds(slot.wait_s),
        slot.interval_s,
    )?;
    if let Some(refusal) = &status.refusal {
        let refusal = printable(refusal);
        writeln!(
            out,
            "{NEEDED}uploads wait for a person{NEEDED:#}: {refusal}"
        )?;
    }
    if let Some(oldest) = status.oldest_unsent_s {
        writeln!(out, "the oldest that waits is {} old", seconds(oldest))?;
    }
    let drain = &status.drain;
    match drain.batches {
        0 => writeln!(out, "nothing waits")?,
        batches => writeln!(
            out,
            "drained in {} if nothing new arrives: {} to go, {} rows in a full one ({})",
            seconds(drain.seconds),
            plural_batches(batches),
            drain.rows_per_batch,
            match drain.basis {
                Basis::Achieved => "as the last one had",
                Basis::Rehearsed => "as a trial with the oldest has it: none has gone yet",
                Basis::Supposed => "supposed: none has gone yet",
            },
        )?,
    }
    Ok(())
}

/// What lies where.
fn rooms(out: &mut impl Write, status: &Spool) -> io::Result<()> {
    writeln!(
        out,
        "{HEADING}{:<12} {:>8} {:>12} {:>12}  oldest{HEADING:#}",
        "", "files", "bytes", "rows"
    )?;
    for directory in Directory::ALL {
        let Some(shown) = status.rooms.get(directory.name()) else {
            continue;
        };
        if shown.files == 0 && !ALWAYS.contains(&directory) {
            continue;
        }
        let DirectoryStatus {
            files,
            bytes,
            rows,
            unreadable,
            oldest_s,
        } = shown;
        let age = oldest_s.map_or("-".to_owned(), |age| seconds(age as f64));
        let size = size(*bytes);
        write!(
            out,
            "{:<12} {files:>8} {size:>12} {rows:>12}  {age}",
            directory.name()
        )?;
        if *unreadable > 0 {
            write!(
                out,
                "  ({} without a readable footer)",
                plural(*unreadable, "file")
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What only the process knows.
fn running(out: &mut impl Write, said: &Said) -> io::Result<()> {
    if let Some(held) = &said.held {
        writeln!(
            out,
            "{NEEDED}nothing is read{NEEDED:#}: {}",
            printable(held)
        )?;
    }
    let growth = match said.growth_bytes_per_s {
        Some(growth) if growth >= 1.0 => {
            format!(", the spool grows by {} a second", size(growth as u64))
        }
        Some(_) => ", the spool does not grow".to_owned(),
        None => String::new(),
    };
    writeln!(
        out,
        "{:.1} messages read a second, {:.1} rows stored a second{growth}",
        said.read_per_s, said.stored_per_s,
    )?;
    if let Some(full) = said.full_s.filter(|full| *full < FAR_S) {
        writeln!(
            out,
            "{DANGER}reading pauses in {}{DANGER:#} if it goes on like that; Kafka's retention is the limit then",
            seconds(full),
        )?;
    }
    behind(out, said)?;
    errors(out, &said.errors)
}

/// How far Kafka is ahead, and for how long it keeps that.
fn behind(out: &mut impl Write, said: &Said) -> io::Result<()> {
    let lag = said
        .lag
        .map_or("an unknown number of messages".to_owned(), |lag| {
            plural(lag, "message")
        });
    write!(out, "{lag} behind Kafka")?;
    match (said.retention_s, said.retention_left_s) {
        (Some(retention), Some(left)) => {
            let danger = if left < retention / 2.0 {
                DANGER
            } else {
                Style::new()
            };
            writeln!(
                out,
                ", which keeps them for {}: {danger}{} left{danger:#}",
                seconds(retention),
                seconds(left),
            )?;
        }
        _ => writeln!(out, ", whose retention is not known")?,
    }
    Ok(())
}

/// The last requests that went wrong.
fn errors(out: &mut impl Write, errors: &[Error]) -> io::Result<()> {
    if !errors.is_empty() {
        writeln!(out, "what went wrong last:")?;
    }
    for Error {
        at_ms,
        outcome,
        message,
    } in errors
    {
        let at = format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(*at_ms));
        let message = message
            .as_deref()
            .map_or(String::new(), |text| format!(": {text}"));
        let said = printable(&format!("{}{message}", outcome.replace('_', " ")));
        writeln!(out, "  {at}  {said}")?;
    }
    Ok(())
}

/// Files that wait for a person.
fn concerns(out: &mut impl Write, status: &Spool) -> io::Result<()> {
    let concerns: u64 = [Directory::Rejected, Directory::Doubtful]
        .iter()
        .filter_map(|directory| status.rooms.get(directory.name()))
        .map(|shown| shown.files)
        .sum::<u64>()
        .max(status.concerns.len() as u64);
    if concerns > 0 {
        let files = plural(concerns, "file");
        writeln!(out, "{NEEDED}{files} for a person to look at{NEEDED:#}:")?;
        for concern in status.concerns.iter().take(NAMED_MAX) {
            writeln!(
                out,
                "  {}",
                printable(&format!("{}: {}", concern.file, concern.why))
            )?;
        }
        if concerns > NAMED_MAX as u64 {
            writeln!(out, "  and {} more", concerns - NAMED_MAX as u64)?;
        }
    }
    Ok(())
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

fn plural_batches(batches: u64) -> String {
    match batches {
        1 => "1 batch".to_owned(),
        batches => format!("{batches} batches"),
    }
}

/// Whole seconds, in words.
fn seconds(seconds: f64) -> String {
    format_duration(Duration::from_secs(seconds.ceil() as u64)).to_string()
}
