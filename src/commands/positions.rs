//! `spoolhouse positions`: where every partition is read next, and moving that
//! place on purpose.
//!
//! Invariant: without `--reset` nothing changes and nobody joins the group; a reset is
//! for the owner of the spool only, and is planned before it is confirmed.

mod print;

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::SystemTime;

use anyhow::{Context, Result};
use uuid::Uuid;

use super::wiring::{kafka_options, open_spool};
use super::{ConfigFile, Misuse};
use crate::config::Loaded;
use crate::ingest::assignment::positions::{self, Reset, Standing, Target};
use crate::ingest::broker::BrokerError;
use crate::ingest::kafka::Consumer;
use crate::spool::Intake;
use crate::spool::disk::LocalDisk;
use crate::spool::format::footer::{SegmentFooter, Source};
use crate::spool::layout::Layout;
use crate::spool::read_only::snapshot;
use crate::spool::state::State;
use crate::time::SystemClock;

const EXAMPLES: &str = "\
Examples:
  Where every partition stands, also while `spoolhouse run` works:
    spoolhouse positions

  What would reading partition 2 from the start of its log do?
    spoolhouse positions --reset 2=start --dry-run

  Do it, and skip everything in partition 5 (stop `spoolhouse run` first):
    spoolhouse positions --reset 2=start --reset 5=end --yes

A reset to an earlier offset stores the messages in between a second time, unless
they never were stored. A reset to a later one means that those in between are
never read; it is written to gaps.jsonl as the operator's skip.";

/// Show where every partition is read next, or move it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,

    /// Read PARTITION from OFFSET next: a number, `start` or `end` of its log
    #[arg(long, value_name = "PARTITION=OFFSET", value_parser = target)]
    pub reset: Vec<(i32, Target)>,

    /// Say what the reset would do, and do nothing
    #[arg(long, requires = "reset")]
    pub dry_run: bool,

    /// Reset without asking
    #[arg(long, requires = "reset", conflicts_with = "dry_run")]
    pub yes: bool,

    /// Print one JSON object instead
    #[arg(long)]
    pub json: bool,
}

fn target(text: &str) -> Result<(i32, Target), String> {
    let wrong = || "write PARTITION=OFFSET as in 2=1500, 2=start or 2=end".to_owned();
    let (partition, offset) = text.split_once('=').ok_or_else(wrong)?;
    let partition = partition.parse().map_err(|_| wrong())?;
    let target = match offset {
        "start" => Target::Start,
        "end" => Target::End,
        number => Target::Offset(number.parse().map_err(|_| wrong())?),
    };
    Ok((partition, target))
}

/// What the spool and Kafka say.
struct Answer {
    spool: Option<Uuid>,
    state: Option<State>,
    /// What Kafka says, or why it says nothing.
    kafka: Result<(Source, BTreeMap<i32, Standing>), String>,
}

/// Shows positions, or resets them.
///
/// # Errors
/// When the spool can't be read, and for a reset: when another process owns the
/// spool, Kafka can't be reached, or the reset is not possible.
pub fn run(args: Args) -> Result<()> {
    let loaded = args.config.load()?;
    let mut targets = BTreeMap::new();
    for (partition, target) in &args.reset {
        if targets.insert(*partition, *target).is_some() {
            return Err(Misuse(format!("--reset names partition {partition} twice")).into());
        }
    }
    if targets.is_empty() {
        let answer = look(&loaded)?;
        return print::positions(&mut io::stdout().lock(), &answer, args.json);
    }
    if args.dry_run {
        let answer = look(&loaded)?;
        let layout = Layout::new(&loaded.config.spool.dir);
        // A spool that isn't there yet has none.
        let sealed = snapshot::sealed(&LocalDisk, &layout).unwrap_or_default();
        let spool = answer.spool.unwrap_or_default();
        let (source, standings) = answer.kafka.map_err(anyhow::Error::msg)?;
        let resets = plan(&source, &standings, &targets, spool, &sealed)?;
        return print::resets(&mut io::stdout().lock(), &resets, args.json, false);
    }
    reset(&loaded, &targets, &args)
}

