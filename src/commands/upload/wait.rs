//! Waits for the answer to a request and shows how far it is: on a terminal a
//! line with a countdown, elsewhere a line whenever something changes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use indicatif::ProgressBar;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::commands::terminal::progress_bar;
use crate::spool::disk::LocalDisk;
use crate::spool::inbox::{self, Answer};
use crate::spool::layout::Layout;
use crate::spool::read_only::snapshot;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An owner is looked for so often.
const OWNER_EVERY: Duration = Duration::from_secs(1);

/// How long an owner may be away: a restart is shorter.
const OWNER_AWAY_MAX: Duration = Duration::from_secs(15);

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With a final answer.
    Answered(Answer),
    /// By Ctrl-C or SIGTERM.
    Interrupted,
    /// The process that was asked has ended, and none took its place.
    OwnerLeft,
}

/// The send loop of this process.
type Sending = JoinHandle<()>;

/// Waits for answers.
pub(super) struct Waiter<'w> {
    layout: &'w Layout,
    /// The pid of the owner that was asked.
    owner: Option<String>,
    /// Our own send loop, if we are the owner.
    sending: Option<Sending>,
    bar: ProgressBar,
    said: String,
    owner_seen: Instant,
    owner_looked: Instant,
}

impl<'w> Waiter<'w> {
    pub fn new(layout: &'w Layout, owner: Option<String>, sending: Option<Sending>) -> Self {
        let now = Instant::now();
        Self {
            layout,
            owner,
            sending,
            bar: progress_bar::spinner("{spinner} {wide_msg}"),
            said: String::new(),
            owner_seen: now,
            owner_looked: now,
        }
    }

    /// Waits for the final answer to this request.
    ///
    /// # Errors
    /// When `inbox/` can't be read, or our own send loop ended without it.
    pub async fn wait(&mut self, name: &str, id: Uuid) -> Result<Ended> {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        loop {
            let has_ended = self.sending.as_ref().is_some_and(JoinHandle::is_finished);
            let answer = inbox::answer(&LocalDisk, self.layout, id)?;
            match answer {
                Some(answer) if answer.is_final() => {
                    self.bar.finish_and_clear();
                    inbox::forget(&LocalDisk, self.layout, id)?;
                    return Ok(Ended::Answered(answer));
                }
                answer => self.show(name, answer.as_ref()),
            }
            if has_ended && let Some(sending) = self.sending.take() {
                self.bar.finish_and_clear();
                sending.await?;
                return Err(anyhow!("{name}: the send loop ended without an answer"));
            }
            if self.owner_has_left()? {
                self.bar.finish_and_clear();
                return Ok(Ended::OwnerLeft);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = tokio::signal::ctrl_c() => return Ok(self.interrupted()),
                _ = terminate.recv() => return Ok(self.interrupted()),
            }
        }
    }

    fn interrupted(&self) -> Ended {
        self.bar.finish_and_clear();
        Ended::Interrupted
    }

    fn owner_has_left(&mut self) -> Result<bool> {
        if self.owner.is_none() || self.owner_looked.elapsed() < OWNER_EVERY {
            return Ok(false);
        }
        self.owner_looked = Instant::now();
        if snapshot::owner(self.layout)?.is_some() {
            self.owner_seen = self.owner_looked;
        }
        Ok(self.owner_seen.elapsed() > OWNER_AWAY_MAX)
    }

    fn show(&mut self, name: &str, answer: Option<&Answer>) {
        let what = match (answer, &self.owner) {
            (Some(answer), _) => answer.message.clone(),
            (None, Some(pid)) => format!("asked the owner of the spool (pid {pid})"),
            (None, None) => "looking for it".to_owned(),
        };
        let due = answer.and_then(|answer| answer.due_ms);
        let due = due.map(|due| UNIX_EPOCH + Duration::from_millis(due));
        let left = due.map(|due| due.duration_since(SystemTime::now()).unwrap_or_default());
        let when = left.map(|left| match left.is_zero() {
            true => "under way".to_owned(),
            false => format!("goes in {}", seconds(left)),
        });
        let said = format!("{name}: {what}");
        if !self.bar.is_hidden() {
            // The countdown first: a terminal is seldom as wide as the names of
            // two batches, and what is too long loses its end.
            let line = when.into_iter().chain([said]).collect::<Vec<_>>();
            self.bar.set_message(line.join(": "));
            self.bar.tick();
        } else if self.said != said {
            let when = when.map(|when| format!("; {when}")).unwrap_or_default();
            eprintln!("{said}{when}");
            self.said = said;
        }
    }
}

/// A wait in whole seconds, rounded up: a countdown ends at zero.
pub(super) fn seconds(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1000) as u64;
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}
