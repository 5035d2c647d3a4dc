//! One life: the world of a plan, the daemon in it, everything that happens to them, then
//! calm, in which everything drains; and at the end the account.

mod happen;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spoolhouse::spool::state::State;
use spoolhouse::upload::request::Target;

use crate::audit::{Account, Attached, Audit, Parts};
use crate::broker::{Kafka, Producer, Timings};
use crate::clickhouse::ClickHouse;
use crate::clock::LifeClock;
use crate::disk::{LifeDisk, SPOOL};
use crate::messages::{Kind, MessageId};
use crate::plan::{At, Command, Plan, What};
use crate::process::{Machine, Running};
use crate::proxy::{self, Nginx, Route};
use crate::scheduler::{self, Report, WORLD, note, now, spawn, wait_for, wait_until};
use crate::violations::Violations;

/// The proxy before ClickHouse.
const URL: &str = "http://proxy.test:8124/";

/// A life has at least so many segments and batches.
const SEGMENTS_MIN: u64 = 3;
const BATCHES_MIN: u64 = 2;

/// Messages that come to each partition of a life that has fewer.
const MORE: i64 = 20;

/// How long draining may take, in virtual time: longer than any back-off.
const CALM_MAX: Duration = Duration::from_secs(3_000);

/// How long after the last window's time everything has to be quiet.
const QUIET: Duration = Duration::from_secs(2);

/// How long the daemon may take to stop.
const STOP_MAX: Duration = Duration::from_secs(120);

/// Steps of a life: some twenty times what one has.
const STEPS_MAX: u64 = 2_000_000;

/// How often it is looked whether everything has drained.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What came of a life.
#[derive(Debug)]
pub struct Lived {
    pub report: Report,
    /// Empty if it failed before.
    pub account: Account,
}

/// Lives the life of a plan.
pub fn live(plan: &Plan, keep_trace: bool) -> Lived {
    let settings = scheduler::Settings {
        seed: plan.seed,
        switch_one_in: plan.turns.switch_one_in,
        delay_one_in: plan.turns.delay_one_in,
        delay_max: plan.turns.delay_max(),
        steps_max: STEPS_MAX,
        time_max: Duration::from_millis(plan.world.busy_ms) + CALM_MAX * 2,
        keep_trace,
    };
    let plan = plan.clone();
    let account = Rc::new(Cell::new(Account::default()));
    let balanced = account.clone();
    let report = scheduler::run(settings, move || {
        balanced.set(Life::new(plan).go()?);
        Ok(())
    });
    Lived {
        report,
        account: account.get(),
    }
}

struct Life {
    plan: Plan,
    machine: Rc<Machine<Route>>,
    kafka: Kafka,
    clickhouse: ClickHouse,
    nginx: Nginx,
    violations: Violations,
    audit: Audit,
    _attached: Attached,
    daemon: RefCell<Option<Running>>,
    /// What is to be done before the daemon is started again.
    down_ms: Cell<u64>,
    command: Cell<Option<Command>>,
    /// Files that somebody put into the spool.
    planted: RefCell<Vec<Bytes>>,
    /// How much has happened.
    happened: Cell<u32>,
    /// Nothing happens any more.
    is_calm: Cell<bool>,
    /// The daemon is not started again.
    is_over: Cell<bool>,
}

