//! What was found in a file, for people. A file may hold anything: nothing of it
//! reaches a terminal but printable characters.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;
use humantime::format_rfc3339_seconds;
use serde_json::Value;

use crate::spool::format::error::Fault;
use crate::spool::format::footer::{
    BatchFooter, Footer, OffsetRange, SegmentFooter, UndecodableFooter,
};
use crate::spool::read_only::inspect::{Column, Inspection, Sidecar};
use crate::text::{plural, printable};

/// Ranges of offsets that are shown per partition.
const RANGES_MAX: usize = 5;

pub(super) fn fault(out: &mut impl Write, file: &Path, fault: &Fault) -> io::Result<()> {
    line(out, &file.display().to_string())?;
    line(out, &format!("  FAULT      {fault}"))
}

pub(super) fn inspection(out: &mut impl Write, file: &Path, found: &Inspection) -> io::Result<()> {
    line(out, &file.display().to_string())?;
    for fault in &found.faults {
        line(out, &format!("  FAULT      {fault}"))?;
    }
    let mut facts = Facts::default();
    facts.add("kind", kind(found.footer.as_ref()));
    facts.add("size", size(found));
    if let Some((first, last)) = found.times {
        facts.add(
            "times",
            format!("{} to {}", time(first.into()), time(last.into())),
        );
    }
    match &found.footer {
        Some(Footer::Segment(footer)) => segment(&mut facts, footer),
        Some(Footer::Batch(footer)) => batch(&mut facts, footer),
        Some(Footer::Undecodable(footer)) => undecodable(&mut facts, footer),
        None => {}
    }
    if let Some(digest) = &found.digest {
        let fits = match digest.fits {
            Some(true) => "fits",
            Some(false) => "DOES NOT FIT",
            None => "its name tells none to compare",
        };
        let what = match found.footer {
            Some(Footer::Batch(_)) => "token",
            _ => "digest",
        };
        facts.add(what, format!("{} ({fits})", digest.sha256));
    }
    if let Some(by) = found.created_by.as_deref().filter(|by| !by.is_empty()) {
        facts.add("written by", by.to_owned());
    }
    if let Some(beside) = &found.sidecar {
        facts.add("beside it", sidecar(beside));
    }
    for (what, fact) in facts.0 {
        line(out, &format!("  {what:<10} {fact}"))?;
    }
    columns(out, &found.columns)?;
    for (number, row) in found.sample.iter().enumerate() {
        line(
            out,
            &format!(
                "  row {number}: {}",
                fields(row.0.iter().map(|(name, value)| (name, value)))
            ),
        )?;
    }
    Ok(())
}

