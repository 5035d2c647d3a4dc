//! The model against what is known of Kafka and its client.

use std::collections::BTreeMap;
use std::time::Duration;

use spoolhouse::ingest::broker::{
    Broker as _, BrokerError, Event, FatalError, Message as _, Polled,
};
use spoolhouse::ingest::commit::Signature;
use uuid::Uuid;

use super::*;
use crate::scheduler::{now, simulate, wait_until};

const POLL: Duration = Duration::from_millis(100);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a client was given so far.
#[derive(Default)]
struct Got {
    offsets: Vec<(i32, i64)>,
    events: Vec<Event>,
    polled: Vec<String>,
}

/// Polls for some time and answers every event as the loop does.
fn read(client: &Client, time: Duration, starts: &BTreeMap<i32, i64>) -> Got {
    let mut got = Got::default();
    let end = now() + time;
    while now() < end {
        for polled in client.poll(POLL).unwrap() {
            match polled {
                Polled::Message(message) => {
                    got.offsets.push((message.partition(), message.offset()))
                }
                other => got.polled.push(format!("{other:?}")),
            }
        }
        while let Some(event) = client.event() {
            match &event {
                Event::Assigned(partitions) => {
                    let start = |p: &i32| (*p, starts.get(p).copied().unwrap_or(0));
                    client
                        .assign(&partitions.iter().map(start).collect())
                        .unwrap();
                }
                Event::Revoked => client.unassign().unwrap(),
                _ => {}
            }
            got.events.push(event);
        }
    }
    got
}

fn commit(client: &Client, offsets: &[(i32, i64)]) {
    let sign = |(partition, offset): &(i32, i64)| {
        let signature = Signature {
            spool: Uuid::from_u128(7),
            segment: 1,
            topic_id: "topic-0".to_owned(),
        };
        (*partition, (*offset, signature))
    };
    client.commit(&offsets.iter().map(sign).collect()).unwrap();
}

/// A cluster with so many messages in each of two partitions, all of them records.
fn cluster(messages: i64) -> Kafka {
    let kafka = Kafka::new(2, 0);
    (0..2).for_each(|partition| kafka.append(partition, messages));
    kafka
}

fn everything(messages: i64) -> Vec<(i32, i64)> {
    (0..2)
        .flat_map(|p| (0..messages).map(move |offset| (p, offset)))
        .collect()
}

#[test]
fn a_member_is_given_its_partitions_and_every_message_once_in_order() {
    for seed in 0..20 {
        simulate(seed, || {
            let kafka = cluster(300);
            let client = kafka.subscribe("ours");
            let got = read(&client, seconds(5), &BTreeMap::new());
            assert!(matches!(&got.events[..], [Event::Assigned(p)] if *p == [0, 1]));
            for partition in 0..2 {
                let mine: Vec<i64> = got
                    .offsets
                    .iter()
                    .filter(|(p, _)| *p == partition)
                    .map(|(_, o)| *o)
                    .collect();
                assert!(mine.is_sorted());
            }
            let mut offsets = got.offsets;
            offsets.sort_unstable();
            assert_eq!(offsets, everything(300));
        });
    }
}

#[test]
fn holes_are_passed_and_undecodable_messages_are_given_out() {
    simulate(1, || {
        let kafka = Kafka::new(1, 3);
        kafka.append(0, 400);
        let client = kafka.subscribe("ours");
        let got = read(&client, seconds(5), &BTreeMap::new());
        let topics = kafka.topics();
        let right = topics[0].messages().map(|id| (id.partition, id.offset));
        let right: Vec<_> = right.collect();
        assert!(right.len() < 390);
        assert_eq!(got.offsets, right);
    });
}

