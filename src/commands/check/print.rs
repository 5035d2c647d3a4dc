//! What was found, for people: the configuration first, what to mend last, where
//! a terminal ends.

use std::io::{self, Write};

use super::Report;
use crate::preflight::findings::{Finding, Level};
use crate::text::plural;

pub(super) fn report(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let width = |of: fn(&super::Value) -> &str| {
        let widths = report.config.iter().map(|value| of(value).chars().count());
        widths.max().unwrap_or(0)
    };
    let (keys, values) = (width(|value| &value.key), width(|value| &value.value));
    for super::Value { key, value, origin } in &report.config {
        writeln!(out, "{key:<keys$}  {value:<values$}  {origin}")?;
    }
    if !report.config.is_empty() {
        writeln!(out)?;
    }
    for finding in &report.findings {
        print(out, finding)?;
    }
    let notes = report.findings.iter();
    let notes = notes.filter(|finding| finding.level == Level::Note).count();
    writeln!(
        out,
        "{}, {}",
        match report.problems {
            0 => "no problem".to_owned(),
            problems => plural(problems as u64, "problem"),
        },
        plural(notes as u64, "note"),
    )
}

fn print(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Problem => "PROBLEM",
    };
    writeln!(out, "{level:<7} {}: {}", finding.about, finding.what)?;
    if let Some(cure) = &finding.cure {
        writeln!(out, "        cure: {cure}")?;
    }
    Ok(())
}
