//! What if the disk fails, really? A full one, one that turns read-only, one
//! that may no longer be written, one whose syncs fail: the process stays up,
//! consumption pauses, and once the fault is gone everything is stored exactly
//! once, without anybody's help. The faults are the kernel's own, on mounts that
//! only the test sees.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use spoolhouse::traffic;

use crate::support::stack::feed::At;
use crate::support::stack::mounts::Mounts;
use crate::support::stack::recorder::Recorder;
use crate::support::stack::rows::{assert_same, rows, send, stored};
use crate::support::stack::spool_files::files_in;
use crate::support::stack::{House, stack};

/// Rows of about a kilobyte each that can't be made much smaller.
fn bulky_rows(seed: u64, count: u64) -> Vec<traffic::Row> {
    let mut random = ChaCha8Rng::from_seed([seed as u8; 32]);
    let mut rows = rows(seed, count);
    for row in &mut rows {
        row.url.push('?');
        for _ in 0..1_000 {
            let letter = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
                [random.next_u32() as usize % 64];
            row.url.push(char::from(letter));
        }
    }
    rows
}

/// Segments larger than batches, so that packing has to write what is left of
/// one before it may remove it.
const SMALL_FILES: &str = "roll_bytes = \"512KiB\"\nmin_free = \"0B\"";
const SMALL_BATCHES: &str = "interval = \"100ms\"\nmax_body = \"256KiB\"";

/// A house whose spool is a small disk of its own, and what stands before its proxy.
fn on_a_small_disk(test: &str, kib: u32) -> Option<(House, Recorder)> {
    let mounts = Mounts::new()?;
    let recorder = Recorder::before(stack().proxy);
    let mut house = House::new(test, 2);
    house.upload_url = recorder.url();
    house.spool_settings = SMALL_FILES;
    house.upload_settings = SMALL_BATCHES;
    mounts.small_disk(&house.own_spool(), kib);
    house.live_among(mounts);
    Some((house, recorder))
}

/// Sends rows so that the first fill a batch, which then waits for the proxy,
/// and the others lie in small segments, as when no backlog waits in Kafka.
fn send_for_small_segments(house: &House, rows: &[traffic::Row]) -> Vec<At> {
    let (first, rest) = rows.split_at(400);
    let mut places = Vec::new();
    for part in [first].into_iter().chain(rest.chunks(100)) {
        places.extend(send(house, part));
        house.wait_until_committed(&places);
    }
    wait_for_a_batch(house);
    places
}

fn wait_for_a_pause(house: &House) {
    house.wait_until("a pause", || house.metric("spoolhouse_pauses_total") >= 1.0);
}

fn wait_for_a_batch(house: &House) {
    house.wait_until("a batch", || {
        !files_in(&house.spool(), "sending").is_empty()
    });
}

/// Everything is stored once, log and totals, and nothing is left behind or
/// was counted as lost; nor did the group ever miss its member.
fn assert_all_stored_once(house: &House, starts: usize, places: &[At], rows: &[traffic::Row]) {
    house.wait_until_drained(places);
    assert_eq!(house.metric("spoolhouse_offsets_lost_total"), 0.0);
    assert_eq!(house.stop(), Some(0));
    assert_same(&house.stored_rows(), &stored(rows));
    let totals = house.clickhouse("SELECT sum(requests) FROM http_log_totals");
    assert_eq!(totals.trim(), rows.len().to_string());
    assert!(files_in(&house.spool(), "doubtful").is_empty());
    assert_eq!(house.log().matches(": reading topic=").count(), starts);
}

#[test]
fn a_disk_full_of_our_own_files_does_not_stop_the_upload() {
    let Some((house, recorder)) = on_a_small_disk("full_of_ours", 5 << 10) else {
        return;
    };
    recorder.be_away(true);
    house.start();
    let rows = bulky_rows(21, 9_000);
    let places = send(&house, &rows);
    wait_for_a_pause(&house);
    wait_for_a_batch(&house);
    // Nothing moves for a while, and the reason is told once.
    thread::sleep(Duration::from_secs(2));
    assert_eq!(house.metric("spoolhouse_pauses_total"), 1.0);
    assert_eq!(house.log().matches("consumption paused").count(), 1);
    recorder.be_away(false);
    assert_all_stored_once(&house, 1, &places, &rows);
}