/// What is known, in the order in which it is shown.
#[derive(Default)]
struct Facts(Vec<(&'static str, String)>);

impl Facts {
    fn add(&mut self, what: &'static str, fact: String) {
        self.0.push((what, fact));
    }
}

fn kind(footer: Option<&Footer>) -> String {
    match footer {
        Some(Footer::Segment(footer)) => {
            let rest = match footer.first_row {
                0 => String::new(),
                first => format!(", what is left of it from row {first} on"),
            };
            format!(
                "segment {}{rest}, of spool {}",
                footer.segment, footer.spool
            )
        }
        Some(Footer::Batch(footer)) => {
            let number = footer.oldest_segment();
            let number = number.map_or_else(String::new, |number| format!(" {number}"));
            format!("batch{number}, of spool {}", footer.spool)
        }
        Some(Footer::Undecodable(footer)) => format!(
            "messages that are no record, of segment {} of spool {}",
            footer.segment, footer.spool
        ),
        None => "a Parquet file that no spool wrote".to_owned(),
    }
}

fn size(found: &Inspection) -> String {
    let mut text = format!(
        "{} ({} bytes), {}",
        ByteSize(found.bytes).display().iec(),
        found.bytes,
        plural(found.rows, "row")
    );
    if let Some(each) = found.bytes_per_row {
        let _ = write!(text, ", {each:.1} bytes a row");
    }
    let _ = write!(
        text,
        "; {}, a footer of {} bytes",
        plural(found.row_groups as u64, "row group"),
        found.footer_bytes
    );
    text
}

fn segment(facts: &mut Facts, footer: &SegmentFooter) {
    facts.add("topic", footer.source.to_string());
    for (partition, range) in &footer.offsets {
        facts.add("offsets", offsets(*partition, &[*range]));
    }
    if footer.undecodable > 0 {
        let messages = plural(footer.undecodable, "message");
        let fact = format!(
            "{messages} of it in undecodable/und-{:010}.parquet",
            footer.segment
        );
        facts.add("no record", fact);
    }
    if let Some(from) = &footer.replayed_from {
        let fact = format!("from und-{:010}.parquet, {}", from.undecodable, from.digest);
        facts.add("replayed", fact);
    }
}

fn batch(facts: &mut Facts, footer: &BatchFooter) {
    facts.add("topic", footer.source.to_string());
    for cover in &footer.covers {
        let end = cover.end_row.map_or_else(
            || "its end".to_owned(),
            |end| format!("row {}", end.saturating_sub(1)),
        );
        let fact = format!(
            "segment {} from row {} through segment {} to {end}",
            cover.first, cover.first_row, cover.last
        );
        facts.add("covers", fact);
    }
    for (partition, ranges) in &footer.offsets {
        facts.add("offsets", offsets(*partition, ranges));
    }
    if let Some(whole) = &footer.split_from {
        facts.add("part of", format!("the batch {whole}"));
    }
    let encoding = if footer.encoding.is_compact() {
        "compact"
    } else {
        "compatible"
    };
    facts.add("encoding", encoding.to_owned());
    let settings = footer.settings.iter();
    let settings: Vec<String> = settings
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    facts.add("settings", settings.join(" "));
}

fn undecodable(facts: &mut Facts, footer: &UndecodableFooter) {
    facts.add("topic", footer.source.to_string());
    facts.add("kept at", time(footer.kept_at));
    if footer.dropped > 0 {
        let fact = format!(
            "{} without its bytes by now",
            plural(footer.dropped, "message")
        );
        facts.add("dropped", fact);
    }
}

/// What the end of a range says is the first offset after it.
fn offsets(partition: i32, ranges: &[OffsetRange]) -> String {
    let shown = ranges.iter().take(RANGES_MAX);
    let shown: Vec<String> = shown
        .map(|range| format!("{} to {}", range.0, range.1.saturating_sub(1)))
        .collect();
    let more = match ranges.len().saturating_sub(RANGES_MAX) {
        0 => String::new(),
        more => format!(" and {}", plural(more as u64, "range")),
    };
    format!("partition {partition}: {}{more}", shown.join(", "))
}

/// A time, in seconds since 1970, if it is one that can be written.
fn time(seconds: u64) -> String {
    // humantime writes years of four digits.
    const END_OF_9999: u64 = 253_402_300_799;
    if seconds > END_OF_9999 {
        return format!("{seconds} s after 1970");
    }
    format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

fn sidecar(beside: &Sidecar) -> String {
    match &beside.says {
        Value::Object(says) => format!("{}: {}", beside.file, fields(says)),
        Value::String(text) => format!("{}: {text}", beside.file),
        other => format!("{}: {other}", beside.file),
    }
}

fn columns(out: &mut impl Write, columns: &[Column]) -> io::Result<()> {
    let names = columns.iter().map(|column| column.name.chars().count());
    let width = names.max().unwrap_or(0).max("column".len());
    let all: u64 = columns
        .iter()
        .map(|column| column.bytes)
        .fold(0, u64::saturating_add);
    line(
        out,
        &format!(
            "  {:<width$} {:>10} {:>12} {:>6}  encodings, compression, type",
            "column", "bytes", "uncompressed", "share"
        ),
    )?;
    for column in columns {
        let share = match all {
            0 => 0.0,
            all => column.bytes as f64 * 100.0 / all as f64,
        };
        line(
            out,
            &format!(
                "  {:<width$} {:>10} {:>12} {share:>5.1}%  {}, {}, {}",
                column.name,
                column.bytes,
                column.uncompressed_bytes,
                column.encodings.join(" "),
                column.compression,
                column.of_type
            ),
        )?;
    }
    Ok(())
}

fn fields<'f>(fields: impl IntoIterator<Item = (&'f String, &'f Value)>) -> String {
    let fields = fields.into_iter();
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    fields.join(" ")
}

/// One line, whatever is in it: a name that was found in a file must not move
/// the cursor.
fn line(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{}", printable(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_holds_can_not_move_the_cursor() {
        let mut out = Vec::new();
        line(&mut out, "name\u{1b}[2Jof\na column").unwrap();
        assert_eq!(out, b"name\\u{1b}[2Jof\\na column\n");
    }

    #[test]
    fn a_time_that_no_calendar_has_is_still_shown() {
        assert_eq!(time(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(time(u64::MAX), format!("{} s after 1970", u64::MAX));
    }
}
