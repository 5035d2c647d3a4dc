//! The processes of one machine: the daemon, put together as `spoolhouse run` does it,
//! with each loop an actor of its own; and what a person runs while it is stopped.
//!
//! A process ends by itself, is killed, or loses its power with all others of the machine.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use spoolhouse::ingest::backpressure::Headroom;
use spoolhouse::ingest::{run, telemetry, window};
use spoolhouse::spool::format::encoding::Encoding;
use spoolhouse::spool::layout::Layout;
use spoolhouse::spool::outlet::cpu_budget::Effort;
use spoolhouse::spool::undecodable_retention::Limits;
use spoolhouse::spool::{Intake, Outlet, Spool};
use spoolhouse::time::Clock;
use spoolhouse::upload::proxy::Proxy;
use spoolhouse::upload::request::Target;
use spoolhouse::upload::send;
use spoolhouse::upload::settings::{Settings, effective};
use spoolhouse::upload::slot::pacer::PaceOptions;
use spoolhouse::upload::telemetry::View;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::audit::Audit;
use crate::blocking::Actors;
use crate::broker::Kafka;
use crate::clock::LifeClock;
use crate::disk::{LifeDisk, SPOOL};
use crate::plan::World;
use crate::scheduler::{
    Death, Process, block_on, draw, is_dead, kill, note, on_death, spawn, wait_for,
};

/// The group's name for our member.
pub const INSTANCE_ID: &str = "ours";

/// How long a process that is told to stop may take.
const SHUTDOWN_AFTER: Duration = Duration::from_secs(20);

/// How often the age of undecodable messages is looked at.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// The id of the spool, when it is made.
const SPOOL_ID: Uuid = Uuid::from_u128(0x5b00_1000);

/// What may be configured otherwise at the next start.
#[derive(Clone, Debug)]
pub struct Config {
    pub encoding: Encoding,
    pub settings: Settings,
}

/// A machine, and what its processes reach.
pub struct Machine<P> {
    pub disk: LifeDisk,
    pub audit: Audit,
    pub clock: LifeClock,
    pub kafka: Kafka,
    pub proxy: P,
    pub target: Target,
    pub config: RefCell<Config>,
    world: World,
    owner: Cell<Option<Process>>,
    processes: Cell<u32>,
    requests: Cell<u128>,
}

/// A process that was started.
#[derive(Clone)]
pub struct Running {
    pub process: Process,
    stop: CancellationToken,
}

impl Running {
    /// SIGTERM.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether it is gone, one way or another.
    pub fn is_over(&self) -> bool {
        is_dead(self.process)
    }
}

