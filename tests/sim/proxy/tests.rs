//! The model against what was measured of nginx.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use spoolhouse::upload::outcome::{Outcome, Refusal};
use spoolhouse::upload::proxy::{Posted, Proxy as _};
use spoolhouse::upload::request::Request;
use spoolhouse::upload::settings::{Settings as Frozen, effective};

use super::*;
use crate::clickhouse::sha256;
use crate::clickhouse::tests::{batch, url};
use crate::clock::LifeClock;
use crate::scheduler::{
    Death, Process, block_on, is_dead, kill, now, simulate, spawn, wait_for, wait_until,
};
use crate::violations::Rule;
use spoolhouse::time::Clock as _;

/// One request per 62.5 s.
const ONE_A_MINUTE: u64 = 16;

struct World {
    nginx: Nginx,
    server: ClickHouse,
    violations: Violations,
    clock: LifeClock,
}

fn world(rate: u64) -> World {
    let violations = Violations::default();
    let server = ClickHouse::new(100, violations.clone());
    let settings = Settings {
        rate: Some(rate),
        body_max: 1 << 20,
    };
    let nginx = Nginx::new(
        "http://proxy/",
        settings,
        server.clone(),
        violations.clone(),
    );
    World {
        nginx,
        server,
        violations,
        clock: LifeClock::default(),
    }
}

impl World {
    fn request(&self, body: &Bytes) -> Request {
        Request {
            url: url(body, &effective(&Frozen::new())),
            query_id: format!("spoolhouse-{}", sha256(body)),
        }
    }

    fn post_at(&self, body: &Bytes, opens: Duration) -> Posted {
        let route = self.nginx.route(Arc::new(self.clock.clone()));
        let opens = self.clock.now() + opens.saturating_sub(now());
        block_on(route.post(&self.request(body), body.clone(), opens))
    }

    fn post(&self, body: &Bytes) -> Outcome {
        self.post_at(body, Duration::ZERO).outcome()
    }
}

fn is_unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unknown(_))
}

#[test]
fn a_request_is_held_until_the_slot_opens_and_one_too_early_is_throttled() {
    simulate(1, || {
        let world = world(ONE_A_MINUTE);
        let posted = world.post_at(&batch(0..10), Duration::from_secs(7));
        assert_eq!(posted.outcome(), Outcome::Stored);
        assert!(posted.connecting.is_some() && posted.took < Duration::from_secs(1));
        let seen = world.nginx.seen();
        assert_eq!(seen[0].left, Duration::from_secs(7));
        assert_eq!(posted.left, Some(seen[0].left_wall));
        let late = Duration::from_millis(62_520) + Duration::from_secs(7);
        let early = world.post_at(&batch(10..20), late - Duration::from_millis(60));
        assert_eq!(early.outcome(), Outcome::Throttled { retry_after: None });
        assert!(!world.nginx.seen()[1].reply.may_use_slot());
        assert_eq!(
            world.post_at(&batch(10..20), late).outcome(),
            Outcome::Stored
        );
        assert!(world.violations.is_empty());
    });
}

#[test]
fn a_body_over_the_limit_costs_no_slot() {
    simulate(1, || {
        let world = world(ONE_A_MINUTE);
        let (large, small) = (batch(0..300), batch(0..10));
        world.nginx.set_body_max(small.len() as u64);
        assert_eq!(world.post(&large), Outcome::TooLarge);
        assert_eq!(world.post(&small), Outcome::Stored);
    });
}

#[test]
fn a_tenant_takes_the_slot_and_a_restart_opens_it() {
    simulate(1, || {
        let world = world(ONE_A_MINUTE);
        assert!(world.nginx.tenant_requests());
        let body = batch(0..10);
        assert!(matches!(world.post(&body), Outcome::Throttled { .. }));
        world.nginx.restart();
        assert_eq!(world.post(&body), Outcome::Stored);
        world
            .nginx
            .tenant_requests_every(Some(Duration::from_secs(10)));
        wait_until(now() + Duration::from_secs(100));
        assert!(matches!(
            world.post(&batch(10..20)),
            Outcome::Throttled { .. }
        ));
    });
}

