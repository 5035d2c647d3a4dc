//! `spoolhouse estimate`: what a rate and a retention take, of ClickHouse's disk, of
//! the proxy, of Kafka and of time.
//!
//! Invariant: touches nothing; with `--from` one request asks
//! a live server what its rows take.

mod print;
mod server;
mod typed;

use std::io::{self, Write};

use anyhow::Result;

use super::ConfigFile;
use crate::estimate::inputs::Inputs;
use crate::estimate::report::Report;
use crate::traffic::{Profile, Shape};
use typed::{Days, Rate};

const EXAMPLES: &str = "\
Examples:
  Two hundred messages a second, totals for 90 days and the log for 7:
    spoolhouse estimate --rate 200/s --retention 90d --raw-retention 7d

  The least repetition there can be, so the most rows and the largest:
    spoolhouse estimate --rate 200/s --retention 90d --profile uniform

  Fewer resources and more networks than the realistic traffic has:
    spoolhouse estimate --rate 5k/s --retention 30d --resources 500 --networks 2000000

  By what rows take on a server that has some; takes one slot of the proxy:
    spoolhouse estimate --rate 200/s --retention 90d --from http://proxy:8124/

  Bytes to have for the totals, for a script:
    spoolhouse estimate --rate 200/s --retention 90d --json | jq .disk.totals.high

Rows of the totals are the expected number of distinct keys per minute and batch, from
the traffic's own distributions. Everything that is assumed, and where each constant
comes from, is printed below the figures.";

/// Say how much disk, proxy and Kafka traffic a rate and a retention take
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Messages on average over a day: 200/s, 1.5k/s, 2M/min, 1000000/d
    #[arg(long, value_name = "N/s")]
    pub rate: Rate,

    /// How long totals are kept, and the log unless told otherwise: 90d, 1year
    #[arg(long, value_name = "TIME")]
    pub retention: Days,

    /// How long the log is kept [default: as long as the totals]
    #[arg(long, value_name = "TIME")]
    pub raw_retention: Option<Days>,

    /// Which traffic, as `spoolhouse produce` makes it
    #[arg(long, value_enum, default_value_t = Profile::Realistic)]
    pub profile: Profile,

    /// How many resources there are, of realistic traffic [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub resources: Option<u64>,

    /// How many networks (masked addresses) there are, of realistic traffic [default: 50000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub networks: Option<u64>,

    /// How unequal resources and networks are, of realistic traffic [default: 1]
    ///
    /// The k-th most frequent comes in proportion to 1 / k^S: with 0 all are alike,
    /// with more a few get most requests.
    #[arg(long, value_name = "S", value_parser = typed::skew)]
    pub skew: Option<f64>,

    /// Ask this server what its rows take, through the proxy at its next slot
    ///
    /// Database, table, user and password are those of the configuration. Bytes per
    /// row come from system.parts and system.projection_parts.
    #[arg(long, value_name = "URL")]
    pub from: Option<String>,

    /// Ask at once: --from is ClickHouse itself, not the proxy
    #[arg(long, requires = "from")]
    pub direct: bool,

    /// Where the configuration is, for --from.
    #[command(flatten)]
    pub config: ConfigFile,

    /// Print one JSON object instead
    #[arg(long)]
    pub json: bool,
}

/// Prints the estimate.
///
/// # Errors
/// [`Misuse`](super::Misuse) for what can't go together, and when the server of
/// `--from` gave no figures.
pub fn run(args: Args) -> Result<()> {
    let shape = shape(&args)?;
    let live = match &args.from {
        Some(url) => Some(server::ask(url, args.direct, &args.config)?),
        None => None,
    };
    let report = Report::of(Inputs {
        rate_per_s: args.rate.0,
        retention_days: args.retention.0,
        raw_retention_days: args.raw_retention.unwrap_or(args.retention).0,
        profile: args.profile,
        shape,
        live,
    })?;
    let mut stdout = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut stdout, &report)?;
        writeln!(stdout)?;
    } else {
        print::report(&mut stdout, &report)?;
    }
    Ok(())
}

/// The profile's, with what was chosen instead.
fn shape(args: &Args) -> Result<Shape> {
    let shape = args.profile.shape();
    let is_chosen = args.resources.is_some() || args.networks.is_some() || args.skew.is_some();
    if args.profile == Profile::Uniform && is_chosen {
        let problem = "--resources, --networks and --skew are for --profile realistic: in uniform \
                       traffic every value is as likely as any other";
        return Err(super::Misuse(problem.to_owned()).into());
    }
    Ok(Shape {
        resources: args.resources.unwrap_or(shape.resources),
        networks: args.networks.unwrap_or(shape.networks),
        skew: args.skew.unwrap_or(shape.skew),
        ..shape
    })
}
