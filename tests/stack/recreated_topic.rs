//! Is a topic that was deleted and created again told apart from its namesake?
//! On a real broker: positions of the old one are never applied to the new one,
//! also when the new one has grown past them, and what was taken in of the old
//! one still goes up.

use crate::support::stack::House;
use crate::support::stack::rows::{assert_same, rows, send, stored};

/// Far fewer in the old topic than in the new one, which so grows past it.
const OLD: u64 = 500;
const NEW: u64 = 2_000;

#[test]
fn a_topic_that_is_created_anew_while_we_run_is_read_from_its_start() {
    let house = House::new("anew_running", 2);
    let (old, new) = (rows(11, OLD), rows(12, NEW));
    house.start();
    let places = send(&house, &old);
    house.wait_until_committed(&places);
    house.recreate_topic();
    send(&house, &new);
    let expected = stored(old.iter().chain(&new));
    house.wait_until("all rows of both topics", || {
        house.stored_rows().len() >= expected.len()
    });
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &expected);
    assert!(
        !house.spool().join("gaps.jsonl").exists(),
        "nothing was lost"
    );
}

#[test]
fn a_topic_that_is_created_anew_while_we_are_down_is_read_from_its_start() {
    let house = House::new("anew_down", 2);
    let (old, new) = (rows(13, OLD), rows(14, NEW));
    house.start();
    let places = send(&house, &old);
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    house.recreate_topic();
    let places = send(&house, &new);
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(old.iter().chain(&new)));
}
