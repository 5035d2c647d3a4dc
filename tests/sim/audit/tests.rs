//! Does the account notice what it is there for, and keep quiet otherwise?

use std::path::Path;
use std::time::Instant;

use spoolhouse::ingest::broker::Broker as _;
use spoolhouse::ingest::commit::Signature;
use spoolhouse::ingest::window::Window;
use spoolhouse::spool::format::footer::{SegmentFooter, Source};
use spoolhouse::spool::format::segment::Finished;
use spoolhouse::spool::intake::Gap;
use spoolhouse::spool::layout::Layout;
use spoolhouse::spool::outlet::{Batch, PackOptions, Rejection};
use spoolhouse::spool::quarantine::Doubt;
use spoolhouse::spool::{Intake, Outlet, Spool};
use spoolhouse::upload::proxy::Proxy as _;
use spoolhouse::upload::request::{Target, insert};
use spoolhouse::upload::settings::{Settings, effective};
use uuid::Uuid;

use super::*;
use crate::broker::{CLUSTER, Client, TOPIC};
use crate::clock::LifeClock;
use crate::messages::Kind;
use crate::proxy::{self, RequestFault};
use crate::scheduler::{block_on, simulate, wait_until};
use crate::violations::Rule;
use spoolhouse::time::Clock as _;

const INTERVAL: Duration = Duration::from_secs(2);

/// A spool by hand, in a world with one partition, watched.
struct World {
    disk: LifeDisk,
    clock: LifeClock,
    parts: Parts,
    audit: Audit,
    _attached: Attached,
    intake: Intake,
    outlet: Outlet,
    client: Client,
}

/// A world of so many messages; the texture says what they are.
fn world(incarnation: u32, messages: i64) -> World {
    let violations = Violations::default();
    let kafka = Kafka::new(1, incarnation);
    kafka.append(0, messages);
    let clickhouse = ClickHouse::new(100, violations.clone());
    let settings = proxy::Settings {
        rate: Some(500),
        body_max: 1 << 20,
    };
    let nginx = Nginx::new(
        "http://proxy/",
        settings,
        clickhouse.clone(),
        violations.clone(),
    );
    let parts = Parts {
        kafka: kafka.clone(),
        clickhouse,
        nginx,
        violations,
        interval: INTERVAL,
    };
    let (disk, clock) = (LifeDisk::new(), LifeClock::default());
    let audit = Audit::new(parts.clone());
    let attached = audit.attach(&disk);
    let on = Arc::new(disk.clone());
    let spool = Spool::open_on(
        on,
        Layout::new(SPOOL),
        None,
        Uuid::from_u128(1),
        Arc::new(clock.clone()),
    );
    let spool = spool.unwrap();
    let client = kafka.subscribe("ours");
    client.assign(&[(0, 0)].into()).unwrap();
    World {
        disk,
        clock,
        parts,
        audit,
        _attached: attached,
        intake: Intake::new(spool.clone()),
        outlet: Outlet::new(spool),
        client,
    }
}

impl World {
    fn source(&self) -> Source {
        Source {
            cluster: CLUSTER.to_owned(),
            topic: TOPIC.to_owned(),
            topic_id: MessageId::topic_id(self.parts.kafka.topics()[0].incarnation),
        }
    }

    /// A segment of these offsets, which nothing of is on disk yet.
    fn window(&self, offsets: std::ops::Range<i64>) -> Finished {
        let incarnation = self.parts.kafka.topics()[0].incarnation;
        let mut window = Window::new().unwrap();
        let mut position = offsets.start;
        let ids = offsets.map(|offset| MessageId {
            incarnation,
            partition: 0,
            offset,
        });
        for id in ids.filter(|id| id.kind() != Kind::Hole) {
            let made = id.make();
            let payload = made.payload.as_deref();
            let taken = window.take(0, position, id.offset, payload, Instant::now());
            taken.unwrap();
            position = id.offset + 1;
        }
        let (segment, _) = window.close().unwrap();
        self.intake.finish(segment, &self.source()).unwrap()
    }

    fn sealed(&self, offsets: std::ops::Range<i64>) -> SegmentFooter {
        let window = self.window(offsets);
        self.intake.seal(&window).unwrap();
        window.footer
    }

    fn commit(&self, offset: i64) {
        let signature = Signature {
            spool: Uuid::from_u128(1),
            segment: 1,
            topic_id: self.source().topic_id,
        };
        // Whoever has joined commits.
        while self.client.event().is_none() {
            self.client.poll(Duration::from_millis(100)).unwrap();
        }
        self.client
            .commit(&[(0, (offset, signature))].into())
            .unwrap();
        wait_until(now() + Duration::from_millis(100));
        assert_eq!(self.parts.kafka.committed(0), Some(offset));
    }