#[test]
fn a_disk_that_others_fill_to_the_last_byte_stops_nothing_for_longer_than_it_is_full() {
    let Some((house, recorder)) = on_a_small_disk("full_of_others", 16 << 10) else {
        return;
    };
    recorder.be_away(true);
    house.start();
    let rows = bulky_rows(22, 4_000);
    let (before, after) = rows.split_at(1_000);
    let mut places = send_for_small_segments(&house, before);
    let filler = house.own_spool().join("filler");
    let fill = format!("cat /dev/zero > {}; true", filler.display());
    house.mounts().run(&fill);
    // A file is begun and torn: there is room for its head.
    house
        .mounts()
        .run(&format!("truncate -s -64K {}", filler.display()));
    places.extend(send(&house, after));
    wait_for_a_pause(&house);
    house.mounts().run(&fill);

    // What was frozen before needs no room; what it leaves is room for the next.
    recorder.be_away(false);
    house.wait_until("uploads on a full disk", || {
        let stored = house.clickhouse("SELECT count() FROM http_log");
        stored.trim().parse::<usize>().unwrap() == before.len()
    });
    house.mounts().run(&format!("rm {}", filler.display()));
    assert_all_stored_once(&house, 1, &places, &rows);
}

#[test]
fn a_start_on_a_full_disk_goes_on_where_the_last_one_ended() {
    let Some((house, recorder)) = on_a_small_disk("start_when_full", 8 << 10) else {
        return;
    };
    recorder.be_away(true);
    house.start();
    let rows = bulky_rows(23, 1_000);
    let places = send_for_small_segments(&house, &rows);
    house.kill();
    let filler = house.own_spool().join("filler");
    house
        .mounts()
        .run(&format!("cat /dev/zero > {}; true", filler.display()));
    recorder.be_away(false);
    house.start();
    assert_all_stored_once(&house, 2, &places, &rows);
}

#[test]
fn a_first_start_on_a_full_disk_says_what_to_do() {
    let Some((house, _)) = on_a_small_disk("first_when_full", 64) else {
        return;
    };
    let filler = house.own_spool().join("filler");
    house
        .mounts()
        .run(&format!("cat /dev/zero > {}; true", filler.display()));
    let (code, said) = house.start_in_vain();
    assert_eq!(code, Some(1), "{said}");
    for part in ["No space left on device", "nothing is lost", "make room"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    house.mounts().run(&format!("rm {}", filler.display()));
    house.start();
    assert_eq!(house.stop(), Some(0));
}

#[test]
fn a_disk_that_turns_read_only_pauses_and_is_gone_on_with_when_it_can_be_written() {
    let Some(mounts) = Mounts::new() else { return };
    let mut house = House::new("read_only", 2);
    let spool = house.own_spool();
    house.live_among(mounts);
    house.start();
    let rows = rows(24, 600);
    let mut places = send(&house, &rows[..200]);
    house.wait_until_drained(&places);
    house.mounts().make_read_only(&spool);
    places.extend(send(&house, &rows[200..400]));
    wait_for_a_pause(&house);
    places.extend(send(&house, &rows[400..]));
    thread::sleep(Duration::from_secs(2));
    assert!(house.log().contains("Read-only file system"));
    house.mounts().make_writable(&spool);
    assert_all_stored_once(&house, 1, &places, &rows);
}

#[test]
fn a_start_on_a_read_only_disk_says_what_is_wrong_and_changes_nothing() {
    let Some(mounts) = Mounts::new() else { return };
    let mut house = House::new("start_read_only", 1);
    let spool = house.own_spool();
    house.live_among(mounts);
    house.upload_url = "http://127.0.0.1:1/".to_owned();
    house.start();
    let rows = rows(25, 100);
    let places = send(&house, &rows);
    house.wait_until_committed(&places);
    house.kill();
    house.mounts().make_read_only(&spool);
    let (code, said) = house.start_in_vain();
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "LOCK",
        "Read-only file system",
        "nothing is lost",
        "mount it writable",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    house.mounts().make_writable(&spool);
    house.upload_url = stack().proxy_url();
    house.start();
    assert_all_stored_once(&house, 2, &places, &rows);
}

/// Sets the permissions of the spool's directory and its rooms.
fn set_permissions(spool: &Path, mode: &str) {
    let rooms = fs::read_dir(spool)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let rooms: Vec<_> = rooms.filter(|path| path.is_dir()).collect();
    let set = Command::new("chmod")
        .arg(mode)
        .arg(spool)
        .args(rooms)
        .status();
    assert!(set.unwrap().success());
}

#[test]
fn a_spool_that_may_no_longer_be_written_pauses_and_is_gone_on_with_when_it_may() {
    let mut house = House::new("permissions", 2);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        // Root passes every permission; without these two capabilities it doesn't.
        let drop = "setpriv --bounding-set=-dac_override,-dac_read_search";
        house.wrapped_in = drop.split(' ').map(str::to_owned).collect();
    }
    house.start();
    let rows = rows(26, 600);
    let mut places = send(&house, &rows[..200]);
    house.wait_until_drained(&places);
    set_permissions(&house.spool(), "0500");
    places.extend(send(&house, &rows[200..400]));
    wait_for_a_pause(&house);
    places.extend(send(&house, &rows[400..]));
    thread::sleep(Duration::from_secs(2));
    assert!(house.log().contains("Permission denied"));
    set_permissions(&house.spool(), "0755");
    assert_all_stored_once(&house, 1, &places, &rows);
}