impl Life {
    fn new(plan: Plan) -> Rc<Self> {
        let world = &plan.world;
        let violations = Violations::default();
        let kafka = Kafka::new(world.partitions, world.incarnation);
        kafka.set_timings(Timings {
            session: Duration::from_millis(world.session_ms),
            ..Timings::default()
        });
        let clickhouse = ClickHouse::new(world.tokens_max, violations.clone());
        let settings = proxy::Settings {
            rate: Some(rate(world.interval_ms)),
            body_max: world.body_bytes_max,
        };
        let nginx = Nginx::new(URL, settings, clickhouse.clone(), violations.clone());
        let target = Target {
            url: URL.parse().expect("a URL"),
            database: "default".to_owned(),
            table: "http_log".to_owned(),
        };
        let clock = LifeClock::default();
        let route = nginx.route(Arc::new(clock.clone()));
        let disk = LifeDisk::new();
        let audit = Audit::new(Parts {
            kafka: kafka.clone(),
            clickhouse: clickhouse.clone(),
            nginx: nginx.clone(),
            violations: violations.clone(),
            interval: Duration::from_millis(world.interval_ms_expected),
        });
        let attached = audit.attach(&disk);
        let machine = Machine::new(
            world,
            disk,
            audit.clone(),
            clock,
            kafka.clone(),
            route,
            target,
        );
        Rc::new(Self {
            plan,
            machine,
            kafka,
            clickhouse,
            nginx,
            violations,
            audit,
            _attached: attached,
            daemon: RefCell::default(),
            down_ms: Cell::new(0),
            command: Cell::new(None),
            planted: RefCell::default(),
            happened: Cell::new(0),
            is_calm: Cell::new(false),
            is_over: Cell::new(false),
        })
    }

    fn go(self: Rc<Self>) -> Result<Account, String> {
        self.watch();
        self.produce();
        for event in &self.plan.events {
            if let At::Touch(class, number) = event.at {
                let (life, what) = (self.clone(), event.what.clone());
                scheduler::at_touch(class, number, move || life.happen(&what));
            }
        }
        let life = self.clone();
        spawn("supervisor", WORLD, move || life.supervise());
        let mut timed: Vec<_> = self.plan.events.iter().collect();
        timed.retain(|event| matches!(event.at, At::Ms(_)));
        timed.sort_by_key(|event| match event.at {
            At::Ms(ms) => ms,
            At::Touch(..) => u64::MAX,
        });
        for event in timed {
            if let At::Ms(ms) = event.at {
                wait_until(Duration::from_millis(ms));
                self.happen(&event.what);
            }
        }
        wait_until(Duration::from_millis(self.plan.world.busy_ms));
        if self.happened.get() == 0 {
            // What was to happen was to happen later than anything did.
            self.happen(&What::PowerCut { down_ms: 100 });
        }
        self.calm_down();
        self.drain()?;
        while self.is_poor() {
            for partition in self.kafka.partitions() {
                self.kafka.append(partition, MORE);
            }
            self.drain()?;
        }
        self.end()
    }

    /// Ends the life as soon as a rule is broken.
    fn watch(&self) {
        let violations = self.violations.clone();
        spawn("watch", WORLD, move || {
            wait_for(Duration::MAX, || !violations.is_empty());
            if let Some(first) = violations.all().first() {
                scheduler::fail(first.to_string());
            }
        });
    }

    /// Appends what is there at the beginning, and has the rest come over time.
    fn produce(&self) {
        let world = &self.plan.world;
        for partition in 0..world.partitions {
            let all = world.offsets_of(partition);
            let backlog = all * world.backlog_percent / 100;
            self.kafka.append(partition, backlog);
            let every_ms = 150 + 130 * partition as u64;
            let bursts = (world.busy_ms * 8 / 10 / every_ms).max(1) as i64;
            self.kafka.produce(Producer {
                partition,
                every: Duration::from_millis(every_ms),
                burst: (all - backlog) / bursts + 1,
                total: all - backlog,
            });
        }
    }

    /// Keeps the daemon running, as a service manager does.
    fn supervise(&self) {
        while !self.is_over.get() {
            let running = self.machine.start();
            self.daemon.replace(Some(running.clone()));
            wait_for(Duration::MAX, || running.is_over());
            let down = Duration::from_millis(self.down_ms.replace(100));
            if let Some(command) = self.command.take() {
                note("person:", format_args!("{command:?}"));
                let run = self.machine.run(command);
                wait_for(Duration::MAX, || run.is_over());
            }
            let until = now() + down;
            wait_for(down, || self.is_calm.get());
            wait_until(until.min(now() + Duration::from_millis(100)));
        }
    }