    /// Everything up to a batch of these offsets.
    fn packed(&self, offsets: std::ops::Range<i64>) -> Batch {
        let end = offsets.end;
        let segment = self.sealed(offsets);
        self.commit(end);
        self.intake.ready(&segment).unwrap();
        self.outlet.next(&options()).unwrap().unwrap()
    }

    fn post(&self, batch: &Batch) {
        self.post_at(batch, now());
    }

    fn post_at(&self, batch: &Batch, at: Duration) {
        let target = Target {
            url: "http://proxy/".parse().unwrap(),
            database: "default".to_owned(),
            table: "http_log".to_owned(),
        };
        let request = insert(&target, &batch.digest, &batch.footer.settings);
        let route = self.parts.nginx.route(Arc::new(self.clock.clone()));
        let opens = self.clock.now() + at.saturating_sub(now());
        block_on(route.post(&request, batch.bytes.clone(), opens));
    }

    fn announce(&self, ms: u64) {
        let pace = format!("{{\"in_flight_ms\": {ms}}}");
        spoolhouse::spool::disk::replace(&self.disk, &Layout::new(SPOOL).pace(), pace.as_bytes())
            .unwrap();
    }

    /// The rules that were broken so far.
    fn broken(&self) -> Vec<Rule> {
        self.parts
            .violations
            .all()
            .iter()
            .map(|violation| violation.rule)
            .collect()
    }

    fn balance(&self) -> Account {
        self.audit.balance(&self.disk.files(Path::new(SPOOL)))
    }
}

fn options() -> PackOptions {
    PackOptions {
        settings: effective(&Settings::new()),
        ..PackOptions::default()
    }
}

#[test]
fn a_life_in_order_breaks_no_rule_and_balances() {
    // Records; and garbage and holes besides.
    for incarnation in [0, 1, 3] {
        simulate(1, move || {
            let world = world(incarnation, 60);
            let mut batch = world.packed(0..60);
            world.outlet.begin(&mut batch).unwrap();
            world.announce(1);
            world.post(&batch);
            world.outlet.stored(&batch).unwrap();
            let account = world.balance();
            assert_eq!(world.broken(), []);
            assert_eq!(account.stored + account.kept, account.messages);
            assert_eq!(account.stored, batch.footer.rows);
        });
    }
}

#[test]
fn a_commit_and_a_position_are_held_against_what_is_durable() {
    simulate(1, || {
        let world = world(0, 60);
        world.sealed(0..30);
        world.commit(30);
        assert_eq!(world.broken(), []);
        world.commit(31);
        assert_eq!(world.broken(), [Rule::CommitAhead]);
        world
            .intake
            .record_positions(&world.source(), &[(0, 40)].into())
            .unwrap();
        assert_eq!(world.broken(), [Rule::CommitAhead, Rule::PositionAhead]);
    });
    // A gap accounts for what it names.
    simulate(1, || {
        let world = world(0, 60);
        let gap = |from, to| Gap {
            time: String::new(),
            source: world.source(),
            partition: 0,
            from,
            to,
        };
        world.intake.record_gap(&gap(0, 20)).unwrap();
        world.commit(20);
        assert_eq!(world.broken(), []);
        world.commit(21);
        assert_eq!(world.broken(), [Rule::CommitAhead]);
    });
}

#[test]
fn what_was_not_synced_is_not_durable() {
    simulate(1, || {
        let world = world(0, 60);
        let window = world.window(0..30);
        let draft = Path::new(SPOOL).join("open/seg-0000000001.parquet.part");
        let sealed = Path::new(SPOOL).join("sealed/seg-0000000001.parquet");
        use spoolhouse::spool::disk::{Access, Disk as _};
        world
            .disk
            .write(&draft, &window.bytes, Access::Shared)
            .unwrap();
        world.disk.rename(&draft, &sealed).unwrap();
        world.commit(30);
        assert_eq!(world.broken(), [Rule::CommitAhead]);
    });
}

#[test]
fn a_segment_is_released_only_after_its_commit() {
    simulate(1, || {
        let world = world(0, 60);
        let segment = world.sealed(0..30);
        world.intake.ready(&segment).unwrap();
        assert_eq!(world.broken(), [Rule::ReleasedEarly]);
    });
}

#[test]
fn a_batch_is_removed_only_once_it_is_stored() {
    simulate(1, || {
        let world = world(0, 60);
        let batch = world.packed(0..60);
        // As the loop would not: it was never posted.
        world.outlet.stored(&batch).unwrap();
        assert_eq!(world.broken(), [Rule::RemovedEarly]);
        assert_eq!(world.balance().lost, 60);
    });
}