#[test]
fn a_commit_is_answered_and_another_client_finds_it_signed() {
    simulate(1, || {
        let kafka = cluster(10);
        let client = kafka.subscribe("ours");
        read(&client, seconds(2), &BTreeMap::new());
        commit(&client, &[(0, 4), (1, 2)]);
        let got = read(&client, seconds(1), &BTreeMap::new());
        assert!(matches!(&got.events[..], [Event::Committed(c)] if *c == [(0, 4), (1, 2)].into()));
        let asks = kafka.inquire();
        let source = asks.source(seconds(1)).unwrap();
        let committed = asks.committed(&source, &[0, 1]).unwrap();
        let signature = committed[&0].signature.as_ref().unwrap();
        assert_eq!((committed[&0].offset, signature.segment), (4, 1));
        // What was committed for another topic of this name says nothing.
        kafka.delete_topic(true);
        assert_eq!(asks.source(seconds(1)), Err(BrokerError::TopicAbsent));
        kafka.create_topic(2, false);
        let source = asks.source(seconds(1)).unwrap();
        assert_eq!(source.topic_id, "topic-1");
        assert_eq!(asks.committed(&source, &[0, 1]).unwrap(), BTreeMap::new());
    });
}

#[test]
fn every_fault_of_a_commit_is_what_it_says() {
    use CommitFault::*;
    let late = seconds(3);
    let cases = [
        (Refused, None, vec!["failed"]),
        (PartlyRefused, Some(2), vec!["failed", "committed"]),
        (Lost(late), None, vec!["failed"]),
        (AnswerLost(late), Some(2), vec!["failed"]),
        (AnsweredLate(late), Some(2), vec!["committed"]),
        (AppliedLate(late), Some(2), vec!["committed"]),
    ];
    for (fault, stored, told) in cases {
        simulate(1, move || {
            let kafka = cluster(10);
            let client = kafka.subscribe("ours");
            read(&client, seconds(2), &BTreeMap::new());
            kafka.fail_commits(1, fault);
            commit(&client, &[(0, 4), (1, 2)]);
            let got = read(&client, seconds(10), &BTreeMap::new());
            assert_eq!(kafka.committed(1), stored, "{fault:?}");
            let mut kinds: Vec<&str> = got
                .events
                .iter()
                .map(|event| match event {
                    Event::Committed(_) => "committed",
                    Event::CommitFailed(_) => "failed",
                    _ => "other",
                })
                .collect();
            // One for each partition that failed.
            kinds.dedup();
            assert_eq!(kinds, told, "{fault:?}");
        });
    }
}

#[test]
fn a_repeated_commit_takes_the_offset_back_and_a_late_one_does_not() {
    for (fault, end) in [
        (CommitFault::Repeated(seconds(2)), 4),
        (CommitFault::AppliedLate(seconds(2)), 8),
    ] {
        simulate(1, move || {
            let kafka = cluster(10);
            let client = kafka.subscribe("ours");
            read(&client, seconds(2), &BTreeMap::new());
            kafka.fail_commits(1, fault);
            commit(&client, &[(0, 4)]);
            commit(&client, &[(0, 8)]);
            read(&client, seconds(5), &BTreeMap::new());
            assert_eq!(kafka.committed(0), Some(end), "{fault:?}");
            assert_eq!(kafka.furthest_commit(0, 0), 8);
        });
    }
}

#[test]
fn another_member_takes_partitions_after_a_revocation_and_gives_them_back() {
    for seed in 0..20 {
        simulate(seed, || {
            let kafka = cluster(50);
            let client = kafka.subscribe("ours");
            read(&client, seconds(2), &BTreeMap::new());
            kafka.foreign_joins(Signs::Nothing);
            let got = read(&client, seconds(10), &BTreeMap::new());
            // "foreign" sorts before "ours".
            assert!(matches!(&got.events[..], [Event::Revoked, Event::Assigned(p)] if *p == [1]));
            kafka.foreign_reads(20);
            assert_eq!(kafka.taken_elsewhere().len(), 20);
            assert_eq!((kafka.committed(0), kafka.committed(1)), (Some(20), None));
            kafka.foreign_leaves();
            let got = read(&client, seconds(10), &[(0, 20)].into());
            assert!(
                matches!(&got.events[..], [Event::Revoked, Event::Assigned(p)] if *p == [0, 1])
            );
            assert!(got.offsets.contains(&(0, 20)));
        });
    }
}

