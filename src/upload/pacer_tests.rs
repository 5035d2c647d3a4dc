use super::*;
use crate::upload::answer::Reason;

const MIB: u64 = 1_048_576;

/// Any time will do as the start, as long as it isn't 1970.
fn at(seconds: f64) -> SystemTime {
    let since = Duration::from_micros((seconds.abs() * 1e6).round() as u64);
    let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    if seconds < 0.0 {
        start - since
    } else {
        start + since
    }
}

fn options() -> PaceOptions {
    PaceOptions {
        url: "http://proxy/".into(),
        interval_ms: 60_000,
        body_bytes_max: MIB,
    }
}

fn fresh() -> Pacer {
    Pacer::new(options(), None)
}

const THROTTLED: Outcome = Outcome::Throttled { retry_after: None };

fn reason() -> Reason {
    Reason {
        status: Some(500),
        code: None,
        may_be_stored: true,
        message: String::new(),
    }
}

fn not_sent() -> Outcome {
    Outcome::NotSent(Reason {
        status: None,
        ..reason()
    })
}

/// One attempt at `seconds`, answered at once.
fn attempt(pacer: &mut Pacer, seconds: f64, outcome: &Outcome) {
    pacer.sent(at(seconds));
    pacer.record(outcome, MIB, at(seconds), 0.0);
}

fn wait(pacer: &mut Pacer, seconds: f64) -> f64 {
    pacer.wait(at(seconds)).as_secs_f64()
}

/// A limiter as nginx's `limit_req` computes it: whole milliseconds, a rate of
/// whole thousandths of a request per second, rounded down; refusals are free.
struct Proxy {
    rate: u64,
    last_ms: Option<u64>,
    /// How long requests travel, in milliseconds: a little longer or shorter.
    travel_ms: Box<dyn FnMut() -> u64>,
}

