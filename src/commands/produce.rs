//! `spoolhouse produce`: synthetic traffic into Kafka, for demonstrations and tests.
//!
//! Everything sent follows from the arguments, so the rows that must arrive can be
//! made again (`--dry-run --expect`). A message is sent exactly once or the command
//! fails and says how many were not.

pub mod corpus;
pub mod message;
pub mod traffic;

mod delivery;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use self::delivery::Delivery;
use self::traffic::{Row, Traffic, UNPACED_STEP_MILLI};

/// How often progress is shown on a terminal, and otherwise.
const PROGRESS_TERMINAL: Duration = Duration::from_secs(1);
const PROGRESS_PLAIN: Duration = Duration::from_secs(10);

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
bytes (of their payloads), bad, seconds. The exit code is not 0 when a message
was not delivered.";

/// Send synthetic traffic to Kafka
///
/// What is sent depends on --seed, --start, --rate, --count and --bad-percent and
/// on nothing else: the same arguments give the same messages, byte for byte.
/// Values are uniform: resource ids below 1,000,000,000, eight statuses, seven cache
/// states, two methods, IPv4 addresses, URLs of nine shapes with random names.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Kafka brokers to start from, separated by commas
    #[arg(long, value_name = "HOST:PORT,…", default_value = "127.0.0.1:9092")]
    pub brokers: String,

    /// Topic to send to; messages have no key and spread over its partitions
    #[arg(long, default_value = "http_log")]
    pub topic: String,

    /// Messages per second, exact on average; 0 is as fast as possible
    ///
    /// It also sets the times in the messages: message i is served at START + i/N
    /// seconds. With 0, messages are 1 ms apart.
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

    /// Tell of progress on stderr even if that is no terminal
    #[arg(long)]
    pub progress: bool,
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
    let mut progress = Progress::new(args);
    let mut summary = Summary::default();
    let started = Instant::now();
    for (place, message) in messages(&traffic, args.count, &corpus).enumerate() {
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
            let early = due(place as u64, args.rate).saturating_sub(started.elapsed());
            if !early.is_zero() {
                thread::sleep(early);
            }
            delivery.send(payload);
        }
        summary.messages += 1;
        summary.bytes += payload.len() as u64;
        progress.show(summary.messages, started.elapsed());
    }
    progress.end();
    if let Some(expect) = expect {
        expect.finish()?;
    }
    if let Some(delivery) = delivery {
        delivery.finish()?;
    }
    summary.seconds = started.elapsed().as_millis() as f64 / 1000.0;
    Ok(summary)
}

/// What stands at one place of the traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'c> {
    /// A log record.
    Good(Row),
    /// The next of the bad messages.
    Bad(&'c [u8]),
}

/// The first `count` messages; the bad ones go round the collection.
pub fn messages<'c>(
    traffic: &Traffic,
    count: u64,
    corpus: &'c [(&'static str, Vec<u8>)],
) -> impl Iterator<Item = Message<'c>> {
    let mut bad = corpus.iter().cycle();
    (0..count).map_while(move |place| match traffic.row(place) {
        Some(row) => Some(Message::Good(row)),
        None => bad.next().map(|(_, payload)| Message::Bad(payload)),
    })
}

fn traffic(args: &Args) -> Result<Traffic> {
    let start = args.start.unwrap_or_else(SystemTime::now);
    let start = start
        .duration_since(UNIX_EPOCH)
        .context("--start is before 1970, which a DateTime can't hold")?;
    let traffic = Traffic {
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

/// When the message at this place is due, from the start. A schedule rather than
/// a pause between messages: being late once does not move what follows.
fn due(place: u64, rate: u32) -> Duration {
    if rate == 0 {
        return Duration::ZERO;
    }
    let rate = u64::from(rate);
    // The rest is below the rate, so the product stays below 2^62.
    Duration::new(place / rate, (place % rate * 1_000_000_000 / rate) as u32)
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

/// One line on stderr that is written over on a terminal, or a line now and then.
struct Progress {
    every: Option<Duration>,
    terminal: bool,
    count: u64,
    shown: Duration,
}

impl Progress {
    fn new(args: &Args) -> Self {
        let terminal = io::stderr().is_terminal();
        let every = match (terminal, args.progress) {
            (true, _) => Some(PROGRESS_TERMINAL),
            (false, true) => Some(PROGRESS_PLAIN),
            (false, false) => None,
        };
        Self {
            every,
            terminal,
            count: args.count,
            shown: Duration::ZERO,
        }
    }

    fn show(&mut self, done: u64, elapsed: Duration) {
        let Some(every) = self.every else { return };
        if elapsed < self.shown + every {
            return;
        }
        self.shown = elapsed;
        let percent = done as f64 * 100.0 / self.count as f64;
        let rate = done as f64 / elapsed.as_secs_f64();
        let left = (self.count - done) as f64 / rate;
        let (begin, end) = if self.terminal {
            ("\r\x1b[K", "")
        } else {
            ("", "\n")
        };
        let count = self.count;
        // Nobody to tell is no reason to stop.
        let _ = write!(
            io::stderr(),
            "{begin}sent {done} of {count} ({percent:.0} %), {rate:.0}/s, {left:.0} s left{end}"
        );
    }

    fn end(&self) {
        if self.terminal && self.shown > Duration::ZERO {
            let _ = writeln!(io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_keeps_the_average_exactly() {
        assert_eq!(due(0, 3), Duration::ZERO);
        assert_eq!(due(1, 3), Duration::from_nanos(333_333_333));
        assert_eq!(due(3_000_000_000, 3), Duration::from_secs(1_000_000_000));
        assert_eq!(
            due(u64::MAX, u32::MAX).as_secs(),
            u64::MAX / u64::from(u32::MAX)
        );
        assert_eq!(due(7, 0), Duration::ZERO);
    }

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