#[test]
fn who_is_put_out_hears_of_it_and_commits_nothing_more() {
    simulate(1, || {
        let kafka = cluster(50);
        let client = kafka.subscribe("ours");
        read(&client, seconds(2), &BTreeMap::new());
        kafka.foreign_joins(Signs::Nothing);
        read(&client, seconds(10), &BTreeMap::new());
        kafka.put_out("ours");
        commit(&client, &[(1, 9)]);
        let got = read(&client, seconds(10), &BTreeMap::new());
        assert_eq!(kafka.committed(1), None);
        let has = |wanted: fn(&Event) -> bool| got.events.iter().any(wanted);
        assert!(
            has(|event| matches!(event, Event::CommitFailed(_))),
            "{:?}",
            got.events
        );
        assert!(has(|event| matches!(event, Event::Revoked)));
        assert!(has(
            |event| matches!(event, Event::Assigned(p) if *p == [1])
        ));
    });
}

#[test]
fn a_restart_within_the_session_is_no_rebalance_and_the_old_process_is_fenced() {
    simulate(1, || {
        let kafka = cluster(50);
        let old = kafka.subscribe("ours");
        read(&old, seconds(2), &BTreeMap::new());
        let new = kafka.subscribe("ours");
        let got = read(&new, seconds(5), &BTreeMap::new());
        assert!(matches!(&got.events[..], [Event::Assigned(p)] if *p == [0, 1]));
        let fenced = old.poll(POLL).unwrap_err();
        assert!(matches!(fenced, FatalError::Fenced { .. }));
        commit(&old, &[(0, 5)]);
        wait_until(now() + seconds(1));
        assert_eq!(kafka.committed(0), None);
    });
}

#[test]
fn a_process_that_is_gone_for_longer_than_the_session_has_lost_its_partitions() {
    simulate(1, || {
        let kafka = cluster(50);
        let client = kafka.subscribe("ours");
        kafka.foreign_joins(Signs::Spool(Uuid::from_u128(9)));
        read(&client, seconds(10), &BTreeMap::new());
        drop(client);
        wait_until(now() + seconds(40));
        kafka.foreign_reads(10);
        assert_eq!(kafka.taken_elsewhere().len(), 10);
        wait_until(now() + seconds(20));
        kafka.foreign_reads(10);
        assert_eq!(kafka.taken_elsewhere().len(), 30);
        let client = kafka.subscribe("ours");
        let got = read(&client, seconds(10), &BTreeMap::new());
        assert!(matches!(&got.events[..], [Event::Assigned(p)] if *p == [1]));
    });
}

#[test]
fn whoever_is_cut_off_past_the_session_loses_its_partitions() {
    simulate(1, || {
        let kafka = cluster(50);
        let client = kafka.subscribe("ours");
        kafka.foreign_joins(Signs::Nothing);
        read(&client, seconds(10), &BTreeMap::new());
        kafka.cut_off(seconds(60));
        let asked = now();
        assert!(client.source(seconds(1)).is_err());
        assert_eq!(now(), asked + seconds(1));
        read(&client, seconds(50), &BTreeMap::new());
        kafka.foreign_reads(10);
        assert_eq!(kafka.committed(1), Some(10));
        let got = read(&client, seconds(30), &BTreeMap::new());
        assert!(matches!(&got.events[..], [Event::Revoked, Event::Assigned(p)] if *p == [1]));
    });
}

