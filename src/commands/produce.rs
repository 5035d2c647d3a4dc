//! `spoolhouse produce`: synthetic traffic into Kafka, for demonstrations and tests.
//!
//! Invariant: everything sent follows from the arguments, so the rows that must arrive can be
//! made again (`--dry-run --expect`). A message is sent exactly once or the command
//! fails and says how many were not.

mod delivery;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::delivery::Delivery;
use super::terminal::progress_bar;
use crate::traffic::{Message, Profile, Row, Traffic, UNPACED_STEP_MILLI, corpus, messages};

const EXAMPLES: &str = "\
Examples:
  Ten minutes of 200 messages a second, one in a hundred of them no log record:
    spoolhouse produce --rate 200 --count 120000 --bad-percent 1

  A million messages as fast as the broker takes them:
    spoolhouse produce --brokers kafka:9092 --rate 0 --count 1000000

  The rows that a run with the same arguments sends, without sending them:
    spoolhouse produce --seed 7 --start 2026-01-01T00:00:00Z --count 1000 \\
        --dry-run --expect rows.jsonl

The last line on stdout is one JSON object: messages (the bad ones included),
bytes (of their payloads), bad, seconds. Ctrl-C or SIGTERM ends it early: the line
then counts what was sent, and --count with that number regenerates it. The exit
code is not 0 when a message was not delivered.";

/// Send synthetic traffic to Kafka
///
/// What is sent depends on --profile, --seed, --start, --rate, --count and
/// --bad-percent and on nothing else: the same arguments give the same messages,
/// byte for byte. Uniform values are resource ids below 1,000,000,000, eight
/// statuses, seven cache states, two methods, IPv4 addresses, URLs of nine shapes
/// with random names.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Kafka brokers to start from, separated by commas
    #[arg(long, value_name = "HOST:PORT,…", default_value = "127.0.0.1:9092")]
    pub brokers: String,

    /// Topic to send to; messages have no key and spread over its partitions
    #[arg(long, default_value = "http_log")]
    pub topic: String,

    /// How the values are distributed
    #[arg(long, value_enum, default_value_t)]
    pub profile: Profile,

    /// Messages per second, exact on average; 0 is as fast as possible
    ///
    /// It also sets the times in the messages: message i is served at START + i/N
    /// seconds. With 0, messages are 1 ms apart. Realistic traffic has N on average
    /// over a day (UTC), at least a third of it and at most five thirds.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub rate: u32,

    /// How many messages to send, the bad ones included
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub count: u64,

    /// Which traffic: another seed, other rows
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// When message 0 was served, as in 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub start: Option<SystemTime>,

    /// Share of messages that are no log record, in percent (0 to 100)
    ///
    /// They go round a fixed collection: random bytes, truncated, packed, empty,
    /// 1,000,000 bytes long, pointers out of bounds, built to be costly to read, ...
    #[arg(long = "bad-percent", value_name = "P", default_value = "0", value_parser = per_million)]
    pub bad_per_million: u32,

    /// Make the messages but send none, and don't wait between them
    #[arg(long)]
    pub dry_run: bool,

    /// Write every good row to FILE, one JSON object a line, with its address NOT masked
    ///
    /// Names are those of the table's columns, the timestamp is whole seconds.
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
}

fn time(time: &str) -> Result<SystemTime, &'static str> {
    humantime::parse_rfc3339_weak(time)
        .map_err(|_| "not a time from 1970 on, written as in 2026-01-31T12:00:00Z")
}

/// Percent as typed into parts of a million, which is what a share is drawn in.
fn per_million(percent: &str) -> Result<u32, String> {
    match percent.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok((percent * 10_000.0).round() as u32),
        _ => Err("not a number between 0 and 100".to_owned()),
    }
}

/// The JSON line at the end.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Messages made, the bad ones included.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// How many of them are no log record.
    pub bad: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Sends the traffic and prints the [`Summary`] as one line of JSON on stdout.