/// Reads the spool without owning it and asks Kafka without joining the group.
fn look(loaded: &Loaded) -> Result<Answer> {
    let layout = Layout::new(&loaded.config.spool.dir);
    let state = match snapshot::state(&LocalDisk, &layout) {
        Ok(state) => Some(state),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let problem = format!("can't use {}: {error}", layout.state().display());
            return Err(loaded.blame("spool.dir", problem).into());
        }
    };
    let own = |source: &Source, partition| state.as_ref()?.position(source, partition);
    let kafka = ask(loaded, own).map_err(|error| cant_ask(loaded, &error));
    Ok(Answer {
        spool: state.as_ref().map(|state| state.spool),
        kafka,
        state,
    })
}

fn ask(
    loaded: &Loaded,
    own: impl Fn(&Source, i32) -> Option<i64>,
) -> Result<(Source, BTreeMap<i32, Standing>), BrokerError> {
    let options = kafka_options(&loaded.config, Uuid::nil());
    positions::ask(&Consumer::inquire(options)?, own)
}

fn cant_ask(loaded: &Loaded, error: &BrokerError) -> String {
    let kafka = &loaded.config.kafka;
    format!(
        "Kafka ({}) does not tell about {}: {error}",
        kafka.brokers, kafka.topic
    )
}

fn reset(loaded: &Loaded, targets: &BTreeMap<i32, Target>, args: &Args) -> Result<()> {
    let asks = !args.yes;
    if asks && (args.json || !io::stdin().is_terminal()) {
        let problem = "a reset wants to be confirmed, and nobody is there to ask: \
                       look with --dry-run, then add --yes";
        return Err(Misuse(problem.to_owned()).into());
    }
    let spool = open_spool(loaded).context("a reset is for the owner of the spool only")?;
    let intake = Intake::new(spool.clone());
    let (source, standings) = ask(loaded, |source, partition| {
        intake.position(source, partition)
    })
    .map_err(|error| anyhow::Error::msg(cant_ask(loaded, &error)))
    .context("nothing was changed")?;
    let sealed = intake.sealed()?;
    let resets = plan(&source, &standings, targets, spool.id(), &sealed)?;
    if asks {
        print::resets(&mut io::stderr().lock(), &resets, false, false)?;
        if !confirmed()? {
            anyhow::bail!("not confirmed; nothing was changed");
        }
    }
    carry_out(loaded, &intake, &source, &resets, spool.id())?;
    print::resets(&mut io::stdout().lock(), &resets, args.json, true)
}

fn plan(
    source: &Source,
    standings: &BTreeMap<i32, Standing>,
    targets: &BTreeMap<i32, Target>,
    spool: Uuid,
    sealed: &[SegmentFooter],
) -> Result<Vec<Reset>> {
    let is_sealed = |partition| {
        let mut ours = sealed.iter().filter(|segment| segment.source == *source);
        ours.any(|segment| segment.offsets.contains_key(&partition))
    };
    let plan = positions::plan(standings, targets, spool, is_sealed);
    plan.map_err(|error| Misuse(error.to_string()).into())
}

fn carry_out(
    loaded: &Loaded,
    intake: &Intake,
    source: &Source,
    resets: &[Reset],
    spool: Uuid,
) -> Result<()> {
    positions::reset(intake, source, resets, SystemTime::now(), |commits| {
        let consumer = Consumer::subscribe(kafka_options(&loaded.config, spool))?;
        positions::commit_as_member(&consumer, commits, &SystemClock)
    })
    .context(
        "the reset did not go through; each partition is read from its old place or from the new \
         one (`spoolhouse positions` tells), and the reset may be done again",
    )
}

fn confirmed() -> io::Result<bool> {
    eprint!("Reset? Type yes: ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_a_partition_and_an_offset() {
        assert_eq!(target("2=1500"), Ok((2, Target::Offset(1500))));
        assert_eq!(target("0=start"), Ok((0, Target::Start)));
        assert_eq!(target("0=end"), Ok((0, Target::End)));
        for wrong in ["", "2", "2=", "=5", "two=5", "2=five", "2=5=6"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
