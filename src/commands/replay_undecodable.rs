//! `spoolhouse replay-undecodable`: decodes the messages of `undecodable/` anew.

use std::io::{self, Write};

use anyhow::{Context, Result};

use super::ConfigFile;
use super::terminal::progress_bar;
use super::wiring::open_spool;
use crate::config::Loaded;
use crate::ingest::decode::redecode::{Counts, count, redecode};
use crate::spool::disk::LocalDisk;
use crate::spool::layout::Layout;
use crate::spool::read_only::snapshot;
use crate::spool::undecodable_replay::{self, Replayed, Source};
use crate::text::plural;

const EXAMPLES: &str = "\
Examples:
  How many messages would become records now, and why the others still don't:
    spoolhouse replay-undecodable --dry-run

  After a new version has learned to read them (stop `spoolhouse run` first):
    spoolhouse replay-undecodable && spoolhouse run

What decodes becomes segments in ready/, masked like any other record, and goes up
with the next batches; what doesn't stays in undecodable/ with the reason it has
now. Kafka's offsets and our positions are not touched. It may be interrupted at
any time and run again: no message is stored twice.";

/// Decode the messages in undecodable/ anew, after a fix
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,

    /// Count what would decode, by reason, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What was done with the files.
#[derive(Debug, Default)]
struct Done {
    counts: Counts,
    files: u64,
    undecided: Vec<String>,
    damaged: Vec<String>,
}

/// Replays, or counts what a replay would do, and prints the result.
///
/// # Errors
/// When another process owns the spool, or the disk fails.
pub fn run(args: Args) -> Result<()> {
    let loaded = args.config.load()?;
    let done = if args.dry_run {
        look(&loaded)?
    } else {
        replay(&loaded)?
    };
    print(&mut io::stdout().lock(), &done, args.dry_run)?;
    Ok(())
}

fn replay(loaded: &Loaded) -> Result<Done> {
    let spool = open_spool(loaded)?;
    let layout = Layout::new(spool.root());
    let sources = undecodable_replay::sources(&LocalDisk, &layout)?;
    let mut done = Done::default();
    for source in each(&sources) {
        let mut counts = Counts::default();
        let replayed = undecodable_replay::replay(&spool, source, |messages| {
            redecode(messages, &mut counts)
        })
        .with_context(|| {
            format!(
                "can't replay {}: nothing was lost, what was begun is undone or finished by \
                     the next start; mend it and run this again",
                source.name()
            )
        })?;
        match replayed {
            Replayed::Rows(_) | Replayed::Nothing => done.note(&counts),
            Replayed::Undecided => done.undecided.push(source.name()),
            Replayed::SetAside => done.damaged.push(source.name()),
        }
    }
    Ok(done)
}

fn look(loaded: &Loaded) -> Result<Done> {
    let layout = Layout::new(&loaded.config.spool.dir);
    let blame = |error| loaded.blame("spool.dir", format!("can't read the spool: {error}"));
    let spool = snapshot::state(&LocalDisk, &layout).map_err(blame)?.spool;
    let sources = undecodable_replay::sources(&LocalDisk, &layout).map_err(blame)?;
    let mut done = Done::default();
    for source in each(&sources) {
        if !undecodable_replay::is_settled(&LocalDisk, &layout, source)? {
            done.undecided.push(source.name());
            continue;
        }
        match undecodable_replay::read(&LocalDisk, &layout, source, spool) {
            // The owner keeps its limits meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("can't read {}", source.name()));
            }
            Ok(Err(_)) => done.damaged.push(source.name()),
            Ok(Ok(file)) => {
                let mut counts = Counts::default();
                count(&file.messages, &mut counts);
                done.note(&counts);
            }
        }
    }
    Ok(done)
}

/// The sources, one after the other, with a bar on stderr if that is a terminal.
fn each(sources: &[Source]) -> impl Iterator<Item = &Source> {
    let style = "{bar:30} {binary_bytes} of {binary_total_bytes}, {eta} left";
    let bar = progress_bar::bar(sources.iter().map(|source| source.bytes).sum(), style);
    let end = bar.clone();
    sources
        .iter()
        .inspect(move |source| bar.inc(source.bytes))
        .chain(std::iter::from_fn(move || {
            end.finish_and_clear();
            None
        }))
}

impl Done {
    fn note(&mut self, counts: &Counts) {
        self.files += 1;
        self.counts.decoded += counts.decoded;
        self.counts.dropped += counts.dropped;
        for (reason, messages) in &counts.undecodable {
            *self.counts.undecodable.entry(reason).or_default() += messages;
        }
    }
}

fn print(out: &mut impl Write, done: &Done, dry_run: bool) -> io::Result<()> {
    let (decoded, still) = match (dry_run, done.counts.decoded) {
        (true, _) => ("would decode", "would stay"),
        (false, 0) => ("decoded", "stay"),
        (false, _) => ("decoded: they go up with the next batches", "stay"),
    };
    let messages = plural(done.counts.decoded, "message");
    writeln!(
        out,
        "{messages} of {} {decoded}",
        plural(done.files, "file")
    )?;
    for (reason, messages) in &done.counts.undecodable {
        writeln!(out, "{} {still}: {reason}", plural(*messages, "message"))?;
    }
    if done.counts.dropped > 0 {
        let messages = plural(done.counts.dropped, "message");
        writeln!(
            out,
            "{messages} {still}: their bytes were dropped to keep spool.undecodable_max_bytes or \
             spool.undecodable_max_age"
        )?;
    }
    for name in &done.undecided {
        writeln!(
            out,
            "undecodable/{name} was left out: its segment is still in sealed/ or doubtful/, so \
             another consumer may have its messages, too"
        )?;
    }
    for name in &done.damaged {
        let done = if dry_run { "would be" } else { "was" };
        writeln!(
            out,
            "undecodable/{name} is damaged and {done} set aside in doubtful/"
        )?;
    }
    if dry_run {
        writeln!(out, "nothing was changed")?;
    }
    Ok(())
}
