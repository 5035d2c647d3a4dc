//! Does the pacer learn a proxy's pace, and follow it? Against a limiter that
//! counts as nginx does, on a simulated clock.

use super::*;

/// A limiter as nginx's `limit_req` computes it: whole milliseconds, a rate of
/// whole thousandths of a request per second, rounded down; refusals are free.
pub(super) struct Proxy {
    rate: u64,
    last_ms: Option<u64>,
    /// How long requests travel, in milliseconds: a little longer or shorter.
    travel_ms: Box<dyn FnMut() -> u64>,
}

impl Proxy {
    pub(super) fn per_minute(rate: f64) -> Self {
        Self {
            rate: thousandths(rate),
            last_ms: None,
            travel_ms: Box::new(|| 0),
        }
    }

    fn answer(&mut self, seconds: f64) -> Outcome {
        let now_ms = (seconds * 1000.0) as u64 + 1_000_000 + (self.travel_ms)();
        let passed_ms = self.last_ms.map_or(u64::MAX / 10_000, |last| now_ms - last);
        if self.rate * passed_ms / 1000 < 1000 {
            return THROTTLED;
        }
        self.last_ms = Some(now_ms);
        Outcome::Stored
    }
}

/// `per_minute` requests a minute, as nginx keeps it.
fn thousandths(per_minute: f64) -> u64 {
    (per_minute * 1000.0 / 60.0) as u64
}

/// Sends whenever the pacer says so, until `until`; counts (stored, refused).
pub(super) fn drive(pacer: &mut Pacer, proxy: &mut Proxy, now: &mut f64, until: f64) -> (u32, u32) {
    let (mut stored, mut refused) = (0, 0);
    loop {
        *now += wait(pacer, *now);
        if *now >= until {
            return (stored, refused);
        }
        let outcome = proxy.answer(*now);
        match outcome {
            Outcome::Stored => stored += 1,
            _ => refused += 1,
        }
        attempt(pacer, *now, &outcome);
        *now += 0.02;
    }
}

#[test]
fn the_interval_of_stock_nginx_costs_one_refusal_and_then_none() {
    let mut pacer = fresh();
    let mut proxy = Proxy::per_minute(1.0);
    let mut now = 0.0;
    assert_eq!(drive(&mut pacer, &mut proxy, &mut now, 70.0), (2, 1));
    assert_eq!(pacer.interval(), Duration::from_millis(62_520));
    let (stored, refused) = drive(&mut pacer, &mut proxy, &mut now, 70.0 + 3600.0);
    assert_eq!(refused, 0);
    assert!(stored >= 57, "{stored}");
}

#[test]
fn a_much_slower_proxy_is_found_in_a_few_steps() {
    let mut pacer = fresh();
    let mut proxy = Proxy::per_minute(0.34); // 200 s
    let mut now = 0.0;
    let (stored, refused) = drive(&mut pacer, &mut proxy, &mut now, 7_200.0);
    assert!(refused <= 16, "{refused} {:?}", pacer.pace());
    assert!(stored >= 33, "{stored} of 36");
    let learned = pacer.interval().as_secs_f64();
    assert!((200.0..206.0).contains(&learned), "{learned}");
}

#[test]
fn a_proxy_that_is_slower_than_anything_expected_is_asked_less_and_less_often() {
    let mut pacer = fresh();
    let mut proxy = Proxy::per_minute(0.1); // 1000 s
    let mut now = 0.0;
    let (stored, refused) = drive(&mut pacer, &mut proxy, &mut now, 5_500.0);
    assert_eq!(stored, 6);
    assert!(refused < 500, "{refused}");
}

/// Slots that a proxy of such rates offered, and what became of them.
#[derive(Debug, Default)]
struct Tally {
    offered: f64,
    stored: u32,
    refused: u32,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.offered += more.offered;
        self.stored += more.stored;
        self.refused += more.refused;
    }
}

/// How evenly requests travel.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Travel times differ by up to so many milliseconds.
    jitter_ms: u64,
    /// One in so many is held up on the way; 0 for none.
    held_up_one_in: u64,
    /// ... by up to so many milliseconds more.
    held_up_ms: u64,
}

impl Way {
    const fn jittery(jitter_ms: u64) -> Way {
        Way {
            jitter_ms,
            held_up_one_in: 0,
            held_up_ms: 0,
        }
    }