#[test]
fn every_fault_is_what_it_says() {
    type Check = fn(&Outcome) -> bool;
    let later = Duration::from_secs(4);
    let cases: [(RequestFault, u32, Check); 12] = [
        (RequestFault::ConnectRefused, 0, |o| {
            matches!(o, Outcome::NotSent(_))
        }),
        (RequestFault::ResetBeforeHeaders, 0, is_unknown),
        (RequestFault::ResetInBody, 0, is_unknown),
        (RequestFault::ResetInAnswer(Insert::Never), 0, is_unknown),
        (RequestFault::ResetInAnswer(Insert::Done), 1, is_unknown),
        (RequestFault::Silence(Insert::Done), 1, is_unknown),
        (RequestFault::Gateway(502, Insert::Never), 0, is_unknown),
        (
            RequestFault::Gateway(504, Insert::Later(later)),
            0,
            is_unknown,
        ),
        (RequestFault::Cut, 1, is_unknown),
        (RequestFault::Slow(later), 1, |o| *o == Outcome::Stored),
        (RequestFault::TooMany(Some(3)), 0, |o| {
            *o == Outcome::Throttled {
                retry_after: Some(Duration::from_secs(3)),
            }
        }),
        (RequestFault::Page(403), 0, |o| {
            matches!(o, Outcome::Refused(Refusal::Operator(_)))
        }),
    ];
    for (fault, stored, is_right) in cases {
        simulate(1, move || {
            let world = world(1_000);
            world.nginx.fail_requests(1, fault);
            let body = batch(0..10);
            let outcome = world.post(&body);
            assert!(is_right(&outcome), "{fault:?}: {outcome:?}");
            assert_eq!(world.server.count(0).log, stored, "{fault:?}");
            wait_until(now() + Duration::from_secs(5));
            assert!(!world.nginx.is_working(), "{fault:?}");
            assert_eq!(world.post(&body), Outcome::Stored, "{fault:?}");
            assert_eq!(world.server.count(0).log, 1);
            assert!(world.violations.is_empty());
        });
    }
}

#[test]
fn an_insert_of_more_than_a_minute_is_a_504_and_goes_on() {
    simulate(1, || {
        let world = world(1_000);
        world
            .nginx
            .fail_requests(1, RequestFault::Slow(Duration::from_secs(90)));
        let posted = world.post_at(&batch(0..10), Duration::ZERO);
        assert!(is_unknown(&posted.outcome()));
        assert_eq!(posted.took.as_secs(), 60);
        assert_eq!(world.server.count(0).log, 0);
        wait_until(now() + Duration::from_secs(31));
        assert_eq!(world.server.count(0).log, 1);
    });
}

/// What is left of a request whose process was killed so many milliseconds after it began.
fn killed(seed: u64, after_ms: u64) -> u32 {
    simulate(seed, move || {
        let world = Rc::new(world(1_000));
        let posting = world.clone();
        spawn("upload", Process(1), move || {
            posting.post_at(&batch(0..10), Duration::from_millis(30));
            wait_until(Duration::MAX);
        });
        wait_until(Duration::from_millis(after_ms));
        kill(Process(1), Death::Kill);
        assert!(wait_for(Duration::from_secs(1), || is_dead(Process(1))));
        wait_until(now() + Duration::from_secs(5));
        assert!(!world.nginx.is_working());
        // It is nobody's any more: the next one is alone.
        assert_eq!(world.post(&batch(10..20)), Outcome::Stored);
        assert!(world.violations.is_empty(), "{:?}", world.violations.all());
        world.server.count(0).log
    })
}

#[test]
fn a_process_that_dies_leaves_a_request_that_may_arrive() {
    assert!((0..20).all(|seed| killed(seed, 25) == 0));
    assert!((0..20).all(|seed| killed(seed, 40) == 1));
    let travelling: Vec<u32> = (0..60).map(|seed| killed(seed, 31)).collect();
    assert!(travelling.contains(&0) && travelling.contains(&1));
}

#[test]
fn two_requests_at_once_are_noted() {
    simulate(1, || {
        let world = Rc::new(world(1_000));
        let done = Rc::new(RefCell::new(0));
        for part in 0..2 {
            let (world, done) = (world.clone(), done.clone());
            spawn("upload", Process(part + 1), move || {
                let from = i64::from(part) * 10;
                world.post(&batch(from..from + 10));
                *done.borrow_mut() += 1;
            });
        }
        assert!(wait_for(Duration::from_secs(9), || *done.borrow() == 2));
        assert_eq!(world.violations.all()[0].rule, Rule::TwoInFlight);
    });
}

#[test]
fn another_server_is_another_way_to_the_same_tables() {
    simulate(1, || {
        let world = world(ONE_A_MINUTE);
        assert_eq!(world.post(&batch(0..10)), Outcome::Stored);
        let main = world.nginx.route(Arc::new(world.clock.clone()));
        let other = main
            .for_url(&"http://direct:8123/".parse().unwrap())
            .unwrap();
        let body = batch(10..20);
        let posted = block_on(other.post(&world.request(&body), body, world.clock.now()));
        assert_eq!(posted.outcome(), Outcome::Stored);
        let seen = world.nginx.seen();
        assert!(seen[0].is_main && !seen[1].is_main);
    });
}
