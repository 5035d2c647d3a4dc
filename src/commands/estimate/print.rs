//! The estimate for people: the answer first, what it rests on last.

use std::io::{self, Write};

use crate::estimate::disk::DiskSpace;
use crate::estimate::report::Report;

pub(super) fn report(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let given = &report.given;
    writeln!(
        out,
        "{} messages a second, {} a day; totals kept {}, the log {}",
        number(given.rate_per_s),
        number(report.per_day.messages),
        days(given.retention_days),
        days(given.raw_retention_days),
    )?;
    writeln!(out)?;
    table(out, report)?;
    writeln!(out)?;
    let rows = &report.totals_rows_per_minute;
    line(
        out,
        "rows in totals",
        &format!(
            "{} a minute ({} if no batch cut a minute, {} if nothing repeated)",
            number(rows.expected),
            number(rows.low),
            number(rows.high)
        ),
    )?;
    let spool = &report.spool;
    let until = match spool.hours_until_full {
        Some(hours) => format!("; 10 GiB for each instance last {}", hours_shown(hours)),
        None => String::new(),
    };
    line(
        out,
        "spool",
        &format!(
            "{} for each hour of outage ({:.1} bytes per message{until})",
            size(spool.bytes_per_hour),
            spool.bytes_per_row
        ),
    )?;
    let proxy = &report.proxy;
    line(
        out,
        "proxy",
        &format!(
            "{} of one instance's capacity of {} rows a second, {} in the busiest hour",
            percent(proxy.share),
            number(proxy.capacity_per_s),
            percent(proxy.share_busiest_hour)
        ),
    )?;
    line(out, "instances", &instances(report))?;
    let latency = &report.latency_s;
    line(
        out,
        "latency",
        &format!(
            "{:.0} s at least, {:.0} s in the middle, {:.0} s at most",
            latency.min, latency.median, latency.max
        ),
    )?;
    let kafka = &report.kafka;
    line(
        out,
        "Kafka",
        &format!(
            "{}/s in, {}/s out on average ({:.0} bytes a message); a minute of the busiest hour \
             is {}",
            size(kafka.in_per_s),
            size(kafka.out_per_s),
            kafka.bytes_per_message,
            size(kafka.kept_per_minute)
        ),
    )?;
    writeln!(out, "\nWhat this rests on:")?;
    for assumption in &report.assumptions {
        writeln!(out, "- {}\n  [{}]", assumption.what, assumption.source)?;
    }
    Ok(())
}

fn table(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(
        out,
        "{:<18}{:>11}{:>11}{:>11}{:>12}",
        "disk", "low", "expected", "high", "a day"
    )?;
    let disk = &report.disk;
    let day = &report.per_day;
    let each: [(&str, &DiskSpace, f64); 3] = [
        ("http_log", &disk.log, day.log_bytes),
        ("http_log_totals", &disk.totals, day.totals_bytes),
        ("together", &disk.all, day.log_bytes + day.totals_bytes),
    ];
    for (name, space, a_day) in each {
        writeln!(
            out,
            "{name:<18}{:>11}{:>11}{:>11}{:>12}",
            size(space.low),
            size(space.expected),
            size(space.high),
            size(a_day),
        )?;
    }
    Ok(())
}

fn instances(report: &Report) -> String {
    let proxy = &report.proxy;
    let behind = "behind separate addresses";
    match (proxy.instances_least, proxy.instances) {
        (_, 1.0) => "one is enough".to_owned(),
        (least, all) if least == all => format!("{} {behind}", number(all)),
        (least, all) => format!(
            "{} {behind}; with {} a backlog of the busy hours goes out in the quiet ones",
            number(all),
            number(least)
        ),
    }
}

fn line(out: &mut impl Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, "{name:<16}{text}")
}

/// Bytes, with a binary unit. What a `u64` can't hold is shown as the most it can.
pub(super) fn size(bytes: f64) -> String {
    // A float that is too large becomes the largest number, not another one.
    bytesize::ByteSize(bytes.round() as u64)
        .display()
        .iec()
        .to_string()
}

/// Three digits and what follows them by a word.
fn number(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        n if n < 10.0 => {
            let text = format!("{n:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        n if n < 1e4 => format!("{n:.0}"),
        n if n < 1e6 => format!("{:.1} k", n / 1e3),
        n if n < 1e9 => format!("{:.1} M", n / 1e6),
        n if n < 1e12 => format!("{:.1} G", n / 1e9),
        n => format!("{n:.2e}"),
    }
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p < 10.0 => format!("{p:.1} %"),
        p => format!("{p:.0} %"),
    }
}

fn days(days: f64) -> String {
    match days {
        1.0 => "1 day".to_owned(),
        days => format!("{} days", number(days)),
    }
}

fn hours_shown(hours: f64) -> String {
    match hours {
        h if h < 1.0 => format!("{:.0} min", h * 60.0),
        h if h < 48.0 => format!("{h:.0} h"),
        h => days((h / 24.0).round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (given, shown) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (200.0, "200"),
            (12_345.0, "12.3 k"),
            (17_280_000.0, "17.3 M"),
            (8.64e10, "86.4 G"),
            (1e15, "1.00e15"),
        ] {
            assert_eq!(number(given), shown);
        }
        assert_eq!(size(1_048_576.0), "1.0 MiB");
        assert_eq!(size(1e40), size(u64::MAX as f64));
        assert_eq!(percent(0.0123), "1.2 %");
        assert_eq!(hours_shown(0.5), "30 min");
        assert_eq!(hours_shown(72.0), "3 days");
    }
}