    /// Tells the daemon to stop.
    fn stop(&self) {
        if let Some(daemon) = &*self.daemon.borrow() {
            daemon.stop();
        }
    }

    /// No more faults; what was broken is mended.
    fn calm_down(&self) {
        note("calm:", format_args!(""));
        self.is_calm.set(true);
        self.machine.disk.heal();
        self.kafka.heal();
        self.kafka.foreign_leaves();
        self.nginx.heal();
        self.nginx.set_body_max(self.plan.world.body_bytes_max);
        self.clickhouse.heal();
        // What somebody put there is looked at by a start at the latest.
        if self.plan.world.restarts_at_calm || !self.planted.borrow().is_empty() {
            self.stop();
        }
    }

    /// Whether there were too few segments or batches to learn from.
    fn is_poor(&self) -> bool {
        scheduler::touches("disk.rename open sealed") < SEGMENTS_MIN
            || scheduler::touches("disk.rename batches sending") < BATCHES_MIN
    }

    /// Waits until everything that can go has gone, and nothing has come for a while: a
    /// window may still be open.
    fn drain(&self) -> Result<(), String> {
        let until = now() + CALM_MAX;
        let quiet = Duration::from_millis(self.plan.world.roll_ms) + QUIET;
        let mut since = None;
        loop {
            match self.left() {
                None if now() >= *since.get_or_insert(now()) + quiet => return Ok(()),
                None => {}
                Some(left) if now() >= until => {
                    let listing = self.machine.disk.listing();
                    return Err(format!("not drained: {left}; {listing}"));
                }
                Some(_) => since = None,
            }
            wait_until(now() + LOOK_EVERY);
        }
    }

    /// What is left to be done, if anything is.
    fn left(&self) -> Option<String> {
        for directory in ["sealed", "ready", "batches", "sending"] {
            if let Some(name) = self.machine.disk.names_in(directory).first() {
                return Some(format!("{directory}/{name} is still there"));
            }
        }
        if self.kafka.is_producing() {
            return Some("messages still come".to_owned());
        }
        let topics = self.kafka.topics();
        let topic = topics.last()?;
        let incarnation = topic.incarnation;
        let own = self.positions(incarnation);
        for (&partition, log) in &topic.logs {
            let position = own.get(&partition).copied().unwrap_or(0).max(log.start);
            let unread = (position..log.end).find(|&offset| {
                let id = MessageId {
                    incarnation,
                    partition,
                    offset,
                };
                id.kind() != Kind::Hole
            });
            if let Some(offset) = unread {
                return Some(format!("{partition}/{offset} was not read"));
            }
        }
        None
    }

    /// Where the spool says that it reads on.
    fn positions(&self, incarnation: u32) -> BTreeMap<i32, i64> {
        let files = self.machine.disk.files(Path::new(SPOOL));
        let state = files.get(&Path::new(SPOOL).join("spool.json"));
        let state = state.and_then(|bytes| State::parse(bytes).ok());
        let sources = state.map_or_else(Vec::new, |state| state.sources);
        let topic_id = MessageId::topic_id(incarnation);
        let ours = sources
            .into_iter()
            .find(|known| known.source.topic_id == topic_id);
        ours.map_or_else(BTreeMap::new, |ours| ours.positions)
    }

    /// Stops the daemon, and balances the account.
    fn end(&self) -> Result<Account, String> {
        self.is_over.set(true);
        self.stop();
        let is_gone = || self.daemon.borrow().as_ref().is_none_or(Running::is_over);
        if !wait_for(STOP_MAX, is_gone) {
            return Err("the daemon does not stop".to_owned());
        }
        let account = self
            .audit
            .balance(&self.machine.disk.files(Path::new(SPOOL)));
        match self.violations.all().first() {
            Some(violation) => Err(violation.to_string()),
            None => Ok(account),
        }
    }
}

/// Thousandths of a request per second.
fn rate(interval_ms: u64) -> u64 {
    (1_000_000 / interval_ms.max(1)).max(1)
}
