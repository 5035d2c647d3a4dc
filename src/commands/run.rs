//! `spoolhouse run`: the daemon. Puts the rooms together and takes them down
//! again at a signal.

use std::path::PathBuf;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::{self, Loaded};
use crate::observe;

/// Arguments of `spoolhouse run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file [default: spoolhouse.toml in the working
    /// directory, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// A [`config::ConfigError`] when the configuration can't be used, anything
/// else when a room fails.
pub fn run(args: Args) -> anyhow::Result<()> {
    let loaded = config::load(args.config.as_deref(), std::env::vars_os())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the runtime")?;
    runtime.block_on(house(loaded))
}

async fn house(loaded: Loaded) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let metrics = observe::metrics::install().context("can't install the metrics")?;
    let listener = TcpListener::bind(loaded.config.observe.listen)
        .await
        .map_err(|error| loaded.blame("observe.listen", error))?;
    info!(listen = %loaded.config.observe.listen, "serving metrics");
    let observing = tokio::spawn(observe::serve(listener, metrics, stop.clone()));
    // Ingest and upload are started here at merge.
    stopped().await?;
    info!("stopping");
    stop.cancel();
    observing
        .await
        .context("the metrics' server panicked")?
        .context("the metrics' server failed")
}

/// Waits for a signal that asks the process to end.
async fn stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