#[test]
fn a_split_removes_what_its_parts_hold_unless_it_may_be_stored() {
    for may_be_stored in [false, true] {
        simulate(1, move || {
            let world = world(0, 60);
            let mut batch = world.packed(0..60);
            world.outlet.begin(&mut batch).unwrap();
            world.announce(1);
            match may_be_stored {
                true => world
                    .parts
                    .nginx
                    .fail_requests(1, RequestFault::ResetInBody),
                false => world.parts.nginx.set_body_max(100),
            }
            world.post(&batch);
            world
                .outlet
                .split(&batch, batch.bytes.len() as u64 - 200)
                .unwrap();
            let broken = world.broken();
            assert_eq!(
                broken.contains(&Rule::Repacked),
                may_be_stored,
                "{broken:?}"
            );
            assert!(!broken.contains(&Rule::RemovedEarly));
        });
    }
}

#[test]
fn a_request_leaves_after_its_batch_is_in_place_and_its_slot_is_announced() {
    simulate(1, || {
        let world = world(0, 60);
        let batch = world.packed(0..60);
        world.post(&batch);
        assert_eq!(
            world.broken(),
            [Rule::SentBeforeDurable, Rule::SentUnannounced]
        );
    });
}

#[test]
fn a_request_keeps_its_distance_from_one_that_used_the_slot() {
    for (apart, is_early) in [(1_990, true), (2_010, false)] {
        simulate(1, move || {
            let world = world(0, 60);
            let mut batch = world.packed(0..60);
            world.outlet.begin(&mut batch).unwrap();
            world.announce(1);
            world.post(&batch);
            let left = world.parts.nginx.seen()[0].left;
            world.announce(2);
            world.post_at(&batch, left + Duration::from_millis(apart));
            assert_eq!(world.broken().contains(&Rule::SentEarly), is_early);
        });
    }
}

#[test]
fn a_newer_batch_does_not_go_before_an_older_one() {
    simulate(1, || {
        let world = world(0, 60);
        let first = world.packed(0..30);
        let second = world.sealed(30..60);
        world.intake.ready(&second).unwrap_or_default();
        // Another one is in line, and this one goes.
        let dir = Path::new(SPOOL).join("batches");
        let older = dir.join(format!("batch-0000000000-{}.parquet", "0".repeat(64)));
        world.disk.plant(&older, first.bytes.clone());
        let mut first = first;
        world.outlet.begin(&mut first).unwrap();
        world.announce(1);
        world.post(&first);
        assert!(world.broken().contains(&Rule::OutOfTurn));
    });
}

#[test]
fn a_message_that_is_nowhere_is_lost_and_one_in_a_gap_is_not() {
    simulate(1, || {
        let world = world(0, 60);
        world
            .intake
            .record_gap(&Gap {
                time: String::new(),
                source: world.source(),
                partition: 0,
                from: 0,
                to: 20,
            })
            .unwrap();
        let account = world.balance();
        assert_eq!((account.in_gaps, account.lost), (20, 40));
        assert!(world.broken().contains(&Rule::Balance));
    });
}

#[test]
fn what_is_kept_has_its_reason_beside_it() {
    for is_explained in [true, false] {
        simulate(1, move || {
            let world = world(0, 60);
            let mut batch = world.packed(0..60);
            world.outlet.begin(&mut batch).unwrap();
            world.outlet.reject(&batch, &Rejection::default()).unwrap();
            if !is_explained {
                use spoolhouse::spool::disk::Disk as _;
                let name = batch.name().replace(".parquet", ".error.json");
                world
                    .disk
                    .remove(&Path::new(SPOOL).join("rejected").join(name))
                    .unwrap();
            }
            assert_eq!(world.balance().kept, 60);
            assert_eq!(world.broken().is_empty(), is_explained);
        });
    }
}

#[test]
fn what_another_consumer_took_is_his_unless_it_lies_in_doubt() {
    for is_doubted in [false, true] {
        simulate(1, move || {
            let world = world(0, 60);
            let segment = world.sealed(0..60);
            world.parts.kafka.put_out("ours");
            world
                .parts
                .kafka
                .foreign_joins(crate::broker::Signs::Nothing);
            wait_until(now() + Duration::from_secs(10));
            world.parts.kafka.foreign_reads(60);
            assert_eq!(world.parts.kafka.committed(0), Some(60));
            match is_doubted {
                true => world
                    .intake
                    .doubt(&segment, &Doubt::CommittedElsewhere)
                    .unwrap(),
                false => world.intake.ready(&segment).unwrap(),
            }
            let account = world.balance();
            assert_eq!(account.duplicated, if is_doubted { 0 } else { 60 });
            assert_eq!(account.elsewhere, if is_doubted { 60 } else { 0 });
        });
    }
}
