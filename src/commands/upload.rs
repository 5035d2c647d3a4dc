//! `spoolhouse upload`: sends files by hand, the way everything is sent.
//!
//! What is to be sent is asked for in `inbox/`. A running owner carries it out;
//! without one this process takes the lock and does so itself. Either way it is
//! the send loop that acts: this command only leaves requests and waits for answers.

mod find_file;
mod wait;

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::wiring::{self, open_spool};
use super::{ConfigFile, Misuse, status};
use crate::config::Loaded;
use crate::spool::Outlet;
use crate::spool::disk::lock::LockError;
use crate::spool::disk::{Disk, LocalDisk, parent};
use crate::spool::inbox::{self, Request, State};
use crate::spool::layout::Layout;
use crate::spool::read_only::snapshot;
use crate::spool::start::OpenError;
use crate::text::plural;
use crate::time::epoch_ms;
use crate::upload::send::{self, request_queue};
use find_file::{Place, Subject};
use wait::{Ended, Waiter};

const EXAMPLES: &str = "\
Examples:
  A batch that ClickHouse refused, after its table was mended:
    spoolhouse upload rejected/batch-0000000039-9f86d0….parquet

  Everything that was refused, past the proxy and without waiting for slots:
    spoolhouse upload rejected/*.parquet --to http://clickhouse-1:8123 --now

  What would be done with a segment, and under which token:
    spoolhouse upload ready/seg-0000000042.parquet --dry-run

A file of the spool may be named from the spool's directory, wherever you are. A
segment is frozen into a batch first (or several, if it is larger than a request),
so that its rows never go under two tokens. A batch keeps its token and its
settings. It goes before everything but a batch in sending/ whose fate is unknown,
and is gone from the spool when ClickHouse has confirmed it.

A file from outside the spool may be any Parquet file of the table's nine columns;
its token is the SHA-256 of its bytes. It is removed when it is stored, unless you
say --keep. Only that token keeps its rows from being stored twice: nobody knows
whether they came, or will come, another way, or whether addresses are masked.

While another process owns the spool, it is asked to send the file; Ctrl-C takes
the request back, and what is in line by then stays in line. A command that was
killed leaves its request, and that is carried out, by the next `run` if need be.
Without an owner this process owns the spool meanwhile: a `run` can't start.

The exit code is 0 if every file is stored (or was already gone), 1 if one was not
and is kept, 2 if one can't be sent like this.";

/// Send files by hand: segments, batches, what was rejected, or any other file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,

    /// Try once, at once, instead of waiting for the proxy's slot; a refusal
    /// costs nothing
    #[arg(long)]
    pub now: bool,

    /// Post to this URL instead of upload.url, with the same user and password.
    /// Tokens know only one server: what another one may have stored already is
    /// stored twice
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,

    /// Also send files of doubtful/: you have read the reason, looked in
    /// ClickHouse, and decided that their rows are to be stored
    #[arg(long)]
    pub doubtful: bool,

    /// Keep a file from outside the spool when it is stored
    #[arg(long)]
    pub keep: bool,

    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Sends the files, one after the other.
///
/// # Errors
/// [`Misuse`] for a file that can't be sent like this, anything else when one
/// was not stored.
pub fn run(args: Args) -> Result<()> {
    let loaded = args.config.load()?;
    let to = args.to.as_deref().map(request_queue::target).transpose();
    let to = to.map_err(|declined| Misuse(format!("--to {declined}")))?;
    let layout = Layout::new(&loaded.config.spool.dir);
    let subjects: Vec<Subject> = args
        .files
        .iter()
        .map(|file| find_file::find(file, &loaded, &layout, args.doubtful))
        .collect::<Result<_, _>>()?;
    if args.keep
        && let Some(ours) = subjects.iter().find(|subject| !subject.is_outside())
    {
        let problem = format!(
            "{}: --keep is for files outside the spool; one of the spool goes when it is stored",
            ours.shown()
        );
        return Err(Misuse(problem).into());
    }
    if args.dry_run {
        return dry_run(&args, &loaded, &layout, to.as_ref(), &subjects);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("can't start the runtime")?;
    let done = runtime.block_on(upload(&args, &loaded, &layout, &subjects));
    // A post that is still under way is left behind; its batch is in sending/.
    runtime.shutdown_background();
    done
}

async fn upload(args: &Args, loaded: &Loaded, layout: &Layout, subjects: &[Subject]) -> Result<()> {
    let stop = CancellationToken::new();
    let (spool, owner) = match open_spool(loaded) {
        Ok(spool) => (Some(spool), None),
        Err(error) => match error.downcast_ref() {
            Some(OpenError::Lock {
                why: LockError::Owned(pid),
                ..
            }) => (None, Some(pid.clone())),
            _ => return Err(error),
        },
    };
    let ids = ask(args, layout, subjects)?;
    let sending = match spool {
        None => None,
        Some(spool) => Some(tokio::spawn(send::carry_out_requests(
            wiring::upload_options(&loaded.config),
            wiring::transport(&loaded.config)?,
            Outlet::new(spool),
            send::Host::default(),
            stop.clone(),
        ))),
    };
    let mut waiter = Waiter::new(layout, owner, sending);
    let mut not_stored = Vec::new();
    for (place, (subject, id)) in subjects.iter().zip(&ids).enumerate() {
        let name = subject.shown();
        match waiter.wait(&name, *id).await? {
            Ended::Answered(answer) => {
                let why = match answer.state {
                    State::Stored | State::Gone => {
                        let rows = plural(answer.rows, "row");
                        match answer.state {
                            State::Stored => println!("{name}: stored, {rows}"),
                            _ => println!("{name}: {}", answer.message),
                        }
                        if let (State::Stored, Place::Outside { path, .. }, false) =
                            (answer.state, &subject.place, args.keep)
                        {
                            remove(path)?;
                        }
                        continue;
                    }
                    _ => answer.message,
                };
                eprintln!("{name}: not stored: {why}");
                not_stored.push(answer.state);
            }
            Ended::Interrupted => {
                for id in &ids[place..] {
                    inbox::withdraw(&LocalDisk, layout, *id)?;
                }
                stop.cancel();
                bail!(
                    "interrupted: what was asked for is taken back; nothing is lost, and a batch \
                     that is in batches/ or sending/ by now goes with the next `spoolhouse run`"
                );
            }
            Ended::OwnerLeft => bail!(
                "the process that owned the spool has ended; {name} stays asked for in inbox/: \
                 the next `spoolhouse run` sends it, or this command does if you run it again"
            ),
        }
    }
    let total = subjects.len();
    match not_stored.len() {
        0 => Ok(()),
        _ if not_stored.iter().all(|state| *state == State::Declined) => Err(Misuse(format!(
            "{} of {} can't be sent like this",
            not_stored.len(),
            plural(total as u64, "file")
        ))
        .into()),
        missing => bail!(
            "{missing} of {} not stored, and kept",
            plural(total as u64, "file")
        ),
    }
}

/// Leaves a request for each file; their ids.
fn ask(args: &Args, layout: &Layout, subjects: &[Subject]) -> Result<Vec<Uuid>> {
    let now_ms = epoch_ms(SystemTime::now());
    let mut ids = Vec::new();
    for (place, subject) in subjects.iter().enumerate() {
        let id = Uuid::new_v4();
        let (file, copy) = match &subject.place {
            Place::Inside(place) => (place.clone(), None),
            Place::Outside { bytes, .. } => {
                let file = format!("inbox/{}", inbox::copy_name(id));
                (file, Some(&bytes[..]))
            }
        };
        let request = Request {
            format: inbox::FORMAT,
            // One after the other, as they were named.
            asked_at_ms: now_ms + place as u64,
            file,
            now: args.now,
            to: args.to.clone(),
            doubtful: args.doubtful,
        };
        ids.push(id);
        if let Err(error) = inbox::ask(&LocalDisk, layout, id, &request, copy) {
            for id in ids {
                let _ = inbox::withdraw(&LocalDisk, layout, id);
            }
            return Err(error).context("can't leave the request in inbox/; nothing was changed");
        }
    }
    Ok(ids)
}

/// Removes a file from outside the spool that is stored now.
fn remove(path: &std::path::Path) -> Result<()> {
    LocalDisk
        .remove(path)
        .and_then(|()| LocalDisk.sync_dir(parent(path)))
        .with_context(|| {
            format!(
                "{} is stored, but can't be removed: remove it, so that nobody sends it again",
                path.display()
            )
        })
}

fn dry_run(
    args: &Args,
    loaded: &Loaded,
    layout: &Layout,
    to: Option<&Url>,
    subjects: &[Subject],
) -> Result<()> {
    for subject in subjects {
        println!("{}", subject.plan(loaded, layout, to, args.keep)?);
    }
    match snapshot::owner(layout)? {
        Some(pid) => println!("the process that owns the spool (pid {pid}) would be asked"),
        None => println!("nobody owns the spool: this process would"),
    }
    let slot = status::slot(&loaded.config, layout);
    match (args.now, to) {
        (true, _) => println!("it would be tried at once"),
        (false, Some(_)) => println!("it would go at once: that server's pace is not known"),
        _ => println!("the next slot is expected in {}", wait::seconds(slot.wait)),
    }
    println!("nothing was changed");
    Ok(())
}
