//! What happens in a life: faults and people, from the plan into the world.

use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use spoolhouse::upload::settings::{PINNED, Settings, effective};
use uuid::Uuid;

use super::{Life, rate};
use crate::broker::Signs;
use crate::disk::SPOOL;
use crate::messages::MessageId;
use crate::person::Asked;
use crate::plan::{Directory, DiskError, What};
use crate::process::{INSTANCE_ID, encoding};
use crate::scheduler::{self, Death, Process, WORLD, current, fault, note, now, spawn, wait_until};

/// Names like ours, of files that are not.
const SEGMENT: &str = "seg-0000009999.parquet";
const BATCH: &str =
    "batch-0000009999-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.parquet";

impl Life {
    /// The process that a fault is meant for: the one that just touches, or the daemon.
    fn victim(&self) -> Option<Process> {
        let process = current();
        if process != WORLD {
            return Some(process);
        }
        Some(self.daemon.borrow().as_ref()?.process)
    }

    /// Makes something happen. Touches nothing: whoever touches may be calling.
    pub(super) fn happen(self: &Rc<Self>, what: &What) {
        if self.is_calm.get() {
            return;
        }
        self.happened.set(self.happened.get() + 1);
        note("event:", format_args!("{what:?}"));
        let ms = Duration::from_millis;
        let machine = &self.machine;
        match what.clone() {
            What::Kill { down_ms } => {
                self.down_ms.set(down_ms);
                fault("kill");
                if let Some(victim) = self.victim() {
                    scheduler::kill(victim, Death::Kill);
                }
            }
            What::PowerCut { down_ms } => {
                self.down_ms.set(down_ms);
                fault("power cut");
                machine.cut_power();
            }
            What::Stop { down_ms, run } => {
                self.down_ms.set(down_ms);
                self.command.set(run);
                self.stop();
            }
            What::DiskErrors { count, error } => machine.disk.fail(
                count,
                match error {
                    DiskError::NoSpace => ErrorKind::StorageFull,
                    DiskError::Io => ErrorKind::Other,
                },
            ),
            What::ReadErrors { count } => machine.disk.fail_reads(count),
            What::DiskFull { ms: time } => {
                machine.disk.set_free(Some(0));
                self.later(ms(time), |life| life.machine.disk.set_free(None));
            }
            What::Commits { count, fault } => self.kafka.fail_commits(count, fault),
            What::Asks { count, fault } => self.kafka.fail_asks(count, fault),
            What::OutOfOrder { count } => self.kafka.deliver_out_of_order(count),
            What::BrokerDown { ms: time } => self.kafka.go_down(ms(time)),
            What::CutOff { ms: time } => self.kafka.cut_off(ms(time)),
            What::PutOut => self.kafka.put_out(INSTANCE_ID),
            What::Foreign {
                ms: time,
                every_ms,
                count,
                signs,
            } => {
                self.kafka.foreign_joins(match signs {
                    0 => Signs::Nothing,
                    1 => Signs::Text("somebody's".to_owned()),
                    _ => Signs::Spool(Uuid::from_u128(0xf0)),
                });
                self.kafka.foreign_reads_every(ms(every_ms), count);
                self.later(ms(time), |life| life.kafka.foreign_leaves());
            }
            What::Retention { partition, keep } => self.kafka.retain(partition, keep),
            What::Recreate {
                gap_ms,
                keep_commits,
                rebalances,
            } => {
                // With fewer partitions, a member that was given one of the others and has not
                // taken it up yet waits for it for ever.
                let partitions = self.kafka.partitions().len().max(1) as i32;
                self.kafka.delete_topic(keep_commits);
                self.later(ms(gap_ms), move |life| {
                    life.kafka.create_topic(partitions, rebalances)
                });
            }
            What::AddPartition => self.kafka.add_partition(),
            What::Requests { count, fault } => self.nginx.fail_requests(count, fault),
            What::Inserts { count, fault } => self.clickhouse.fail_inserts(count, fault),
            What::Breakdown { ms: time, fault } => {
                self.clickhouse.break_down(fault);
                self.later(ms(time), |life| life.clickhouse.heal());
            }
            What::Poison { partition, offset } => {
                let incarnation = self.plan.world.incarnation;
                let id = MessageId {
                    incarnation,
                    partition,
                    offset,
                };
                self.clickhouse.poison(id.resource_id());
            }
            What::LackSetting { ms: time, which } => {
                self.clickhouse
                    .lack_setting(PINNED[which % PINNED.len()].name);
                self.later(ms(time), |life| life.clickhouse.heal());
            }
            What::BodyLimit { bytes } => self.nginx.set_body_max(bytes),
            What::Interval { ms: time } => self.nginx.set_rate(rate(time)),
            What::Tenant { ms: time, every_ms } => {
                self.nginx.tenant_requests_every(Some(ms(every_ms)));
                self.later(ms(time), |life| life.nginx.tenant_requests_every(None));
            }
            What::ProxyDown { ms: time } => self.nginx.go_down(ms(time)),
            What::ProxyRestart => self.nginx.restart(),
            What::ServerDown { ms: time } => self.clickhouse.go_down(ms(time)),
            What::ServerRestart => self.clickhouse.restart(),
            What::ForeignFile {
                directory,
                is_named_like_ours,
            } => self.plant(directory, is_named_like_ours),
            What::ClockJump { ms: by } => {
                machine.clock.jump(by);
                self.audit.clock_jumped(ms(by.unsigned_abs()));
            }
            What::Ask { wish, which, now } => drop(machine.ask(Asked { wish, which, now })),
            What::Reconfigure {
                is_compact,
                setting,
            } => {
                let mut config = machine.config.borrow_mut();
                config.encoding = encoding(is_compact);
                config.settings = effective(&overrides(setting));
            }
        }
    }

    /// Somebody puts a file into a directory of the spool.
    fn plant(&self, directory: Directory, is_named_like_ours: bool) {
        let (directory, ours) = match directory {
            Directory::Sealed => ("sealed", SEGMENT),
            Directory::Ready => ("ready", SEGMENT),
            Directory::Batches => ("batches", BATCH),
            // Nobody looks at what lies there before the next start.
            Directory::Rejected => ("rejected", "batch-of-mine.old"),
        };
        let name = match is_named_like_ours {
            true => ours,
            false => "notes.txt",
        };
        let place = Path::new(SPOOL).join(directory);
        let disk = &self.machine.disk;
        let files = disk.files(Path::new(SPOOL));
        let path = place.join(name);
        // Before the first start has ended there is no spool.
        if files.contains_key(&Path::new(SPOOL).join("spool.json")) && !files.contains_key(&path) {
            let bytes = Bytes::from(format!(
                "somebody's, number {}",
                self.planted.borrow().len()
            ));
            disk.plant(&path, bytes.clone());
            self.planted.borrow_mut().push(bytes);
        }
    }

    /// Does something when this time has passed.
    fn later(self: &Rc<Self>, time: Duration, what: impl FnOnce(&Self) + 'static) {
        let (life, at) = (self.clone(), now() + time);
        spawn("world", WORLD, move || {
            wait_until(at);
            what(&life);
        });
    }
}

/// One of three configurations of an insert's settings.
fn overrides(which: u64) -> Settings {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    match which % 3 {
        0 => Settings::new(),
        1 => [pair("max_insert_threads", "2")].into(),
        _ => [pair("max_memory_usage", "1000000000")].into(),
    }
}
