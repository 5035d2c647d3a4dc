//! Is a partition read from its old place or from the new one, and from no
//! other, wherever a reset is cut short?

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use spoolhouse::ingest::assignment::positions::{Reset, Standing, Target, plan, reset};
use spoolhouse::ingest::assignment::resume::{Verdict, judge};
use spoolhouse::ingest::commit::{Committed, Log, Signature};
use spoolhouse::spool::format::segment::OpenSegment;
use spoolhouse::spool::layout::Layout;
use spoolhouse::spool::{Intake, Spool};
use spoolhouse::time::SystemClock;
use uuid::Uuid;

use crate::support::segments::source;
use crate::support::sim_disk::{Moment, SimDisk};
use crate::support::world::SPOOL;

const LOG: Log = Log {
    start: 100,
    end: 1_000,
};

fn us() -> Uuid {
    Uuid::from_u128(1)
}

fn open(disk: &SimDisk) -> Intake {
    let disk = Arc::new(disk.clone());
    Intake::new(
        Spool::open_on(disk, Layout::new(SPOOL), None, us(), Arc::new(SystemClock)).unwrap(),
    )
}

/// What the group has committed: it survives our crashes.
type Group = Arc<Mutex<Option<Committed>>>;

fn standing(intake: &Intake, group: &Group) -> Standing {
    Standing {
        own: intake.position(&source(), 0),
        committed: group.lock().unwrap().clone(),
        log: LOG,
    }
}

fn planned(intake: &Intake, group: &Group, to: i64) -> Reset {
    let standings = [(0, standing(intake, group))].into();
    let targets = [(0, Target::Offset(to))].into();
    plan(&standings, &targets, us(), |_| false).unwrap()[0]
}

fn carry_out(intake: &Intake, group: &Group, wanted: Reset) -> io::Result<()> {
    let now = SystemTime::UNIX_EPOCH;
    reset(intake, &source(), &[wanted], now, |commits| {
        let (offset, signature) = commits[&0].clone();
        *group.lock().unwrap() = Some(Committed {
            offset,
            signature: Some(signature),
        });
        Ok(())
    })
}

/// What a start makes of a segment with what is read first after a reset, if a
/// crash left it in `sealed/`.
fn verdict(intake: &Intake, group: &Group, start: i64) -> Verdict {
    let mut segment = OpenSegment::new().unwrap();
    segment.cover(0, start, start + 10);
    let footer = intake.finish(segment, &source()).unwrap().footer;
    let committed = group.lock().unwrap().clone();
    let committed = committed.into_iter().map(|commit| (0, commit)).collect();
    judge(&footer, &source(), &[0], &committed)
}

fn lines(disk: &SimDisk) -> Vec<serde_json::Value> {
    let files = disk.files(Path::new(SPOOL));
    let journal = files.get(&Path::new(SPOOL).join("gaps.jsonl"));
    let text = String::from_utf8(journal.cloned().unwrap_or_default().to_vec()).unwrap();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// A reset from one situation, cut short at every disk operation.
fn cut_short_anywhere(own: Option<i64>, committed: Option<Committed>, to: i64) -> usize {
    let disk = SimDisk::new();
    let intake = open(&disk);
    if let Some(own) = own {
        intake
            .record_positions(&source(), &[(0, own)].into())
            .unwrap();
    }
    let group: Group = Arc::new(Mutex::new(committed.clone()));
    let wanted = planned(&intake, &group, to);
    let photos: Arc<Mutex<Vec<Photo>>> = Arc::default();
    let (album, scene) = (photos.clone(), group.clone());
    disk.watch(move |moment| {
        let committed = scene.lock().unwrap().clone();
        album.lock().unwrap().push((moment, committed));
    });
    carry_out(&intake, &group, wanted).unwrap();
    assert_eq!(standing(&intake, &group).start(us()).offset, to);
    assert_eq!(verdict(&intake, &group, to), Verdict::Adopt);
    let photos = std::mem::take(&mut *photos.lock().unwrap());
    for (moment, committed) in &photos {
        let disks = (0..2).map(|seed| moment.kill(seed));
        for disk in disks.chain((2..8).map(|seed| moment.power_cut(seed))) {
            let intake = open(&disk);
            let group: Group = Arc::new(Mutex::new(committed.clone()));
            let start = standing(&intake, &group).start(us());
            let told = format!("{} {}: {start:?}", moment.number, moment.op);
            assert!([wanted.from, to].contains(&start.offset), "{told}");
            if start.offset == to && wanted.skipped() > 0 {
                let by_operator = |line: &serde_json::Value| {
                    line["by"] == "operator" && line["from"] == wanted.from && line["to"] == to
                };
                assert!(lines(&disk).iter().any(by_operator), "{told}");
            }
            if let Some(lost) = wanted.lost
                && start.lost.is_none()
            {
                assert!(lines(&disk).iter().any(|l| l["from"] == lost.0), "{told}");
            }
            // Done again, it is done.
            let again = planned(&intake, &group, to);
            carry_out(&intake, &group, again).unwrap();
            let start = standing(&intake, &group).start(us());
            assert_eq!((start.offset, start.lost), (to, None), "{told}");
        }
    }
    photos.len()
}

/// The disk just before an operation, and what was committed then.
type Photo = (Moment, Option<Committed>);

#[test]
fn a_reset_that_is_cut_short_leaves_the_old_place_or_the_new_one() {
    let commit = |offset, by: Option<u128>| {
        let signature = by.map(|by| Signature {
            spool: Uuid::from_u128(by),
            segment: 7,
            topic_id: source().topic_id,
        });
        Some(Committed { offset, signature })
    };
    let mut visited = 0;
    for own in [None, Some(40), Some(500)] {
        for committed in [
            None,
            commit(450, Some(1)),
            commit(700, Some(1)),
            commit(700, Some(2)),
            commit(700, None),
        ] {
            for to in [100, 450, 600, 1_000] {
                visited += cut_short_anywhere(own, committed.clone(), to);
            }
        }
    }
    println!("crash points visited: {visited}");
}
