//! What the pacer makes of each outcome; `tests/proxy.rs` has it learn from a
//! proxy.

mod proxy;

use super::*;
use crate::upload::outcome::Reason;
use proxy::{Proxy, drive};

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