#[test]
fn a_file_whose_sync_failed_is_written_anew() {
    let Some(mounts) = Mounts::new() else { return };
    let recorder = Recorder::before(stack().proxy);
    let mut house = House::new("failing_syncs", 2);
    house.upload_url = recorder.url();
    house.spool_settings = SMALL_FILES;
    recorder.be_away(true);
    let (below, spool) = (house.dir().join("below"), house.own_spool());
    mounts.small_disk(&below, 4 << 10);
    // A loop device calls a request written of which only the beginning found room
    // (Linux 6.18). With requests of one page, each of one block, none is that.
    let disk = format!(
        "truncate -s 64M {below}/disk && mkfs.ext2 -q -b 4096 {below}/disk && \
         device=$(losetup --find --show {below}/disk) && \
         echo 4 > /sys/block/${{device#/dev/}}/queue/max_sectors_kb && \
         mkdir {spool} && mount $device {spool} && losetup --detach $device",
        below = below.display(),
        spool = spool.display(),
    );
    if !mounts.tries(&disk) {
        eprintln!("SKIPPED: a failing disk needs root and a loop device");
        return;
    }
    house.live_among(mounts);
    house.start();
    let rows = bulky_rows(27, 6_000);
    let places = send(&house, &rows);
    wait_for_a_pause(&house);
    house.mounts().resize(&below, 64 << 10);
    house.wait_until_committed(&places);
    // Nothing is packed any more, and no file moves.
    wait_for_a_batch(&house);
    house.wait_until("every segment is ready", || {
        files_in(&house.spool(), "sealed").is_empty()
    });
    // What is believed to be on the disk is there, past all caches.
    let mut compared = 0;
    for directory in ["sealed", "ready", "batches", "sending"] {
        let dir = spool.join(directory);
        let same = format!(
            "cd {} && for f in *.parquet; do [ -e $f ] || continue; \
             dd if=$f iflag=direct bs=64k status=none | cmp - $f || exit 1; echo; done",
            dir.display()
        );
        compared += house.mounts().output(&same).lines().count();
    }
    assert!(compared >= 3, "{compared} files");
    assert!(house.log().contains("publishing a segment: No space left"));
    recorder.be_away(false);
    assert_all_stored_once(&house, 1, &places, &rows);
}

#[test]
fn a_second_process_is_refused_with_the_owners_pid() {
    let house = House::new("second_process", 1);
    house.start();
    let (code, said) = house.start_in_vain();
    assert_eq!(code, Some(1), "{said}");
    let owner = format!("another process owns this spool (pid {})", house.pid());
    assert!(said.contains(&owner), "{said}");
    assert_eq!(house.stop(), Some(0));
}
