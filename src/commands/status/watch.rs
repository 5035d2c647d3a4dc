//! `status --watch`: the same report, made anew every second until somebody has
//! seen enough.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Report, print, report};
use crate::commands::terminal::screen::{Screen, Wish};
use crate::config::Config;
use crate::spool::layout::Layout;
use crate::spool::read_only::directory_stats::DirectoryStats;

const EVERY: Duration = Duration::from_secs(1);

/// Looking may take one part in so many of the time: with very many files the
/// figures come less often, never the load.
const LOOK_SHARE: u32 = 10;

/// A trial batch takes a second or two, so one is good for a while.
const TRIAL_EVERY: Duration = Duration::from_secs(60);

pub(super) fn run(config: &Config, layout: &Layout, json: bool) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone())
            .with_context(|| format!("can't listen for signal {signal}"))?;
    }
    let screen = if json {
        Screen::none()
    } else {
        Screen::open()?
    };
    let mut stats = DirectoryStats::new(layout.clone());
    let mut tried = None;
    let mut tried_at: Option<Instant> = None;
    loop {
        let begun = Instant::now();
        let contents = stats
            .look()
            .with_context(|| format!("can't read the spool {}", layout.root().display()))?;
        let report = Report::of(config, layout, &contents, |bytes_max| {
            if tried_at.is_none_or(|at| at.elapsed() > TRIAL_EVERY) {
                tried = report::trial(config, layout, bytes_max);
                tried_at = Some(Instant::now());
            }
            tried
        })?;
        screen.show(&page(&report, json)?)?;
        let wait = EVERY.max(begun.elapsed() * LOOK_SHARE);
        if screen.wait(wait, || stop.load(Ordering::Relaxed)) == Wish::Leave {
            return Ok(());
        }
    }
}

fn page(report: &Report, json: bool) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    if json {
        serde_json::to_writer(&mut page, report)?;
        writeln!(page)?;
        return Ok(page);
    }
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    writeln!(page, "{now}  q or Ctrl-C ends it\n")?;
    print::report(&mut page, report)?;
    writeln!(page)?;
    Ok(page)
}
