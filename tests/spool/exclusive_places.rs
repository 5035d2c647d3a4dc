//! Do tests that need a quiet machine get one, and does nobody wait for ever? What is
//! tested is `tests/support/exclusive.rs`, with places that no other test uses.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::exclusive::Places;

/// Long enough for a thread that could go on to have gone on.
const A_WHILE: Duration = Duration::from_millis(100);

#[test]
fn there_are_no_more_places_than_there_are() {
    let places = Places::new(2);
    let (first, second) = (places.one(), places.one());
    thread::scope(|scope| {
        let (send, third) = mpsc::channel();
        let places = &places;
        scope.spawn(move || send.send(places.one()).unwrap());
        assert!(third.recv_timeout(A_WHILE).is_err());
        drop(first);
        drop(third.recv().unwrap());
    });
    drop(second);
}

#[test]
fn whoever_needs_quiet_waits_for_the_others_and_is_waited_for() {
    let places = Places::new(2);
    let one = places.one();
    thread::scope(|scope| {
        let places = &places;
        let (send, quiet) = mpsc::channel();
        scope.spawn(move || send.send(places.all()).unwrap());
        assert!(quiet.recv_timeout(A_WHILE).is_err(), "one has a place");
        // There is a free place, but somebody waits for all of them.
        let (send, late) = mpsc::channel();
        scope.spawn(move || send.send(places.one()).unwrap());
        assert!(late.recv_timeout(A_WHILE).is_err());
        drop(one);
        let all = quiet.recv().unwrap();
        assert!(late.recv_timeout(A_WHILE).is_err(), "it is not quiet");
        drop(all);
        drop(late.recv().unwrap());
    });
}
