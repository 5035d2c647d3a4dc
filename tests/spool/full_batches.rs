//! Are the batches of a backlog full, whatever the traffic, and are they the same
//! for the same rows?

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use spoolhouse::ingest::window::Window;
use spoolhouse::spool::disk::LocalDisk;
use spoolhouse::spool::format::batch::recipe::Recipe;
use spoolhouse::spool::format::batch::recipe_search;
use spoolhouse::spool::format::encoding::Encoding;
use spoolhouse::spool::format::{read, schema};
use spoolhouse::spool::layout::Layout;
use spoolhouse::spool::outlet::trial_pack;
use spoolhouse::spool::outlet::{Batch, PackOptions};
use spoolhouse::spool::{Intake, Outlet, Spool};
use spoolhouse::traffic::{Profile, Traffic};

/// Small, so that a few batches are packed soon.
const BODY_BYTES_MAX: u64 = 256 * 1024;

/// How full a batch of a backlog must be, in percent.
const FULL_PERCENT: u64 = 97;

fn options(encoding: Encoding) -> PackOptions {
    PackOptions {
        bytes_max: BODY_BYTES_MAX,
        encoding,
        ..PackOptions::default()
    }
}

/// Seals this part of the traffic, 1,000 rows a segment.
fn seal(intake: &Intake, profile: Profile, places: Range<u64>) {
    let traffic = Traffic {
        profile,
        seed: 3,
        start_milli: 1_767_225_600_000,
        rate: 200,
        bad_per_million: 0,
    };
    for first in places.clone().step_by(1_000) {
        let mut window = Window::new().unwrap();
        for place in first..places.end.min(first + 1_000) {
            let message = traffic.row(place).unwrap().encode();
            let offset = place as i64;
            window
                .take(0, offset, offset, Some(&message), Instant::now())
                .unwrap();
        }
        let (segment, _) = window.close().unwrap();
        let finished = intake
            .finish(segment, &crate::support::segments::source())
            .unwrap();
        intake.seal(&finished).unwrap();
        intake.ready(&finished.footer).unwrap();
    }
}

/// Packs everything.
fn pack(dir: &Path, profiles: &[(Profile, Range<u64>)], encoding: Encoding) -> Vec<Batch> {
    let spool = Spool::open(dir).unwrap();
    let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
    for (profile, places) in profiles {
        seal(&intake, *profile, places.clone());
    }
    let mut batches = Vec::new();
    while let Some(batch) = outlet.next(&options(encoding)).unwrap() {
        outlet.stored(&batch).unwrap();
        batches.push(batch);
    }
    batches
}

fn assert_full(batches: &[Batch]) {
    let sizes: Vec<u64> = batches
        .iter()
        .map(|batch| batch.bytes.len() as u64)
        .collect();
    let full = BODY_BYTES_MAX * FULL_PERCENT / 100..=BODY_BYTES_MAX;
    assert!(sizes.len() > 2, "{sizes:?}");
    assert!(
        sizes[..sizes.len() - 1]
            .iter()
            .all(|size| full.contains(size)),
        "{sizes:?}"
    );
}

#[test]
fn every_batch_of_a_backlog_is_full_and_none_over_the_limit() {
    for encoding in [Encoding::Compact, Encoding::Compatible] {
        // Rows that suddenly take half as much, and then twice as much again.
        let traffic = [
            (Profile::Uniform, 0..25_000),
            (Profile::Realistic, 25_000..60_000),
            (Profile::Uniform, 60_000..80_000),
        ];
        let dir = tempfile::tempdir().unwrap();
        let batches = pack(dir.path(), &traffic, encoding);
        assert_full(&batches);
        let rows: u64 = batches.iter().map(|batch| batch.footer.rows).sum();
        assert_eq!(rows, 80_000);
    }
}

#[test]
fn the_same_rows_become_the_same_batches() {
    let packed = || -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let batches = pack(
            dir.path(),
            &[(Profile::Uniform, 0..20_000)],
            Encoding::Compact,
        );
        // Not byte for byte: the footer holds the spool's id, each time another one.
        let content = |batch: &Batch| {
            let rows = read::rows(batch.bytes.clone(), schema::batch()).unwrap();
            format!("{} {:?}", batch.bytes.len(), rows.slice(0, 100))
        };
        batches.iter().map(content).collect()
    };
    assert_eq!(packed(), packed());
}

#[test]
fn a_recipe_found_by_trial_is_smaller_than_the_usual_one_for_repeating_rows() {
    let dir = tempfile::tempdir().unwrap();
    let [batch, ..] = &pack(
        dir.path(),
        &[(Profile::Realistic, 0..30_000)],
        Encoding::Compact,
    )[..] else {
        panic!("no batch");
    };
    let rows = read::rows(batch.bytes.clone(), schema::batch()).unwrap();
    let found = recipe_search::choose(&rows, Encoding::Compact).unwrap();
    let usual = Recipe::usual(Encoding::Compact);
    let size = |recipe| {
        let strength = spoolhouse::spool::format::batch::recipe::Strength::Full;
        let file = spoolhouse::spool::format::batch::encode(&rows, &batch.footer, recipe, strength);
        file.unwrap().len()
    };
    let (found, usual) = (size(&found), size(&usual));
    assert!(found * 100 < usual * 95, "{found} and {usual} bytes");
}

#[test]
fn a_rehearsal_has_as_many_rows_as_the_batches_that_follow() {
    for (profile, encoding) in [
        (Profile::Uniform, Encoding::Compact),
        (Profile::Realistic, Encoding::Compact),
        (Profile::Uniform, Encoding::Compatible),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let (intake, outlet) = (Intake::new(spool.clone()), Outlet::new(spool));
        let layout = Layout::new(dir.path());
        let rehearse = || trial_pack::full_batch(&LocalDisk, &layout, &options(encoding)).unwrap();
        assert_eq!(rehearse(), None, "nothing waits");
        seal(&intake, profile, 0..60_000);
        let foretold = rehearse().unwrap().rows as f64;
        outlet.next(&options(encoding)).unwrap().unwrap();
        let batch = outlet.next(&options(encoding)).unwrap().unwrap();
        let error = foretold / batch.footer.rows as f64 - 1.0;
        assert!(error.abs() < 0.03, "{profile:?}, {encoding:?}: {error}");
    }
}
