//! The spool at work: ingest's loop and the send loop around the real
//! [`Intake`], [`Outlet`], [`Commits`] and hand-over rules, with the simulated
//! [`World`] in place of Kafka's client and of HTTP. It decides by the same
//! rules ([`resume`], [`History`]) and acts as `ingest/run.rs` and
//! `upload/send.rs` do, error by error.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use spoolhouse::ingest::assignment::resume::{self, Verdict};
use spoolhouse::ingest::commit::Committed;
use spoolhouse::ingest::commit_tracker::Commits;
use spoolhouse::spool::format::footer::SegmentFooter;
use spoolhouse::spool::format::segment::{Finished, OpenSegment};
use spoolhouse::spool::format::undecodable::Message;
use spoolhouse::spool::intake::Gap;
use spoolhouse::spool::layout::Layout;
use spoolhouse::spool::outlet::{Batch, PackOptions, Rejection};
use spoolhouse::spool::outlet::{Brought, Leave, Wanted};
use spoolhouse::spool::quarantine::Doubt;
use spoolhouse::spool::start::OpenError;
use spoolhouse::spool::{Intake, Outlet, Spool};
use spoolhouse::time::SystemClock;
use spoolhouse::upload::outcome::disposition::{Configured, Disposition, History};
use spoolhouse::upload::outcome::error_codes;
use spoolhouse::upload::outcome::{Outcome, Reason, Refusal};
use uuid::Uuid;

use super::segments::{rows_of, source};
use super::sim_disk::SimDisk;
use super::world::{SPOOL, World};

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    Acknowledged,
    /// Kafka has it, and we don't know.
    AnswerLost,
    /// Kafka never saw it.
    Lost,
}

/// After so many refusals of its data a batch goes aside.
const DATA_ATTEMPTS_MAX: u32 = 1;

/// What becomes of a request that the body limit lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Stored,
    UnknownButStored,
    UnknownNotStored,
    Throttled,
    /// For its data, once too often.
    Refused,
    /// The server can't read the file.
    Unreadable,
    /// The server lacks a setting of the insert.
    UnknownSetting,
}

/// The messages since the last seal.
#[derive(Debug, Default)]
struct Window {
    records: Vec<(i32, i64)>,
    undecodable: Vec<(i32, i64)>,
    covers: BTreeMap<i32, (i64, i64)>,
}

impl Answer {
    /// As the real answers are classified.
    fn outcome(self) -> Outcome {
        let reason = |may_be_stored| Reason {
            status: None,
            code: None,
            may_be_stored,
            message: "simulated".to_owned(),
        };
        match self {
            Answer::Stored => Outcome::Stored,
            Answer::UnknownButStored | Answer::UnknownNotStored => Outcome::Unknown(reason(true)),
            Answer::Throttled => Outcome::Throttled { retry_after: None },
            Answer::Refused => Outcome::Refused(Refusal::Data(reason(false))),
            Answer::Unreadable => Outcome::Refused(Refusal::Format(reason(false))),
            Answer::UnknownSetting => Outcome::Refused(Refusal::Operator(Reason {
                code: Some(error_codes::UNKNOWN_SETTING),
                ..reason(false)
            })),
        }
    }
}

#[derive(Debug)]
struct Post {
    batch: Batch,
    history: History,
}

impl Post {
    fn new(batch: Batch) -> Self {
        let history = History {
            may_be_stored: batch.fate_unknown,
            ..History::default()
        };
        Self { batch, history }
    }
}

/// One process's life with the spool.
#[derive(Debug)]
pub struct Driver {
    world: Arc<Mutex<World>>,
    pub spool: Spool,
    pub intake: Intake,
    pub outlet: Outlet,
    /// What is read next of the partitions that are ours.
    pub positions: BTreeMap<i32, i64>,
    window: Window,
    unsaved: Option<Finished>,
    commits: Commits,
    released: VecDeque<SegmentFooter>,
    post: Option<Post>,
}

