//! `spoolhouse run`: the daemon. Starts ingest, upload and the status server, and
//! takes them down again at a signal.
//!
//! Ingest has a thread of its own, upload and the status server share the runtime.
//! One that fails takes the others down in order, so that what was taken in is sealed
//! and committed. A second signal ends the process at once;
//! that is safe as well, since a start repairs whatever a crash leaves.

mod publish_status;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use publish_status::Watched;

use super::ConfigFile;
use super::wiring::{
    headroom, kafka_options, open_spool, transport, undecodable_limits, upload_options,
};
use crate::config::Loaded;
use crate::failpoint;
use crate::ingest::kafka::Consumer;
use crate::ingest::{run, telemetry};
use crate::observe;
use crate::observe::board::Board;
use crate::spool::{Intake, Outlet};
use crate::time::SystemClock;
use crate::upload::send;

/// How often the age of undecodable messages is looked at.
const TIDY_EVERY: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  With the spoolhouse.toml of the working directory:
    spoolhouse run

  With another one, one key set otherwise, and a line per event in JSON:
    SPOOLHOUSE_UPLOAD__INTERVAL=10s spoolhouse run --config /etc/spoolhouse.toml \\
        --log-format json

SIGTERM or Ctrl-C seals, commits and leaves; a second one leaves at once, and that
is safe, too. Start it again after any end: what a crash cut short is repaired.";

/// Carry records until stopped by SIGINT or SIGTERM
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// A [`ConfigError`](crate::config::ConfigError) when the configuration can't be used, anything
/// else when a part of it fails.
pub fn run(args: Args) -> anyhow::Result<()> {
    if let Ok(step) = std::env::var(failpoint::VARIABLE) {
        failpoint::arm(&step).map_err(anyhow::Error::msg)?;
    }
    let loaded = args.config.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the runtime")?;
    let done = runtime.block_on(daemon(&loaded));
    // Whatever still blocks (a post, a question to Kafka) is left behind.
    runtime.shutdown_background();
    done
}

async fn daemon(loaded: &Loaded) -> anyhow::Result<()> {
    let config = &loaded.config;
    let mut signals = Signals::listen()?;
    let metrics = observe::metrics::install().context("can't install the metrics")?;
    let started = SystemTime::now();
    let since_1970 = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics::gauge!("spoolhouse_started_timestamp_seconds").set(since_1970);
    let listener = TcpListener::bind(config.observe.listen)
        .await
        .map_err(|error| loaded.blame("observe.listen", error))?;
    // Port 0 in the configuration is any free one: tell which it became.
    let listen = listener
        .local_addr()
        .map_err(|error| loaded.blame("observe.listen", error))?;
    let spool = open_spool(loaded)?;
    tracing::info!(
        spool = %spool.root().display(),
        id = %spool.id(),
        bytes = spool.bytes(),
        %listen,
        "started",
    );

    let stop = CancellationToken::new();
    let sending = upload_options(config);
    let reading = telemetry::View::default();
    let board = Board::new(vec![
        ("ingest", reading.heartbeat.clone()),
        ("upload", sending.view.heartbeat.clone()),
    ]);
    let watched = Watched {
        config: config.clone(),
        started,
        reading: reading.clone(),
        sending: sending.view.clone(),
        board: board.clone(),
    };
    tokio::spawn(publish_status::run(watched, stop.clone()));
    let mut observing = tokio::spawn(observe::serve(listener, metrics, board, stop.clone()));
    let mut uploading = tokio::spawn(send::run(
        sending,
        transport(config)?,
        Outlet::new(spool.clone()),
        send::Host::default(),
        stop.clone(),
    ));
    let intake = Intake::with_limits(spool.clone(), undecodable_limits(config));
    tokio::spawn(tidy_undecodable(intake.clone(), stop.clone()));
    let options = run::Options {
        headroom: headroom(config),
        view: reading,
    };
    let kafka = kafka_options(config, spool.id());
    let mut ingesting = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || {
            let consumer = Consumer::subscribe(kafka)?;
            run::run(options, &consumer, intake, Arc::new(SystemClock), &stop)
        }
    });
    publish_status::tell_manager(&[NotifyState::Ready]);

    let mut ingest_ended = None;
    let trouble = tokio::select! {
        () = signals.received() => None,
        ended = &mut ingesting => {
            ingest_ended = Some(());
            Some(failure("ingest", ended))
        }
        ended = &mut uploading => Some(failure("upload", ended.map(Ok::<(), Infallible>))),
        ended = &mut observing => Some(failure("the status server", ended)),
    };
    publish_status::tell_manager(&[NotifyState::Stopping]);
    tracing::info!("stopping: sealing and committing what was taken in");
    stop.cancel();
    let leave = async {
        if ingest_ended.is_none() {
            match ingesting.await {
                Ok(Ok(())) => {}
                ended => tracing::error!("{:#}", failure("ingest", ended)),
            }
        }
        let _ = (&mut uploading).await;
    };
    tokio::select! {
        () = leave => tracing::info!("stopped"),
        () = tokio::time::sleep(config.run.shutdown_after) => tracing::warn!(
            "left after {:?} without waiting any longer; the next start goes on from here",
            config.run.shutdown_after,
        ),
        () = signals.received() => tracing::warn!("second signal: left at once"),
    }
    trouble.map_or(Ok(()), Err)
}

/// What ended although nobody asked it to.
fn failure<E: std::error::Error + Send + Sync + 'static>(
    what: &str,
    ended: Result<Result<(), E>, tokio::task::JoinError>,
) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("{what} ended without being asked to"),
        Ok(Err(error)) => anyhow::Error::new(error).context(format!("{what} failed")),
        Err(error) => anyhow::Error::new(error).context(format!("{what} panicked")),
    }
}

/// Looks once a minute whether undecodable messages are too old.
async fn tidy_undecodable(intake: Intake, stop: CancellationToken) {
    let mut minutes = tokio::time::interval(TIDY_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = minutes.tick() => {}
        }
        let intake = intake.clone();
        // A turn never panics for what it finds; if it does, the next one tries again.
        let _ =
            tokio::task::spawn_blocking(move || intake.tidy_undecodable(SystemTime::now())).await;
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("can't listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("can't listen for SIGINT")?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
