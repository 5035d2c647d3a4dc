//! Who has a record at any moment, Kafka or the spool? On a real broker: killed
//! at any time, nothing is lost and nothing is read twice; an offset is
//! committed only when its record is on disk; the spool's own position outranks
//! what the group remembers; and what the broker deleted unread is counted.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::support::stack::house::NOWHERE;
use crate::support::stack::house::topic::ends;
use crate::support::stack::recorder::Recorder;
use crate::support::stack::rows::{assert_same, feed_steadily, rows, send, stored};
use crate::support::stack::spool_files::{covered, document, files_in, log_rows};
use crate::support::stack::{House, stack};

/// The rooms in which records wait.
const WAITING: [&str; 4] = ["sealed", "ready", "batches", "sending"];

#[test]
fn a_kill_after_sealing_loses_nothing_and_reads_nothing_twice() {
    let mut house = House::new("killed_sealed", 3);
    house.upload_url = NOWHERE.to_owned();
    let rows = rows(1, 3_000);
    let mut places = Vec::new();
    for part in rows.chunks(1_000) {
        house.start();
        places.extend(send(&house, part));
        house.wait_until("a segment with the last of it", || {
            let covered = covered(&house.spool());
            let reached = |(partition, end): (&i32, &i64)| {
                let ranges = covered.get(partition);
                ranges.and_then(|ranges| ranges.last()).map(|last| last.1) == Some(*end)
            };
            ends(&places).iter().all(reached)
        });
        // Sealed, and perhaps committed or perhaps not.
        house.kill();
        assert_same(
            &log_rows(&house.spool(), &WAITING),
            &stored(&rows[..places.len()]),
        );
    }
    house.upload_url = stack().proxy_url();
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.metric("spoolhouse_offsets_lost_total"), 0.0);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(&rows));
}

#[test]
fn kills_at_random_moments_lose_nothing_and_store_nothing_twice() {
    const PER_SECOND: u64 = 2_000;
    const KILLS: u32 = 5;
    let house = House::new("killed_at_random", 6);
    let rows = rows(2, 10 * PER_SECOND);
    let mut moments = ChaCha8Rng::from_seed([5; 32]);

    house.start();
    let feeding = feed_steadily(&house, &rows, PER_SECOND);
    for _ in 0..KILLS {
        // The moment itself is what is tried out; nothing is waited for.
        thread::sleep(Duration::from_millis(200 + moments.next_u64() % 1_800));
        house.kill();
        house.start();
    }
    let places = feeding.join().unwrap();
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(&rows));
    let totals = house.clickhouse("SELECT sum(requests) FROM http_log_totals");
    assert_eq!(totals.trim(), rows.len().to_string());
    assert!(!house.spool().join("gaps.jsonl").exists());
    assert!(files_in(&house.spool(), "doubtful").is_empty());
}

#[test]
fn a_kill_between_clickhouse_and_its_answer_stores_nothing_twice() {
    let recorder = Recorder::before(stack().proxy);
    let mut house = House::new("killed_unanswered", 2);
    house.upload_url = recorder.url();
    recorder.withhold_answers(true);
    house.start();
    let rows = rows(9, 500);
    let places = send(&house, &rows);
    house.wait_until("rows in ClickHouse", || !house.stored_rows().is_empty());
    house.kill();
    assert_eq!(files_in(&house.spool(), "sending").len(), 1);
    recorder.withhold_answers(false);
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(&rows));
    // The second time it was the same request, byte for byte.
    let posts = recorder.requests();
    let again = posts.iter().filter(|(_, body)| *body == posts[0].1);
    assert!(again.count() >= 2, "the same batch went twice");
    let totals = house.clickhouse("SELECT sum(requests) FROM http_log_totals");
    assert_eq!(totals.trim(), rows.len().to_string());
}