impl Driver {
    /// Starts: opens the spool, which has no partitions yet.
    pub fn start(disk: &SimDisk, world: &Arc<Mutex<World>>) -> Result<Self, OpenError> {
        let disk = Arc::new(disk.clone());
        let spool = Spool::open_on(
            disk,
            Layout::new(SPOOL),
            None,
            Uuid::from_u128(1),
            Arc::new(SystemClock),
        )?;
        Ok(Self {
            world: world.clone(),
            intake: Intake::new(spool.clone()),
            outlet: Outlet::new(spool.clone()),
            spool,
            positions: BTreeMap::new(),
            window: Window::default(),
            unsaved: None,
            commits: Commits::default(),
            released: VecDeque::new(),
            post: None,
        })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    /// All partitions are assigned: judges what is sealed, finds the starts.
    pub fn start_reading(&mut self) -> io::Result<()> {
        let world = self.world().clone();
        let sealed = self.intake.sealed()?;
        let mut starts = BTreeMap::new();
        for (&partition, &log) in &world.logs {
            let own = self.intake.position(&source(), partition);
            let committed = world.committed.get(&partition);
            let start = resume::start(own, committed, self.intake.spool_id(), log);
            if let Some(lost) = start.lost {
                self.intake.record_gap(&Gap {
                    time: "2026-01-02T03:04:05Z".to_owned(),
                    source: source(),
                    partition,
                    from: lost.0,
                    to: lost.1,
                })?;
            }
            starts.insert(partition, start.offset);
        }
        let partitions: Vec<i32> = world.logs.keys().copied().collect();
        self.commits = Commits::new(&world.committed);
        for segment in sealed {
            match resume::judge(&segment, &source(), &partitions, &world.committed) {
                Verdict::Ready => self.intake.ready(&segment)?,
                Verdict::Adopt => self.commits.sealed(segment),
                Verdict::Wait => {}
                Verdict::Doubt => self.intake.doubt(&segment, &Doubt::CommittedElsewhere)?,
            }
        }
        self.intake.record_positions(&source(), &starts)?;
        self.positions = starts;
        Ok(())
    }

    /// The assignment is lost: seals what was taken in; nothing is acknowledged.
    pub fn lose_assignment(&mut self) {
        if self.unsaved.is_none() {
            self.close_window();
        }
        let _ = self.save();
        if let Some(finished) = self.unsaved.take() {
            let _ = self.intake.abandon(&finished);
        }
        let _ = self.hand_over();
        self.released.clear();
        self.commits = Commits::default();
        self.window = Window::default();
        self.positions.clear();
    }

    /// Takes in up to `count` messages of a partition, as far as there are any.
    pub fn take_in(&mut self, partition: i32, count: i64) {
        let end = self.world().logs[&partition].end;
        let Some(position) = self.positions.get_mut(&partition) else {
            return;
        };
        if self.unsaved.is_some() {
            return; // paused
        }
        for offset in *position..end.min(*position + count) {
            if World::is_undecodable(partition, offset) {
                self.window.undecodable.push((partition, offset));
            } else {
                self.window.records.push((partition, offset));
            }
            let cover = self.window.covers.entry(partition);
            cover.or_insert((offset, offset)).1 = offset + 1;
            *position = offset + 1;
        }
    }

    /// Closes the window and publishes it; after an error the next call tries again.
    pub fn seal(&mut self) -> io::Result<()> {
        if self.unsaved.is_none() {
            self.close_window();
        }
        self.save()
    }

    fn close_window(&mut self) {
        let window = std::mem::take(&mut self.window);
        if window.covers.is_empty() {
            return;
        }
        let mut segment = OpenSegment::new().unwrap();
        if !window.records.is_empty() {
            segment.write(&rows_of(&window.records)).unwrap();
        }
        for (partition, offset) in window.undecodable {
            segment.keep_undecodable(Message {
                partition,
                offset,
                error: "no record".to_owned(),
                bytes: Bytes::from(format!("{partition}/{offset}")),
            });
        }
        for (partition, (from, to)) in window.covers {
            segment.cover(partition, from, to);
        }
        self.unsaved = Some(self.intake.finish(segment, &source()).unwrap());
    }

    fn save(&mut self) -> io::Result<()> {
        if let Some(finished) = &self.unsaved {
            self.intake.seal(finished)?;
            self.commits.sealed(finished.footer.clone());
            self.unsaved = None;
        }
        Ok(())
    }

    /// Commits what is sealed.
    pub fn commit(&mut self, how: Commit) {
        let wanted = self.commits.wanted();
        if how != Commit::Lost {
            for (partition, (offset, signature)) in &wanted {
                let commit = Committed {
                    offset: *offset,
                    signature: Some(signature.clone()),
                };
                self.world().committed.insert(*partition, commit);
            }
        }
        if how == Commit::Acknowledged {
            let offsets = wanted.iter().map(|(p, (offset, _))| (*p, *offset));
            let released = self.commits.acknowledged(&offsets.collect());
            self.released.extend(released);
        }
    }

    /// Makes ready what is acknowledged; after an error the next call goes on.
    pub fn hand_over(&mut self) -> io::Result<()> {
        while let Some(segment) = self.released.front() {
            self.intake.ready(segment)?;
            self.released.pop_front();
        }
        Ok(())
    }

    /// Finds the next batch, packing it if need be; whether there is one.
    pub fn find(&mut self) -> io::Result<bool> {
        if self.post.is_none() {
            let options = self.options();
            self.post = self.outlet.next(&options)?.map(Post::new);
        }
        Ok(self.post.is_some())
    }

    fn options(&self) -> PackOptions {
        let world = self.world();
        PackOptions {
            bytes_max: world.body_bytes_max as u64,
            encoding: world.encoding,
            settings: world.settings.clone(),
            ..PackOptions::default()
        }
    }

    /// An operator asks for a file: whether a batch goes for it. One whose
    /// first byte may have left is not passed.
    pub fn bring(&mut self, place: &str) -> io::Result<bool> {
        if self.post.as_ref().is_some_and(|post| post.batch.is_begun()) {
            return Ok(false);
        }
        self.post = None;
        let wanted = Wanted::parse(place, true).unwrap();
        let leave = Leave {
            take_back: true,
            pass: false,
        };
        match self.outlet.bring(&wanted, leave, &self.options())? {
            Brought::Batch(batch) => {
                self.post = Some(Post::new(*batch));
                Ok(true)
            }
            Brought::Gone | Brought::Declined(_) => Ok(false),
            Brought::Rejected(name) => panic!("{name} was to be taken back"),
        }
    }

    /// Size of the batch that is being sent.
    pub fn bytes_to_post(&self) -> Option<usize> {
        Some(self.post.as_ref()?.batch.bytes.len())
    }

    /// Moves the batch to `sending/`.
    pub fn begin(&mut self) -> io::Result<()> {
        match &mut self.post {
            Some(post) => self.outlet.begin(&mut post.batch),
            None => Ok(()),
        }
    }

    /// Posts the batch, if it may be, and acts on what is answered.
    pub fn post(&mut self, answer: Answer) -> io::Result<()> {
        self.begin()?;
        let Some(mut post) = self.post.take() else {
            return Ok(());
        };
        let _ = self.outlet.pace_file().replace(b"{\"sent\": 1}\n");
        let batch = &post.batch;
        let bytes_max = self.world().body_bytes_max;
        let is_too_large = batch.bytes.len() > bytes_max;
        if !is_too_large && matches!(answer, Answer::Stored | Answer::UnknownButStored) {
            self.world().insert(&batch.digest, &batch.bytes);
        }
        let _ = self
            .outlet
            .pace_file()
            .replace(b"{\"sent\": 1, \"answered\": 1}\n");
        let outcome = match is_too_large {
            true => Outcome::TooLarge,
            false => answer.outcome(),
        };
        let options = self.options();
        let configured = Configured {
            settings: &options.settings,
            encoding: options.encoding,
            data_attempts_max: DATA_ATTEMPTS_MAX,
        };
        match post.history.judge(&outcome, &batch.footer, configured) {
            Disposition::Again => self.post = Some(post),
            Disposition::AgainRecalled => {
                self.outlet.recall(&mut post.batch)?;
                self.post = Some(post);
            }
            Disposition::Remove => self.outlet.stored(batch)?,
            Disposition::Split => self.outlet.split(batch, bytes_max as u64)?,
            Disposition::Reject(_) => {
                let why = Rejection {
                    attempts: post.history.attempts,
                    ..Rejection::default()
                };
                self.outlet.reject(batch, &why)?;
            }
            Disposition::Doubt(fault) => self.outlet.doubt(batch, &fault)?,
        }
        Ok(())
    }

    /// From wherever it is to everything stored, with nothing in the way.
    pub fn finish(&mut self) -> io::Result<()> {
        let partitions: Vec<i32> = self.positions.keys().copied().collect();
        for partition in partitions {
            self.take_in(partition, i64::MAX / 2);
        }
        self.seal()?;
        self.commit(Commit::Acknowledged);
        self.hand_over()?;
        while self.find()? {
            self.post(Answer::Stored)?;
        }
        Ok(())
    }
}