impl<P: Proxy + Clone + 'static> Machine<P> {
    /// A machine that was just switched on, with nothing on its disk.
    pub fn new(
        world: &World,
        disk: LifeDisk,
        audit: Audit,
        clock: LifeClock,
        kafka: Kafka,
        proxy: P,
        target: Target,
    ) -> Rc<Self> {
        Rc::new(Self {
            disk,
            audit,
            clock,
            kafka,
            proxy,
            target,
            config: RefCell::new(Config {
                encoding: encoding(world.is_compact),
                settings: effective(&Settings::new()),
            }),
            world: world.clone(),
            owner: Cell::new(None),
            processes: Cell::new(0),
            requests: Cell::new(0),
        })
    }

    /// Runs `work` in a process of its own, which ends with it.
    pub fn process(
        self: &Rc<Self>,
        name: &'static str,
        work: impl FnOnce(&Rc<Self>, Process, &CancellationToken) -> Result<(), String> + 'static,
    ) -> Running {
        self.processes.set(self.processes.get() + 1);
        let running = Running {
            process: Process(self.processes.get()),
            stop: CancellationToken::new(),
        };
        let disk = self.disk.clone();
        on_death(running.process, move |death| {
            if death == Death::PowerCut {
                disk.cut_power();
            }
        });
        let (machine, inside) = (self.clone(), running.clone());
        spawn(name, running.process, move || {
            let done = work(&machine, inside.process, &inside.stop);
            note("exit:", format_args!("{name} {done:?}"));
            // Whatever of it still runs ends with it.
            kill(inside.process, Death::Kill);
        });
        running
    }

    /// Every process loses its power.
    pub fn cut_power(&self) {
        for process in 1..=self.processes.get() {
            if !is_dead(Process(process)) {
                kill(Process(process), Death::PowerCut);
            }
        }
    }

    /// Starts the daemon.
    pub fn start(self: &Rc<Self>) -> Running {
        self.process("run", Self::daemon)
    }

    /// Opens the spool as its only owner.
    pub fn open(&self, process: Process) -> Result<Spool, String> {
        if self
            .owner
            .get()
            .is_some_and(|owner| owner != process && !is_dead(owner))
        {
            return Err("another process owns this spool".to_owned());
        }
        self.owner.set(Some(process));
        let disk = Arc::new(self.disk.clone());
        let clock = Arc::new(self.clock.clone());
        Spool::open_on(disk, Layout::new(SPOOL), None, SPOOL_ID, clock)
            .map_err(|error| format!("can't open the spool: {error}"))
    }

    /// As `commands/run.rs` does it.
    fn daemon(self: &Rc<Self>, process: Process, stop: &CancellationToken) -> Result<(), String> {
        let spool = self.open(process)?;
        let is_uploaded = Rc::new(Cell::new(false));
        let sending = send::run(
            self.upload_options(),
            self.proxy.clone(),
            Outlet::new(spool.clone()),
            self.host(),
            stop.clone(),
        );
        let uploaded = is_uploaded.clone();
        spawn("upload", process, move || {
            block_on(sending);
            uploaded.set(true);
        });
        let intake = Intake::with_limits(spool, self.undecodable_limits());
        let (tidy, clock, stopping) = (intake.clone(), self.clock.clone(), stop.clone());
        spawn("tidy", process, move || {
            while !stopping.is_cancelled() {
                tidy.tidy_undecodable(clock.wall());
                wait_for(TIDY_EVERY, || stopping.is_cancelled());
            }
        });
        let options = run::Options {
            headroom: self.headroom(),
            view: telemetry::View::default(),
        };
        let ingested = Rc::new(RefCell::new(None));
        let (machine, stopping, ended) = (self.clone(), stop.clone(), ingested.clone());
        spawn("ingest", process, move || {
            let consumer = machine.kafka.subscribe(INSTANCE_ID);
            let clock = Arc::new(machine.clock.clone());
            let done = run::run(options, &consumer, intake, clock, &stopping);
            ended.replace(Some(
                done.map_err(|error| format!("ingest failed: {error}")),
            ));
        });
        wait_for(Duration::MAX, || {
            stop.is_cancelled() || is_uploaded.get() || ingested.borrow().is_some()
        });
        stop.cancel();
        let has_left = wait_for(SHUTDOWN_AFTER, || {
            is_uploaded.get() && ingested.borrow().is_some()
        });
        note("stopped:", format_args!("in time: {has_left}"));
        ingested.take().unwrap_or(Ok(()))
    }

    /// What the send loop is handed.
    pub fn host(&self) -> send::Host {
        send::Host {
            clock: Arc::new(self.clock.clone()),
            blocking: Arc::new(Actors),
            random: || draw(1_000) as f64 / 1_000.0,
        }
    }

    /// What it is asked to do.
    pub fn upload_options(&self) -> send::Options {
        let config = self.config.borrow();
        send::Options {
            target: self.target.clone(),
            settings: config.settings.clone(),
            encoding: config.encoding,
            // The cheapest: how small batches get is no question here.
            effort: Effort::new(0, Duration::from_secs(1)),
            pace: PaceOptions {
                url: self.target.url.to_string(),
                interval_ms: self.world.interval_ms_expected,
                body_bytes_max: self.world.body_bytes_expected,
            },
            data_attempts_max: self.world.data_attempts_max,
            view: View::default(),
        }
    }

    fn headroom(&self) -> Headroom {
        Headroom {
            spool_bytes_max: self.world.spool_bytes_max,
            free_bytes_min: 0,
            batch_bytes_max: self.world.body_bytes_expected,
            window: window::Limits {
                roll_after: Duration::from_millis(self.world.roll_ms),
                roll_bytes: self.world.roll_bytes,
            },
        }
    }

    fn undecodable_limits(&self) -> Limits {
        Limits {
            bytes_max: self.world.undecodable_bytes_max,
            age_max: None,
        }
    }

    /// An id for a request of a person.
    pub fn request_id(&self) -> Uuid {
        self.requests.set(self.requests.get() + 1);
        Uuid::from_u128(self.requests.get())
    }
}

/// How batches may be encoded.
pub fn encoding(is_compact: bool) -> Encoding {
    match is_compact {
        true => Encoding::Compact,
        false => Encoding::Compatible,
    }
}