#[test]
fn a_request_that_was_lost_is_not_taken_for_stored() {
    let recorder = Recorder::before(stack().proxy);
    let mut house = House::new("lost_request", 2);
    house.upload_url = recorder.url();
    recorder.lose_requests(true);
    house.start();
    let rows = rows(11, 500);
    let places = send(&house, &rows);
    house.wait_until("a second attempt", || recorder.connections().len() >= 2);
    assert_eq!(files_in(&house.spool(), "sending").len(), 1);
    recorder.lose_requests(false);
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(&rows));
}

#[test]
fn an_offset_is_committed_only_once_its_record_is_on_disk() {
    let mut house = House::new("commit_after_disk", 3);
    house.upload_url = NOWHERE.to_owned();
    house.roll_after = "100ms";
    house.start();
    let commits = house.commits();
    let feeding = feed_steadily(&house, &rows(3, 6_000), 1_000);
    let mut amid = 0;
    let mut before = BTreeMap::new();
    while !feeding.is_finished() {
        let (committed, positions, covered) = house.while_frozen(|| {
            (
                commits.offsets(),
                house.positions(),
                covered(&house.spool()),
            )
        });
        for (partition, committed) in &committed {
            let position = positions.get(partition).copied();
            assert!(
                position >= Some(*committed),
                "partition {partition}: {committed} committed, {position:?} in spool.json"
            );
        }
        for (partition, position) in positions.iter().filter(|(_, position)| **position > 0) {
            let on_disk = covered.get(partition).map(Vec::as_slice);
            assert!(
                matches!(on_disk, Some([(0, end)]) if end >= position),
                "partition {partition}: position {position}, on disk {on_disk:?}"
            );
        }
        amid += u32::from(committed != before);
        before = committed;
        // Lets it come on a little between two looks.
        thread::sleep(Duration::from_millis(40));
    }
    // Otherwise nothing was going on between the looks.
    assert!(amid > 3, "only {amid} looks saw a new commit");
    house.wait_until_committed(&feeding.join().unwrap());
}

#[test]
fn a_commit_names_the_spool_and_the_segment_that_reaches_it() {
    let mut house = House::new("signed_commits", 2);
    house.upload_url = NOWHERE.to_owned();
    house.start();
    let commits = house.commits();
    let mut places = Vec::new();
    for part in rows(4, 40).chunks(20) {
        places.extend(send(&house, part));
        house.wait_until_committed(&places);
        // What is packed has lost its own footer: let that be the first part.
        house.wait_until("the first batch", || {
            !files_in(&house.spool(), "sending").is_empty()
        });
    }
    let spool = house.state_file().unwrap()["spool"].clone();
    let topic_id = house.state_file().unwrap()["sources"][0]["source"]["topic_id"].clone();
    let mut reached: BTreeMap<(i32, i64), u64> = BTreeMap::new();
    for directory in ["sealed", "ready"] {
        for file in files_in(&house.spool(), directory) {
            let segment = document(&file)["segment"].clone();
            assert_eq!(segment["spool"], spool);
            for (partition, range) in segment["offsets"].as_object().unwrap() {
                let end = (partition.parse().unwrap(), range[1].as_i64().unwrap());
                reached.insert(end, segment["segment"].as_u64().unwrap());
            }
        }
    }
    let signed = commits.signed();
    assert_eq!(signed.len(), 2);
    for (partition, (offset, metadata)) in signed {
        let segment = reached[&(partition, offset)];
        assert_eq!(
            metadata,
            format!(
                "spoolhouse/1 {} {segment} {}",
                spool.as_str().unwrap(),
                topic_id.as_str().unwrap()
            )
        );
    }
}

#[test]
fn a_first_start_reads_from_the_start_of_the_log_and_counts_no_gap() {
    let house = House::new("first_start", 1);
    let rows = rows(5, 100);
    let places = send(&house, &rows);
    // What was deleted before we ever looked is nobody's loss.
    house.delete_before(0, 40);
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(&rows[40..]));
    assert!(!house.spool().join("gaps.jsonl").exists());
}

