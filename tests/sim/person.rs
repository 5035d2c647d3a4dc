//! People: they ask the running process for files, and run commands while it is stopped.
//! Each command is a process of its own and does what the command line does.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use spoolhouse::ingest::assignment::positions::{self, Target};
use spoolhouse::ingest::decode::redecode::redecode;
use spoolhouse::spool::inbox::{self, Request};
use spoolhouse::spool::layout::Layout;
use spoolhouse::spool::{Intake, Outlet, undecodable_replay};
use spoolhouse::time::{Clock, epoch_ms};
use spoolhouse::upload::proxy::Proxy;
use spoolhouse::upload::send;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::audit::files;
use crate::disk::SPOOL;
use crate::plan::{Command, ResetTo, Wish};
use crate::process::{INSTANCE_ID, Machine, Running};
use crate::scheduler::{Process, block_on, note, now, one_in, spawn, wait_for, wait_until};

/// How often somebody looks for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How long somebody waits for one.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file that somebody wishes to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub wish: Wish,
    pub which: u64,
    pub now: bool,
}

impl<P: Proxy + Clone + 'static> Machine<P> {
    /// Somebody asks the running process for a file and waits for the answer.
    pub fn ask(self: &Rc<Self>, asked: Asked) -> Running {
        self.process("person", move |machine, _, _| {
            let Some(id) = machine.leave_request(asked)? else {
                return Ok(());
            };
            let until = now() + PATIENCE;
            while now() < until {
                if machine.is_answered(id)? {
                    return Ok(());
                }
                wait_until(now() + LOOK_EVERY);
            }
            // Taken back, or left for whoever owns the spool next.
            if one_in(2) {
                inbox::withdraw(&machine.disk, &Layout::new(SPOOL), id)
                    .map_err(|e| e.to_string())?;
            }
            Ok(())
        })
    }

    /// Somebody runs a command that wants the spool for itself.
    pub fn run(self: &Rc<Self>, command: Command) -> Running {
        self.process("command", move |machine, process, _| match command {
            Command::Upload { wish, which, now } => {
                machine.upload(process, Asked { wish, which, now })
            }
            Command::ReplayUndecodable => machine.replay(process),
            Command::PutBack { which } => {
                machine.put_back(which);
                Ok(())
            }
            Command::ResetPosition { partition, to } => machine.reset(process, partition, to),
        })
    }

    /// Leaves a request in `inbox/`; its id, if there is such a file.
    fn leave_request(&self, asked: Asked) -> Result<Option<Uuid>, String> {
        let Some(file) = self.wished(asked) else {
            return Ok(None);
        };
        let request = Request {
            format: inbox::FORMAT,
            asked_at_ms: epoch_ms(self.clock.wall()),
            file,
            now: asked.now,
            to: None,
            doubtful: asked.wish == Wish::Doubtful,
        };
        note(
            "asks:",
            format_args!("{} now: {}", request.file, request.now),
        );
        let id = self.request_id();
        let layout = Layout::new(SPOOL);
        match inbox::ask(&self.disk, &layout, id, &request, None) {
            Ok(()) => Ok(Some(id)),
            Err(error) => {
                let _ = inbox::withdraw(&self.disk, &layout, id);
                Err(error.to_string())
            }
        }
    }

    /// A file as it is named in a request. Of what is in doubt only batches are asked for:
    /// whether somebody else has a segment's messages is for a person to know, and nobody
    /// here does.
    fn wished(&self, asked: Asked) -> Option<String> {
        let (directory, prefix) = match asked.wish {
            Wish::Ready => ("ready", "seg-"),
            Wish::Batch => ("batches", "batch-"),
            Wish::Rejected => ("rejected", "batch-"),
            Wish::Doubtful => ("doubtful", "batch-"),
        };
        let files = self.disk.files(&Path::new(SPOOL).join(directory));
        let names = files.keys().filter_map(|path| path.file_name()?.to_str());
        let names: Vec<&str> = names
            .filter(|name| name.starts_with(prefix) && name.contains(".parquet"))
            .filter(|name| !name.ends_with(".json"))
            .collect();
        let name = names.get(asked.which as usize % names.len().max(1))?;
        Some(format!("{directory}/{name}"))
    }

    fn is_answered(&self, id: Uuid) -> Result<bool, String> {
        let layout = Layout::new(SPOOL);
        let answer = inbox::answer(&self.disk, &layout, id).map_err(|error| error.to_string())?;
        let Some(answer) = answer.filter(inbox::Answer::is_final) else {
            return Ok(false);
        };
        note(
            "answered:",
            format_args!("{:?} {}", answer.state, answer.message),
        );
        inbox::forget(&self.disk, &layout, id).map_err(|error| error.to_string())?;
        Ok(true)
    }

    /// `spoolhouse upload FILE` without an owner.
    fn upload(self: &Rc<Self>, process: Process, asked: Asked) -> Result<(), String> {
        let spool = self.open(process)?;
        let Some(id) = self.leave_request(asked)? else {
            return Ok(());
        };
        let stop = CancellationToken::new();
        let sending = send::carry_out_requests(
            self.upload_options(),
            self.proxy.clone(),
            Outlet::new(spool),
            self.host(),
            stop.clone(),
        );
        let has_sent = Rc::new(Cell::new(false));
        let sent = has_sent.clone();
        spawn("upload", process, move || {
            block_on(sending);
            sent.set(true);
        });
        let until = now() + PATIENCE;
        loop {
            let is_over = wait_for(LOOK_EVERY, || has_sent.get()) || now() >= until;
            if self.is_answered(id)? {
                return Ok(());
            }
            if is_over {
                inbox::withdraw(&self.disk, &Layout::new(SPOOL), id).map_err(|e| e.to_string())?;
                stop.cancel();
                return Err("not answered".to_owned());
            }
        }
    }

    /// Puts a segment back that was packed, while batches hold all its rows.
    fn put_back(&self, which: u64) {
        let files = self.disk.files(Path::new(SPOOL));
        let records = |bytes: &Bytes| {
            files::content(bytes).map_or_else(Vec::new, |content| content.records.clone())
        };
        let in_batches = files.iter().filter(|(path, _)| {
            matches!(files::directory(path), "batches" | "sending" | "rejected")
                && files::is_published(path)
        });
        let held: BTreeSet<u64> = in_batches.flat_map(|(_, bytes)| records(bytes)).collect();
        let segments = self.disk.segments_once_ready();
        let is_held = |(path, bytes): &(&PathBuf, &Bytes)| {
            let rows = records(bytes);
            !rows.is_empty()
                && rows.iter().all(|row| held.contains(row))
                && !files.contains_key(*path)
        };
        let held: Vec<_> = segments.iter().filter(is_held).collect();
        if let Some((path, bytes)) = held.get(which as usize % held.len().max(1)) {
            note("puts back:", format_args!("{}", path.display()));
            self.disk.plant(path, (*bytes).clone());
        }
    }

    /// `spoolhouse replay-undecodable`.
    fn replay(&self, process: Process) -> Result<(), String> {
        let spool = self.open(process)?;
        let sources = undecodable_replay::sources(&self.disk, &Layout::new(SPOOL))
            .map_err(|e| e.to_string())?;
        for source in &sources {
            let mut counts = Default::default();
            undecodable_replay::replay(&spool, source, |messages| redecode(messages, &mut counts))
                .map_err(|error| format!("can't replay {}: {error}", source.name()))?;
        }
        Ok(())
    }

    /// `spoolhouse positions --reset PARTITION=OFFSET --yes`.
    fn reset(&self, process: Process, partition: i32, to: ResetTo) -> Result<(), String> {
        let spool = self.open(process)?;
        let intake = Intake::new(spool.clone());
        let client = self.kafka.inquire();
        let own = |source: &_, partition| intake.position(source, partition);
        let (source, standings) = positions::ask(&client, own).map_err(|e| e.to_string())?;
        let sealed = intake.sealed().map_err(|error| error.to_string())?;
        let target = match to {
            ResetTo::Start => Target::Start,
            ResetTo::End => Target::End,
            ResetTo::Percent(percent) => {
                let log = standings.get(&partition).map(|standing| standing.log);
                let log = log.ok_or("no such partition")?;
                Target::Offset(log.start + (log.end - log.start) * percent / 100)
            }
        };
        let is_sealed = |partition| {
            let mut ours = sealed.iter().filter(|segment| segment.source == source);
            ours.any(|segment| segment.offsets.contains_key(&partition))
        };
        let targets = [(partition, target)].into();
        let resets = positions::plan(&standings, &targets, spool.id(), is_sealed)
            .map_err(|error| error.to_string())?;
        note("resets:", format_args!("{resets:?}"));
        for reset in &resets {
            let (from, to) = (reset.from, reset.to);
            self.audit
                .position_reset(&source.topic_id, reset.partition, from, to);
        }
        positions::reset(&intake, &source, &resets, self.clock.wall(), |commits| {
            let member = self.kafka.subscribe(INSTANCE_ID);
            positions::commit_as_member(&member, commits, &self.clock)
        })
        .map_err(|error: positions::CommitError| error.to_string())
    }
}
