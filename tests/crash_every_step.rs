//! Does a crash between any two disk operations lose or duplicate a row?
//!
//! The scenario runs on a disk that goes dead after the n-th operation, for
//! every n; then the spool is opened again and the scenario finished.

mod support;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use spoolhouse::spool::disk::{Access, Disk, Entry, LocalDisk};
use spoolhouse::spool::layout::Layout;
use spoolhouse::spool::outlet::PackOptions;
use spoolhouse::spool::{Intake, Outlet, Spool};
use support::{count_ids, ids_in, open_segment, source};
use uuid::Uuid;

/// A local disk whose changes fail once `left` of them were made.
#[derive(Debug)]
struct DyingDisk {
    disk: LocalDisk,
    left: AtomicUsize,
}

impl DyingDisk {
    fn new(operations: usize) -> Arc<Self> {
        Arc::new(Self {
            disk: LocalDisk,
            left: AtomicUsize::new(operations),
        })
    }

    fn tick(&self) -> io::Result<()> {
        self.left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .map(|_| ())
            .map_err(|_| io::Error::other("crashed"))
    }
}

impl Disk for DyingDisk {
    fn write(&self, path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
        // A crash amid the write leaves half a file.
        if let Err(error) = self.tick() {
            if self.left.load(Ordering::SeqCst) == 0 && !path.exists() {
                std::fs::write(path, &bytes[..bytes.len() / 2])?;
            }
            return Err(error);
        }
        self.disk.write(path, bytes, access)
    }
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.tick()?;
        self.disk.append(path, bytes)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tick()?;
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tick()?;
        self.disk.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.tick()?;
        self.disk.sync_dir(path)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_bytes(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }
    fn read(&self, path: &Path) -> io::Result<Bytes> {
        self.disk.read(path)
    }
    fn read_end(&self, path: &Path, length: u64) -> io::Result<(u64, Bytes)> {
        self.disk.read_end(path, length)
    }
}

/// What lies outside the spool and survives its crashes.
#[derive(Default)]
struct World {
    /// Kafka's committed offset.
    committed: i64,
    /// ClickHouse: token to rows.
    stored: BTreeMap<String, Bytes>,
}

const LAST: i64 = 1_500;
const SEGMENT: i64 = 300;
const BODY_MAX: u64 = 12_000;

/// From wherever the spool is to everything stored; any error is a crash.
fn go_on(disk: Arc<DyingDisk>, root: PathBuf, world: &mut World) -> io::Result<()> {
    let spool = Spool::open_on(disk, Layout::new(root), None, Uuid::from_u128(1))
        .map_err(io::Error::other)?;
    let intake = Intake::new(spool.clone());
    let outlet = Outlet::new(spool);
    for segment in intake.sealed()? {
        // Nobody else commits here: every sealed segment is adopted.
        world.committed = world.committed.max(segment.offsets[&0].1);
        intake.ready(&segment)?;
    }
    let mut position = intake.position(&source(), 0).unwrap_or(0);
    assert!(
        position >= world.committed,
        "committed beyond what is durable"
    );
    if position == 0 {
        intake.record_positions(&source(), &[(0, 0)].into())?;
    }
    let mut bodies = 0;
    while position < LAST {
        let end = position + SEGMENT;
        let segment = intake
            .finish(open_segment(position..end), &source())
            .unwrap();
        intake.seal(&segment)?;
        world.committed = end;
        intake.ready(&segment.footer)?;
        position = end;
    }
    let options = PackOptions {
        bytes_max: BODY_MAX,
        settings: BTreeMap::new(),
    };
    while let Some(mut batch) = outlet.next(&options)? {
        bodies += 1;
        // A second, smaller limit half-way: one batch is split.
        if bodies == 2 && !batch.fate_unknown && batch.bytes.len() > 6_000 {
            outlet.begin(&mut batch)?;
            outlet.split(&batch, 6_000)?;
            continue;
        }
        outlet.begin(&mut batch)?;
        // The server forgets nothing and takes a token once.
        world
            .stored
            .entry(batch.digest.clone())
            .or_insert_with(|| batch.bytes.clone());
        outlet.stored(&batch)?;
    }
    Ok(())
}

fn check(world: &World, root: &Path, crash: usize) {
    let mut ids = BTreeMap::new();
    for file in world.stored.values() {
        count_ids(file, &mut ids);
    }
    for id in 0..LAST as u64 {
        assert_eq!(
            ids.get(&id),
            Some(&1),
            "row {id} after a crash at operation {crash}"
        );
    }
    assert_eq!(ids.len(), LAST as usize);
    let left = ids_in(
        root,
        &[
            "sealed", "ready", "batches", "sending", "rejected", "doubtful",
        ],
    );
    assert!(
        left.is_empty(),
        "left over after a crash at operation {crash}"
    );
}

#[test]
fn every_row_is_stored_exactly_once_after_a_crash_between_any_two_operations() {
    let disk = DyingDisk::new(usize::MAX);
    let dir = tempfile::tempdir().unwrap();
    go_on(disk.clone(), dir.path().to_owned(), &mut World::default()).unwrap();
    let operations = usize::MAX - disk.left.load(Ordering::SeqCst);
    let mut crashes = 0;
    for crash in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::default();
        let disk = DyingDisk::new(crash);
        let survived = go_on(disk, dir.path().to_owned(), &mut world).is_ok();
        if !survived {
            // A second crash, early in the recovery from the first.
            let _ = go_on(DyingDisk::new(crash % 7), dir.path().to_owned(), &mut world);
            go_on(
                DyingDisk::new(usize::MAX),
                dir.path().to_owned(),
                &mut world,
            )
            .unwrap();
            crashes += 1;
        }
        check(&world, dir.path(), crash);
        if survived {
            break;
        }
    }
    println!("crash points visited: {crashes}");
    assert_eq!(crashes, operations, "every operation is a crash point");
}