#[test]
fn nobody_is_put_out_while_the_brokers_are_down() {
    simulate(1, || {
        let kafka = cluster(50);
        let client = kafka.subscribe("ours");
        read(&client, seconds(2), &BTreeMap::new());
        kafka.go_down(seconds(100));
        commit(&client, &[(0, 5)]);
        let got = read(&client, seconds(90), &BTreeMap::new());
        // Past the time-out of a request it is given up.
        assert!(
            matches!(&got.events[..], [Event::CommitFailed(_)]),
            "{:?}",
            got.events
        );
        commit(&client, &[(0, 6)]);
        let got = read(&client, seconds(20), &BTreeMap::new());
        assert!(
            matches!(&got.events[..], [Event::Committed(_)]),
            "{:?}",
            got.events
        );
        assert_eq!(kafka.committed(0), Some(6));
    });
}

#[test]
fn a_position_that_retention_took_is_out_of_range_once() {
    simulate(1, || {
        let kafka = cluster(50);
        let client = kafka.subscribe("ours");
        kafka.retain(0, 10);
        let got = read(&client, seconds(5), &BTreeMap::new());
        assert_eq!(got.polled, ["OutOfRange"]);
        assert!(got.offsets.iter().all(|(partition, _)| *partition == 1));
        client.assign(&[(0, 40), (1, 50)].into()).unwrap();
        let got = read(&client, seconds(5), &BTreeMap::new());
        let again = got.offsets.iter().filter(|(partition, _)| *partition == 0);
        assert_eq!(again.count(), 10);
    });
}

#[test]
fn a_paused_partition_waits_and_goes_on_where_it_was() {
    simulate(1, || {
        let kafka = cluster(50);
        let client = kafka.subscribe("ours");
        let mut offsets = read(&client, seconds(1), &BTreeMap::new()).offsets;
        client.pause(&[0, 1]).unwrap();
        (0..2).for_each(|partition| kafka.append(partition, 10));
        assert!(
            read(&client, seconds(5), &BTreeMap::new())
                .offsets
                .is_empty()
        );
        client.resume(&[0, 1]).unwrap();
        offsets.extend(read(&client, seconds(5), &BTreeMap::new()).offsets);
        offsets.sort_unstable();
        assert_eq!(offsets, everything(60));
    });
}

#[test]
fn a_message_out_of_order_is_told_and_others_follow_it() {
    simulate(1, || {
        let kafka = cluster(50);
        let client = kafka.subscribe("ours");
        kafka.deliver_out_of_order(1);
        let got = read(&client, seconds(5), &BTreeMap::new());
        assert_eq!(got.polled.len(), 1);
        assert_eq!(got.offsets.len(), 99);
    });
}

#[test]
fn a_topic_created_anew_goes_on_at_the_old_position_without_a_word() {
    simulate(1, || {
        let kafka = cluster(50);
        let client = kafka.subscribe("ours");
        read(&client, seconds(5), &BTreeMap::new());
        kafka.delete_topic(false);
        kafka.create_topic(2, false);
        (0..2).for_each(|partition| kafka.append(partition, 80));
        let got = read(&client, seconds(5), &BTreeMap::new());
        let all_new = got.offsets.iter().all(|(_, offset)| *offset >= 50);
        assert!(all_new && !got.offsets.is_empty());
    });
}

#[test]
fn messages_come_over_time_and_wake_a_poll() {
    simulate(1, || {
        let kafka = cluster(0);
        let client = kafka.subscribe("ours");
        read(&client, seconds(1), &BTreeMap::new());
        kafka.produce(Producer {
            partition: 0,
            every: Duration::from_millis(30),
            burst: 7,
            total: 20,
        });
        let asked = now();
        assert!(!client.poll(POLL).unwrap().is_empty());
        assert_eq!(now(), asked + Duration::from_millis(30));
        read(&client, seconds(1), &BTreeMap::new());
        assert_eq!(kafka.log(0).unwrap().end, 20);
        assert!(!kafka.is_producing());
    });
}