#[test]
fn the_spools_own_position_stands_in_for_commits_that_are_gone() {
    let mut house = House::new("own_position", 2);
    // A group can be deleted once its member is gone: the least that brokers allow.
    house.librdkafka = "\"session.timeout.ms\" = 6000";
    let rows = rows(6, 300);
    let mut places = send(&house, &rows[..100]);
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));

    house.delete_group();
    assert_eq!(house.commits().offsets(), BTreeMap::new());
    places.extend(send(&house, &rows[100..200]));
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));

    house.group += "_anew";
    places.extend(send(&house, &rows[200..]));
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(&rows));
}

#[test]
fn what_was_deleted_while_it_was_away_is_counted_exactly() {
    let house = House::new("gap_while_away", 2);
    let rows = rows(7, 300);
    let mut places = send(&house, &rows[..100]);
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.stop(), Some(0));

    places.extend(send(&house, &rows[100..]));
    house.delete_before(1, 50 + 73);
    house.start();
    house.wait_until_drained(&places);
    assert_eq!(house.gaps(), [(1, 50, 123)]);
    assert_eq!(house.metric("spoolhouse_offsets_lost_total"), 73.0);
    assert_eq!(house.stop(), Some(0));
    let kept = rows
        .iter()
        .zip(&places)
        .filter(|(_, at)| at.partition == 0 || !(50..123).contains(&at.offset));
    assert_same(&house.stored_rows(), &stored(kept.map(|(row, _)| row)));
}

#[test]
fn what_was_deleted_under_a_running_reader_is_counted_exactly() {
    let house = House::new("gap_while_running", 1);
    // More than a fetch may bring, so that the reader can't have all of it.
    let mut rows = rows(8, 60);
    for row in &mut rows[10..] {
        row.url.push_str(&"x".repeat(100_000));
    }
    let mut places = send(&house, &rows[..10]);
    house.start();
    house.wait_until_drained(&places);
    house.while_frozen(|| {
        places.extend(send(&house, &rows[10..]));
        house.delete_before(0, 55);
    });
    house.wait_until_drained(&places);
    let gaps = house.gaps();
    let [(0, from, 55)] = gaps[..] else {
        panic!("one gap, up to the log's start: {gaps:?}")
    };
    assert!((10..55).contains(&from), "{from}");
    assert_eq!(
        house.metric("spoolhouse_offsets_lost_total"),
        (55 - from) as f64
    );
    assert_eq!(house.stop(), Some(0));
    let kept = rows[..from as usize].iter().chain(&rows[55..]);
    assert_same(&house.stored_rows(), &stored(kept));
}

#[test]
fn no_segment_claims_what_was_deleted_unread() {
    let mut house = House::new("gap_claimed", 1);
    house.upload_url = NOWHERE.to_owned();
    // The window is open, with rows in it, when the gap is met.
    house.roll_after = "10s";
    let mut rows = rows(12, 60);
    for row in &mut rows[10..] {
        row.url.push_str(&"x".repeat(100_000));
    }
    send(&house, &rows[..10]);
    house.start();
    house.wait_until("it reads", || !house.positions().is_empty());
    thread::sleep(Duration::from_secs(1));
    house.while_frozen(|| {
        send(&house, &rows[10..]);
        house.delete_before(0, 55);
    });
    house.wait_until("the gap", || !house.gaps().is_empty());
    let [(0, from, 55)] = house.gaps()[..] else {
        panic!("one gap, up to the log's start: {:?}", house.gaps())
    };
    assert!((10..55).contains(&from), "{from}");
    house.wait_until("what is left", || {
        covered(&house.spool())
            .values()
            .flatten()
            .any(|range| range.1 == 60)
    });
    assert_eq!(house.stop(), Some(0));
    let covered = &covered(&house.spool())[&0];
    assert!(covered.contains(&(0, from)), "{covered:?}");
    let claims = covered.iter().any(|range| range.0 < 55 && range.1 > from);
    assert!(!claims, "{covered:?}");
}