    fn travel_times(self, seed: u32) -> Box<dyn FnMut() -> u64> {
        let mut seed = u64::from(seed);
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        Box::new(move || {
            let held_up = self.held_up_one_in > 0 && random(self.held_up_one_in) == 0;
            let more_ms = if held_up { random(self.held_up_ms) } else { 0 };
            random(self.jitter_ms + 1) + more_ms
        })
    }
}

/// Drives through stretches of so many slots at these rates.
fn through(configured_ms: u64, stretches: &[(f64, u32)], way: Way) -> Tally {
    let options = PaceOptions {
        interval_ms: configured_ms,
        ..options()
    };
    let mut pacer = Pacer::new(options, None);
    let mut proxy = Proxy::per_minute(stretches[0].0);
    // Other stretches, other travel times.
    proxy.travel_ms = way.travel_times(stretches[0].1);
    let (mut now, mut end) = (0.0, 0.0);
    let mut tally = Tally::default();
    for (per_minute, slots) in stretches {
        proxy.rate = thousandths(*per_minute);
        end += 1000.0 / proxy.rate as f64 * f64::from(*slots);
        tally.offered += f64::from(*slots);
        let (stored, refused) = drive(&mut pacer, &mut proxy, &mut now, end);
        tally.stored += stored;
        tally.refused += refused;
    }
    tally
}

#[test]
fn whatever_the_rate_nearly_every_slot_is_used_and_next_to_none_asked_for_twice() {
    for jitter_ms in [0, 3] {
        for configured_ms in [500, 1_000, 60_000] {
            let tally = through(
                configured_ms,
                &[(60_000.0 / configured_ms as f64, 1_000)],
                Way::jittery(jitter_ms),
            );
            let used = f64::from(tally.stored) / tally.offered;
            assert!(used >= 0.98, "{configured_ms} ms, {jitter_ms}: {tally:?}");
            assert!(
                tally.refused <= 10,
                "{configured_ms} ms, {jitter_ms}: {tally:?}"
            );
        }
    }
}

#[test]
fn a_proxy_that_becomes_slower_and_faster_is_followed() {
    // Rates per minute, and the least share of slots to be used, on average over
    // changes that come sooner or later after a trial of a shorter distance: a proxy
    // that became much faster is found out only by the next one.
    let changes = [
        ([60.0, 45.0, 60.0], 0.975),
        ([60.0, 90.0, 60.0], 0.97),
        ([1.0, 2.0, 1.0], 0.96),
        ([60.0, 48.0, 75.0], 0.96),
        ([60.0, 30.0, 60.0], 0.96),
    ];
    let phases = (800..960).step_by(16);
    for ([first, second, third], used_min) in changes {
        for jitter_ms in [0, 3] {
            let mut all = Tally::default();
            for slots in phases.clone() {
                let stretches = [(first, slots), (second, 800), (third, 800)];
                let interval_ms = (60_000.0 / first) as u64;
                all += through(interval_ms, &stretches, Way::jittery(jitter_ms));
            }
            let used = f64::from(all.stored) / all.offered;
            let what = format!("{first} {second} {third}, {jitter_ms} ms: {used:.4} {all:?}");
            assert!(used >= used_min, "{what}");
            assert!(f64::from(all.refused) <= all.offered / 100.0, "{what}");
        }
    }
}

#[test]
fn a_request_that_is_held_up_now_and_then_makes_the_distance_no_longer() {
    let way = Way {
        jitter_ms: 1,
        held_up_one_in: 300,
        held_up_ms: 30,
    };
    let steady = through(300, &[(200.0, 2_400)], way);
    assert!(
        f64::from(steady.stored) >= steady.offered * 0.98,
        "{steady:?}"
    );
    let mut all = Tally::default();
    for slots in (800..960).step_by(16) {
        all += through(300, &[(200.0, slots), (150.0, 800), (200.0, 800)], way);
    }
    assert!(f64::from(all.stored) >= all.offered * 0.97, "{all:?}");
    assert!(f64::from(all.refused) <= all.offered / 80.0, "{all:?}");
}

#[test]
fn a_distance_at_the_very_edge_is_left_by_a_little() {
    // 1333.3 ms between two: 1333 are admitted, or not.
    let tally = through(1_333, &[(45.0, 2_000)], Way::jittery(1));
    assert!(
        f64::from(tally.refused) <= tally.offered / 100.0,
        "{tally:?}"
    );
    assert!(f64::from(tally.stored) >= tally.offered * 0.99, "{tally:?}");
}
