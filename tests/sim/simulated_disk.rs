//! Does the simulated disk forget what a real one may forget, and no more?

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};

use spoolhouse::spool::disk::{self, Access, Disk};

use crate::support::sim_disk::{Moment, SimDisk};

const SEEDS: std::ops::Range<u64> = 0..200;

fn disk_with_dirs() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/a")).unwrap();
    disk.create_dir(Path::new("/b")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn write(disk: &SimDisk, path: &str, text: &str) {
    disk.write(Path::new(path), text.as_bytes(), Access::Shared)
        .unwrap();
}

/// Every state that a crash at this moment may leave, as a line of `path=content`.
fn states(moment: &Moment, crash: fn(&Moment, u64) -> SimDisk) -> BTreeSet<String> {
    let shown = |disk: SimDisk| {
        let files = disk.files(Path::new("/")).into_iter();
        let files = files.map(|(path, bytes)| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            format!("{}={text}", path.display())
        });
        files.collect::<Vec<_>>().join(" ")
    };
    SEEDS.map(|seed| shown(crash(moment, seed))).collect()
}

fn set(states: &[&str]) -> BTreeSet<String> {
    states.iter().map(|state| (*state).to_owned()).collect()
}

#[test]
fn an_entry_survives_for_certain_only_when_its_directory_is_synced() {
    let disk = disk_with_dirs();
    write(&disk, "/a/x", "1");
    assert_eq!(states(&disk.now(), Moment::power_cut), set(&["", "/a/x=1"]));
    assert_eq!(states(&disk.now(), Moment::kill), set(&["/a/x=1"]));
    disk.sync_dir(Path::new("/a")).unwrap();
    assert_eq!(states(&disk.now(), Moment::power_cut), set(&["/a/x=1"]));
    disk.remove(Path::new("/a/x")).unwrap();
    assert_eq!(states(&disk.now(), Moment::power_cut), set(&["", "/a/x=1"]));
}

#[test]
fn a_rename_across_directories_leaves_the_file_under_one_name_or_both() {
    let disk = disk_with_dirs();
    write(&disk, "/a/x", "1");
    disk.sync_dir(Path::new("/a")).unwrap();
    let (from, to) = (Path::new("/a/x"), Path::new("/b/x"));
    disk.rename(from, to).unwrap();
    let any = set(&["/a/x=1", "/b/x=1", "/a/x=1 /b/x=1"]);
    assert_eq!(states(&disk.now(), Moment::power_cut), any);
    let right = disk.now().kill(0);
    right.sync_dir(Path::new("/b")).unwrap();
    let target = set(&["/b/x=1", "/a/x=1 /b/x=1"]);
    assert_eq!(states(&right.now(), Moment::power_cut), target);
    // The wrong directory first: the file may be gone.
    let wrong = disk.now().kill(0);
    wrong.sync_dir(Path::new("/a")).unwrap();
    assert_eq!(
        states(&wrong.now(), Moment::power_cut),
        set(&["", "/b/x=1"])
    );
}

#[test]
fn a_file_that_is_replaced_holds_the_old_or_the_new_content_at_every_step() {
    let disk = disk_with_dirs();
    disk::replace(&disk, Path::new("/a/x"), b"old").unwrap();
    let moments = Arc::new(Mutex::new(Vec::new()));
    let album = moments.clone();
    disk.watch(move |moment| album.lock().unwrap().push(moment));
    disk::replace(&disk, Path::new("/a/x"), b"new").unwrap();
    let moments = moments.lock().unwrap();
    assert_eq!(moments.len(), 3, "write, rename, sync");
    for moment in moments.iter() {
        for state in states(moment, Moment::power_cut) {
            let is_whole = |word: &str| word == "/a/x=old" || word == "/a/x=new";
            assert!(state.split(' ').any(is_whole), "{}: {state}", moment.op);
        }
    }
}

#[test]
fn what_is_published_or_moved_lies_in_one_place_for_good() {
    let disk = disk_with_dirs();
    let [draft, from, to] = ["/a/x.part", "/b/x", "/a/x"].map(Path::new);
    disk::publish(&disk, draft, from, b"1", Access::Shared).unwrap();
    assert_eq!(states(&disk.now(), Moment::power_cut), set(&["/b/x=1"]));
    disk::relocate(&disk, from, to).unwrap();
    assert_eq!(states(&disk.now(), Moment::power_cut), set(&["/a/x=1"]));
}

#[test]
fn a_write_that_is_cut_short_leaves_nothing_a_part_or_all() {
    let disk = disk_with_dirs();
    disk.die(0);
    let path = Path::new("/a/x");
    disk.write(path, b"123", Access::Shared).unwrap_err();
    disk.write(path, b"456", Access::Shared).unwrap_err();
    let left = states(&disk.died().unwrap(), Moment::kill);
    assert_eq!(left, set(&["", "/a/x=", "/a/x=1", "/a/x=12", "/a/x=123"]));
}

#[test]
fn an_operation_that_failed_happened_or_did_not() {
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let disk = disk_with_dirs();
        write(&disk, "/a/x", "1");
        disk.fail(0, 1, ErrorKind::StorageFull, seed);
        let (from, to) = (Path::new("/a/x"), Path::new("/b/x"));
        let error = disk.rename(from, to).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(!disk.is_failing());
        seen.insert(disk.read(to).is_ok());
        disk::relocate(&disk, from, to).expect("a move can be tried again");
    }
    assert_eq!(seen, [false, true].into());
}
