//! What if the broker dies, stays away, or forgets? With a real one of the
//! test's own: killed under load, away for a while, and one whose retention
//! deletes what was never read.

use std::thread;
use std::time::Duration;

use crate::support::stack::House;
use crate::support::stack::own_broker::OwnBroker;
use crate::support::stack::rows::{assert_same, feed_steadily, rows, send, stored};
use crate::support::stack::spool_files::files_in;

/// How often a broker looks for data that is too old, in milliseconds.
const RETENTION_CHECK_MS: u32 = 500;

/// How long a broker is away that is not just restarted; its start adds a few
/// seconds.
const AWAY: Duration = Duration::from_secs(10);

#[test]
fn a_broker_that_dies_under_load_and_one_that_is_away_cost_nothing() {
    const PER_SECOND: u64 = 1_500;
    let broker = OwnBroker::start(RETENTION_CHECK_MS);
    let mut house = House::reading_from(&broker.brokers(), "broker_dies", 3);
    // A broker that came back waits as long for the member it remembers.
    house.librdkafka = "\"session.timeout.ms\" = 6000";
    house.start();
    let rows = rows(31, 20 * PER_SECOND);
    let feeding = feed_steadily(&house, &rows, PER_SECOND);
    for away in [Duration::ZERO, AWAY] {
        thread::sleep(Duration::from_secs(2));
        broker.kill();
        thread::sleep(away);
        broker.come_back();
    }
    let places = feeding.join().unwrap();
    house.wait_until_drained(&places);
    assert_eq!(house.metric("spoolhouse_offsets_lost_total"), 0.0);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(&rows));
    assert!(house.gaps().is_empty());
    assert!(files_in(&house.spool(), "doubtful").is_empty());
}

#[test]
fn what_retention_deleted_while_it_was_down_is_counted_exactly() {
    let broker = OwnBroker::start(RETENTION_CHECK_MS);
    let house = House::reading_from(&broker.brokers(), "retention", 2);
    let rows = rows(32, 900);
    house.start();
    let mut places = send(&house, &rows[..300]);
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));

    let lost = send(&house, &rows[300..700]);
    house.configure_topic(&[("retention.ms", "100"), ("segment.ms", "100")]);
    house.wait_until("the broker to forget", || {
        house.logs().iter().all(|(start, end)| start == end)
    });
    house.configure_topic(&[("retention.ms", "3600000")]);
    places.extend(send(&house, &rows[700..]));
    let logs = house.logs();
    house.start();
    house.wait_until_drained(&places);

    // Two partitions, dealt in turns: 150 each before, 200 each lost, 100 each after.
    assert_eq!(logs, [(350, 450), (350, 450)]);
    let mut gaps = house.gaps();
    gaps.sort();
    assert_eq!(gaps, [(0, 150, 350), (1, 150, 350)]);
    assert_eq!(
        house.metric("spoolhouse_offsets_lost_total"),
        lost.len() as f64
    );
    assert_eq!(house.stop(), Some(0));
    let kept = rows[..300].iter().chain(&rows[700..]);
    assert_same(&house.stored_rows(), &stored(kept));
}
