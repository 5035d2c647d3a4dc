//! The status for people.

use std::io::{self, Write};
use std::time::Duration;

use humantime::format_duration;

use super::super::plural;
use super::{Shown, Status};
use crate::spool::layout::Room;
use crate::upload::forecast::Basis;

/// Files that need a person are named up to so many.
const NAMED_MAX: usize = 10;

/// Rooms that are shown even when they are empty.
const ALWAYS: [Room; 4] = [Room::Sealed, Room::Ready, Room::Batches, Room::Sending];

pub(super) fn status(out: &mut impl Write, status: &Status) -> io::Result<()> {
    let size = |bytes| bytesize::ByteSize(bytes).display().iec();
    let owner = status.owner.map_or(
        "no process owns it (the kernel lists no lock)".to_owned(),
        |pid| format!("owned by process {pid}"),
    );
    writeln!(
        out,
        "{}: {} of {}, {owner}",
        status.dir.display(),
        size(status.bytes),
        size(status.bytes_max),
    )?;
    writeln!(
        out,
        "{:<12} {:>8} {:>12} {:>12}  oldest",
        "", "files", "bytes", "rows"
    )?;
    for room in Room::ALL {
        let Some(shown) = status.rooms.get(room.name()) else {
            continue;
        };
        if shown.files == 0 && !ALWAYS.contains(&room) {
            continue;
        }
        let Shown {
            files,
            bytes,
            rows,
            unreadable,
            oldest_s,
        } = shown;
        let age = oldest_s.map_or("-".to_owned(), |age| seconds(age as f64));
        let size = size(*bytes).to_string();
        write!(
            out,
            "{:<12} {files:>8} {size:>12} {rows:>12}  {age}",
            room.name()
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
    let slot = &status.slot;
    writeln!(
        out,
        "next slot in {}, then one every {:.1} s",
        seconds(slot.wait.as_secs_f64()),
        slot.interval.as_secs_f64(),
    )?;
    if let Some(refusal) = &status.refusal {
        writeln!(out, "uploads wait for a person: {refusal}")?;
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
    let concerns: u64 = [Room::Rejected, Room::Doubtful]
        .iter()
        .filter_map(|room| status.rooms.get(room.name()))
        .map(|shown| shown.files)
        .sum::<u64>()
        .max(status.concerns.len() as u64);
    if concerns > 0 {
        writeln!(out, "{} for a person to look at:", plural(concerns, "file"))?;
        for concern in status.concerns.iter().take(NAMED_MAX) {
            writeln!(out, "  {}: {}", concern.file, concern.why)?;
        }
        if concerns > NAMED_MAX as u64 {
            writeln!(out, "  and {} more", concerns - NAMED_MAX as u64)?;
        }
    }
    Ok(())
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
