//! `spoolhouse run`: the daemon. Puts the rooms together and takes them down
//! again at a signal.
//!
//! Ingest has a thread of its own, upload and the status server share the
//! runtime. A room that fails takes the others down in order, so that what was
//! taken in is sealed and committed. A second signal ends the process at once;
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

use super::{ConfigFile, kafka_options, open_spool};
use crate::config::{Config, Loaded};
use crate::failpoint;
use crate::ingest::headroom::Headroom;
use crate::ingest::kafka::Consumer;
use crate::ingest::{consume, progress, window};
use crate::observe;
use crate::observe::board::Board;
use crate::spool::effort::Effort;
use crate::spool::undecodable::limits::Limits;
use crate::spool::{Intake, Outlet};
use crate::time::SystemClock;
use crate::upload::transport::{Transport, TransportError, TransportOptions};
use crate::upload::{pacer, request, send, settings, view};

/// Undecodable messages may take one part in so many of the spool's budget.
const UNDECODABLE_SHARE: u64 = 4;

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
/// else when a room fails.
pub fn run(args: Args) -> anyhow::Result<()> {
    if let Ok(step) = std::env::var(failpoint::VARIABLE) {
        failpoint::arm(&step).map_err(anyhow::Error::msg)?;
    }
    let loaded = args.config.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the runtime")?;
    let done = runtime.block_on(house(&loaded));
    // Whatever still blocks (a post, a question to Kafka) is left behind.
    runtime.shutdown_background();
    done
}

async fn house(loaded: &Loaded) -> anyhow::Result<()> {
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
    let reading = progress::View::default();
    let board = Board::new(vec![
        ("ingest", reading.pulse.clone()),
        ("upload", sending.view.pulse.clone()),
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
    let options = consume::Options {
        headroom: headroom(config),
        view: reading,
    };
    let kafka = kafka_options(config, spool.id());
    let mut ingesting = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || {
            let consumer = Consumer::subscribe(kafka)?;
            consume::run(options, &consumer, intake, Arc::new(SystemClock), &stop)
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

/// A room that ended although nobody asked it to.
fn failure<E: std::error::Error + Send + Sync + 'static>(
    room: &str,
    ended: Result<Result<(), E>, tokio::task::JoinError>,
) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("{room} ended without being asked to"),
        Ok(Err(error)) => anyhow::Error::new(error).context(format!("{room} failed")),
        Err(error) => anyhow::Error::new(error).context(format!("{room} panicked")),
    }
}

/// Their budget is at most a part of the spool's: garbage can't stop ingest.
fn undecodable_limits(config: &Config) -> Limits {
    let spool = &config.spool;
    Limits {
        bytes_max: spool
            .undecodable_max_bytes
            .min(spool.max_bytes / UNDECODABLE_SHARE),
        age_max: spool.undecodable_max_age,
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

/// What the spool may take.
pub(crate) fn headroom(config: &Config) -> Headroom {
    Headroom {
        spool_bytes_max: config.spool.max_bytes,
        free_bytes_min: config.spool.min_free,
        batch_bytes_max: config.upload.max_body,
        window: window::Limits {
            roll_after: config.spool.roll_after,
            roll_bytes: config.spool.roll_bytes,
        },
    }
}

/// What the send loop is asked to do.
pub(crate) fn upload_options(config: &Config) -> send::Options {
    let upload = &config.upload;
    send::Options {
        target: request::Target {
            url: upload.url.clone(),
            database: upload.database.clone(),
            table: upload.table.clone(),
        },
        settings: settings::effective(&upload.settings),
        encoding: upload.encoding,
        effort: Effort::new(upload.pack_effort_ppm, upload.interval),
        pace: pacer::PaceOptions {
            url: upload.url.to_string(),
            interval_ms: u64::try_from(upload.interval.as_millis()).unwrap_or(u64::MAX),
            body_bytes_max: upload.max_body,
        },
        data_attempts_max: upload.data_retries,
        view: view::View::default(),
    }
}

/// The way to the configured proxy.
pub(super) fn transport(config: &Config) -> Result<Transport, TransportError> {
    let upload = &config.upload;
    let options = TransportOptions {
        user: upload.user.clone(),
        password_file: upload.password_file.clone(),
        auth: upload.auth,
        ca_file: upload.ca_file.clone(),
        timeout: upload.timeout,
        ..TransportOptions::default()
    };
    Transport::new(options, upload.url.scheme() == "https")
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