///
/// # Errors
///
/// When the times don't fit a `DateTime`, no broker answers, a message is not
/// delivered, or the file can't be written.
pub fn run(args: Args) -> Result<()> {
    let summary = produce(&args)?;
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, &summary)?;
    writeln!(stdout)?;
    Ok(())
}

/// Sends the traffic.
///
/// # Errors
///
/// As [`run`].
pub fn produce(args: &Args) -> Result<Summary> {
    let traffic = traffic(args)?;
    let corpus = corpus::bad_messages();
    let mut expect = args.expect.as_deref().map(Expect::create).transpose()?;
    let mut delivery = match args.dry_run {
        true => None,
        false => Some(Delivery::connect(&args.brokers, &args.topic)?),
    };
    let progress = progress_bar::bar(
        args.count,
        "{bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left",
    );
    let stop = stop_signal()?;
    let mut summary = Summary::default();
    let started = Instant::now();
    for (place, message) in messages(&traffic, args.count, &corpus).enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if let Message::Good(row) = &message
            && let Some(expect) = &mut expect
        {
            expect.write(row)?;
        }
        let encoded;
        let payload = match &message {
            Message::Good(row) => {
                encoded = row.encode();
                encoded.as_slice()
            }
            Message::Bad(payload) => {
                summary.bad += 1;
                payload
            }
        };
        if let Some(delivery) = &mut delivery {
            if delivery.failing() {
                break;
            }
            let early = traffic.due(place as u64).saturating_sub(started.elapsed());
            if !early.is_zero() {
                thread::sleep(early);
            }
            delivery.send(payload);
        }
        summary.messages += 1;
        summary.bytes += payload.len() as u64;
        progress.inc(1);
    }
    progress.finish_and_clear();
    if let Some(expect) = expect {
        expect.finish()?;
    }
    if let Some(delivery) = delivery {
        delivery.finish()?;
    }
    summary.seconds = started.elapsed().as_millis() as f64 / 1000.0;
    Ok(summary)
}

fn traffic(args: &Args) -> Result<Traffic> {
    let start = args.start.unwrap_or_else(SystemTime::now);
    let start = start
        .duration_since(UNIX_EPOCH)
        .context("--start is before 1970, which a DateTime can't hold")?;
    let traffic = Traffic {
        profile: args.profile,
        seed: args.seed,
        start_milli: u64::try_from(start.as_millis()).unwrap_or(u64::MAX),
        rate: args.rate,
        bad_per_million: args.bad_per_million,
    };
    ensure!(
        traffic.time_milli(args.count.saturating_sub(1)) / 1000 <= u64::from(u32::MAX),
        "the last message would be served after 2106-02-07T06:28:15Z, the last time that a \
         DateTime holds: choose an earlier --start, a smaller --count or a higher --rate \
         (messages are {UNPACED_STEP_MILLI} ms apart at rate 0)"
    );
    Ok(traffic)
}

/// The file of expected rows. Only complete if it was finished.
struct Expect<'p> {
    path: &'p Path,
    file: BufWriter<File>,
}

impl<'p> Expect<'p> {
    fn create(path: &'p Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("can't create {}", path.display()))?;
        let file = BufWriter::new(file);
        Ok(Self { path, file })
    }

    fn write(&mut self, row: &Row) -> Result<()> {
        serde_json::to_writer(&mut self.file, &row.expected())
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .with_context(|| format!("can't write {}", self.path.display()))
    }

    fn finish(mut self) -> Result<()> {
        self.file
            .flush()
            .with_context(|| format!("can't write {}", self.path.display()))
    }
}

/// A flag that SIGINT and SIGTERM set: what was sent by then is flushed and counted.
fn stop_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).context("can't listen for signals")?;
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_between_0_and_100_percent() {
        assert_eq!(per_million("0"), Ok(0));
        assert_eq!(per_million("0.5"), Ok(5_000));
        assert_eq!(per_million("100"), Ok(1_000_000));
        for not in ["-1", "101", "NaN", "inf", "", "one"] {
            assert!(per_million(not).is_err(), "{not}");
        }
    }
}