impl Proxy {
    fn per_minute(rate: f64) -> Self {
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
fn drive(pacer: &mut Pacer, proxy: &mut Proxy, now: &mut f64, until: f64) -> (u32, u32) {
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
fn the_first_request_goes_at_once_and_the_next_after_the_interval() {
    let mut pacer = fresh();
    assert_eq!(wait(&mut pacer, 0.0), 0.0);
    attempt(&mut pacer, 0.0, &Outcome::Stored);
    assert_eq!(wait(&mut pacer, 1.0), 59.0);
    assert_eq!(wait(&mut pacer, 60.0), 0.0);
    assert_eq!(pacer.next_at(), at(60.0));
}

#[test]
fn a_slot_is_counted_from_when_the_request_went_out_not_from_its_answer() {
    let mut pacer = fresh();
    pacer.sent(at(0.0));
    pacer.record(&Outcome::Stored, MIB, at(20.0), 0.0);
    assert_eq!(wait(&mut pacer, 20.0), 40.0);
}

#[test]
fn a_refusal_moves_no_slot_and_the_next_attempt_counts_from_the_same_request() {
    let mut pacer = fresh();
    attempt(&mut pacer, 0.0, &Outcome::Stored);
    attempt(&mut pacer, 60.0, &THROTTLED);
    // What nginx makes of one a minute, and 20 ms for the way.
    let wait_ms = (wait(&mut pacer, 60.0) * 1000.0).round();
    assert_eq!(wait_ms, 2_520.0);
    attempt(&mut pacer, 62.52, &THROTTLED);
    let longer = wait(&mut pacer, 62.52);
    assert!((0.1..1.0).contains(&longer), "{longer}");
}

#[test]
fn of_a_slot_that_nothing_is_known_about_it_asks_every_half_second() {
    let mut pacer = fresh();
    for seconds in [0.0, 0.5, 1.0] {
        attempt(&mut pacer, seconds, &THROTTLED);
        assert_eq!(wait(&mut pacer, seconds), 0.5);
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

#[test]
fn retry_after_is_honoured_within_reason() {
    let mut pacer = fresh();
    let after = |seconds| Outcome::Throttled {
        retry_after: Some(Duration::from_secs(seconds)),
    };
    attempt(&mut pacer, 0.0, &after(7));
    assert_eq!(wait(&mut pacer, 0.0), 7.0);
    attempt(&mut pacer, 7.0, &after(1_000_000));
    assert_eq!(wait(&mut pacer, 7.0), 3600.0);
}

#[test]
fn refusals_after_an_idle_hour_teach_nothing() {
    let mut pacer = fresh();
    attempt(&mut pacer, 0.0, &Outcome::Stored);
    attempt(&mut pacer, 3600.0, &THROTTLED);
    assert_eq!(wait(&mut pacer, 3600.0), 0.5);
    attempt(&mut pacer, 3603.0, &Outcome::Stored);
    assert_eq!(pacer.interval(), Duration::from_secs(60));
}

#[test]
fn a_clock_that_jumps_either_way_delays_by_one_interval_at_most() {
    let mut pacer = fresh();
    attempt(&mut pacer, 0.0, &Outcome::Stored);
    assert_eq!(wait(&mut pacer, -86_400.0), 60.0);
    assert_eq!(wait(&mut pacer, -86_350.0), 10.0);
    attempt(&mut pacer, -86_340.0, &not_sent());
    assert!(wait(&mut pacer, -90_000.0) <= 60.0);
    assert_eq!(wait(&mut pacer, -89_000.0), 0.0);
    assert_eq!(wait(&mut pacer, 86_400.0), 0.0);
}

#[test]
fn a_restart_goes_on_where_the_last_process_ended() {
    let mut pacer = fresh();
    drive(&mut pacer, &mut Proxy::per_minute(1.0), &mut 0.0, 70.0);
    let stored = serde_json::to_string(pacer.pace()).unwrap();
    let mut again = Pacer::new(options(), Some(serde_json::from_str(&stored).unwrap()));
    assert_eq!(again.interval(), pacer.interval());
    assert_eq!(wait(&mut again, 70.0), wait(&mut pacer, 70.0));
}

#[test]
fn a_stored_interval_that_nothing_can_have_taught_is_not_believed() {
    let stored = serde_json::to_value(fresh().pace()).unwrap();
    for (key, value) in [
        ("kept_ms", u64::MAX),
        ("kept_ms", 0),
        ("refused_ms", u64::MAX),
        ("before_ms", u64::MAX),
        ("slack_ms", u64::MAX),
        ("configured_ms", 1),
    ] {
        let mut stored = stored.clone();
        stored["interval"][key] = value.into();
        let pacer = Pacer::new(options(), serde_json::from_value(stored).unwrap());
        assert_eq!(pacer.interval(), Duration::from_secs(60), "{key} {value}");
    }
}

#[test]
fn a_request_under_way_at_the_end_of_a_process_has_used_its_slot() {
    let mut pacer = fresh();
    pacer.sent(at(0.0));
    let mut again = Pacer::new(options(), Some(pacer.pace().clone()));
    assert_eq!(wait(&mut again, 3.0), 57.0);
}

#[test]
fn a_changed_configuration_forgets_what_it_made_stale() {
    let mut pacer = fresh();
    attempt(&mut pacer, 0.0, &Outcome::Stored);
    attempt(&mut pacer, 60.0, &THROTTLED);
    attempt(&mut pacer, 62.52, &Outcome::Stored);
    attempt(&mut pacer, 130.0, &Outcome::TooLarge);
    let pace = pacer.pace();
    let learned = Duration::from_millis(62_520);
    assert_eq!(pacer.interval(), learned);
    assert_eq!(pacer.body_bytes_max(), MIB / 2);

    let slower = PaceOptions {
        interval_ms: 90_000,
        ..options()
    };
    let mut other = Pacer::new(slower, Some(pace.clone()));
    assert_eq!(other.interval(), Duration::from_secs(90));
    assert_eq!(other.body_bytes_max(), MIB / 2);
    assert_eq!(wait(&mut other, 62.5), 90.0);

    let larger = PaceOptions {
        body_bytes_max: 2 * MIB,
        ..options()
    };
    let other = Pacer::new(larger, Some(pace.clone()));
    assert_eq!(other.interval(), learned);
    assert_eq!(other.body_bytes_max(), 2 * MIB);

    let elsewhere = PaceOptions {
        url: "http://other/".into(),
        ..options()
    };
    let mut other = Pacer::new(elsewhere, Some(pace.clone()));
    assert_eq!(wait(&mut other, 62.5), 0.0);
    assert_eq!(other.body_bytes_max(), MIB);
}

#[test]
fn a_body_that_is_too_large_uses_no_slot_and_the_limit_is_closed_in_on() {
    let mut pacer = fresh();
    attempt(&mut pacer, 0.0, &Outcome::TooLarge);
    assert_eq!(wait(&mut pacer, 0.0), 0.0);
    assert_eq!(pacer.body_bytes_max(), MIB / 2);
    pacer.sent(at(1.0));
    pacer.record(&Outcome::Stored, 400_000, at(1.0), 0.0);
    pacer.sent(at(61.0));
    pacer.record(&Outcome::TooLarge, 500_000, at(61.0), 0.0);
    assert_eq!(pacer.body_bytes_max(), 450_000);
    pacer.sent(at(62.0));
    pacer.record(&Outcome::TooLarge, 450_000, at(62.0), 0.0);
    pacer.sent(at(63.0));
    pacer.record(&Outcome::Stored, 420_000, at(63.0), 0.0);
    assert_eq!(pacer.body_bytes_max(), 435_000);
    pacer.sent(at(200.0));
    pacer.record(&Outcome::Stored, 435_000, at(200.0), 0.0);
    assert_eq!(pacer.body_bytes_max(), 435_000);
}

#[test]
fn a_body_limit_that_was_lowered_or_raised_is_learned_anew() {
    let mut pacer = fresh();
    attempt(&mut pacer, 0.0, &Outcome::Stored);
    attempt(&mut pacer, 60.0, &Outcome::TooLarge);
    assert_eq!(pacer.body_bytes_max(), MIB / 2);
    attempt(&mut pacer, 61.0, &Outcome::Stored);
    assert_eq!(pacer.body_bytes_max(), MIB);
}

#[test]
fn without_a_connection_the_wait_doubles_up_to_a_minute_and_jitter_shortens_it() {
    let mut pacer = fresh();
    let mut waits = Vec::new();
    let mut now = 0.0;
    for _ in 0..9 {
        attempt(&mut pacer, now, &not_sent());
        waits.push(wait(&mut pacer, now));
        now += waits.last().unwrap();
    }
    assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
    let mut pacer = fresh();
    pacer.sent(at(0.0));
    pacer.record(&not_sent(), MIB, at(0.0), 1.0);
    assert_eq!(wait(&mut pacer, 0.0), 0.75);
}

#[test]
fn a_server_that_we_do_not_trust_is_tried_like_one_that_is_away_and_has_used_no_slot() {
    let untrusted = Outcome::Refused(Refusal::Operator(Reason {
        status: None,
        may_be_stored: false,
        ..reason()
    }));
    let mut pacer = fresh();
    attempt(&mut pacer, 0.0, &Outcome::Stored);
    attempt(&mut pacer, 60.0, &untrusted);
    assert_eq!(wait(&mut pacer, 60.0), 1.0);
    attempt(&mut pacer, 61.0, &untrusted);
    assert_eq!(wait(&mut pacer, 61.0), 2.0);
    assert_eq!(pacer.interval(), Duration::from_secs(60));
}

#[test]
fn what_an_operator_must_mend_is_remembered_until_an_answer_says_that_it_is() {
    let refusal = |message: &str| {
        Outcome::Refused(Refusal::Operator(Reason {
            message: message.to_owned(),
            ..reason()
        }))
    };
    let mut pacer = fresh();
    for silent in [&THROTTLED, &Outcome::TooLarge, &not_sent()] {
        attempt(&mut pacer, 0.0, &refusal("no such table"));
        attempt(&mut pacer, 60.0, silent);
        let stored = serde_json::to_string(pacer.pace()).unwrap();
        let pace: Pace = serde_json::from_str(&stored).unwrap();
        assert_eq!(pace.refusal(), Some("status 500: no such table"));
    }
    attempt(&mut pacer, 120.0, &Outcome::Stored);
    assert_eq!(pacer.pace().refusal(), None);
    let unreadable = Outcome::Refused(Refusal::Format(reason()));
    attempt(&mut pacer, 180.0, &unreadable);
    assert!(pacer.pace().refusal().unwrap().contains("upload.encoding"));
    // Whoever restarts has probably mended it.
    let pacer = Pacer::new(options(), Some(pacer.pace().clone()));
    assert_eq!(pacer.pace().refusal(), None);
}

#[test]
fn an_unknown_outcome_counts_its_slot_as_used() {
    let mut pacer = fresh();
    attempt(&mut pacer, 0.0, &Outcome::Unknown(reason()));
    assert_eq!(wait(&mut pacer, 0.0), 60.0);
}

#[test]
fn what_an_operator_must_mend_is_asked_for_ever_more_slowly_and_heals_at_once() {
    let mut pacer = fresh();
    let refused = Outcome::Refused(Refusal::Operator(reason()));
    let mut now = 0.0;
    let mut waits = Vec::new();
    for _ in 0..5 {
        attempt(&mut pacer, now, &refused);
        waits.push(wait(&mut pacer, now));
        now += waits.last().unwrap();
    }
    assert_eq!(waits, [60.0, 120.0, 240.0, 300.0, 300.0]);
    attempt(&mut pacer, now, &Outcome::Stored);
    assert_eq!(wait(&mut pacer, now), 60.0);
}
