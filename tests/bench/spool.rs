//! A spool of very many files, and what it costs to look at it. The program
//! behind `ops/bench startup`.
//!
//! `spool fill DIR SEGMENTS BATCHES` makes one, `spool plain DIR` lists it and
//! reads the end of every file in a bare loop, `spool look DIR` opens it and
//! times what upload and metrics do all the time. Each prints one JSON object.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Instant;

use arrow_array::RecordBatch;
use serde_json::{Value, json};
use spoolhouse::commands::produce::traffic::{Profile, Traffic};
use spoolhouse::ingest::columns::Columns;
use spoolhouse::ingest::record::decode;
use spoolhouse::spool::batch::recipe::{Encoding, Recipe, Strength};
use spoolhouse::spool::footer::{BatchFooter, Cover, OffsetRange, Source};
use spoolhouse::spool::layout::{Layout, Name, Room};
use spoolhouse::spool::outlet::PackOptions;
use spoolhouse::spool::segment::OpenSegment;
use spoolhouse::spool::state::State;
use spoolhouse::spool::{Outlet, Spool, batch, digest};
use uuid::Uuid;

type Done<T> = Result<T, Box<dyn Error>>;

/// Rows of each file: few, since their number is what is measured.
const ROWS: u64 = 20;

/// How many bytes of a file's end the plain loop reads.
const END: u64 = 8 * 1024;

/// How often the rooms are counted.
const LOOKS: u32 = 5;

/// How many batches are packed.
const PACKINGS: usize = 3;

fn main() -> Done<()> {
    // `cargo bench` adds an argument of its own, which begins with a dash.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["fill", dir, segments, batches] => {
            fill(Path::new(dir), segments.parse()?, batches.parse()?)?
        }
        ["plain", dir] => plain(Path::new(dir))?,
        ["look", dir] => look(Path::new(dir))?,
        _ => {
            println!("spool: nothing to do; run `ops/bench startup`");
            return Ok(());
        }
    };
    println!("{result}");
    Ok(())
}

fn source() -> Source {
    Source {
        cluster: "bench".into(),
        topic: "http_log".into(),
        topic_id: "bench".into(),
    }
}

/// The rows of file `number`.
fn rows(traffic: &Traffic, number: u64) -> Done<RecordBatch> {
    let mut columns = Columns::new();
    for place in number * ROWS..(number + 1) * ROWS {
        let message = traffic.row(place).ok_or("no more traffic")?.encode();
        let record = decode(&message).map_err(|error| error.to_string())?;
        columns
            .push(&record, 0, place as i64)
            .map_err(|full| full.to_string())?;
    }
    Ok(columns.finish())
}

fn offsets(number: u64) -> (i64, i64) {
    ((number * ROWS) as i64, ((number + 1) * ROWS) as i64)
}

/// Batches first, each of what was a segment, then segments. Nothing is synced.
fn fill(dir: &Path, segments: u64, batches: u64) -> Done<Value> {
    let begun = Instant::now();
    let layout = Layout::new(dir);
    for room in Room::ALL {
        fs::create_dir_all(layout.room(room))?;
    }
    let spool = Uuid::from_u128(7);
    let traffic = Traffic {
        profile: Profile::Uniform,
        seed: 7,
        start_milli: 1_750_000_000_000,
        rate: 0,
        bad_per_million: 0,
    };
    let recipe = Recipe::usual(Encoding::Compact);
    for number in 1..=batches {
        let (start, end) = offsets(number);
        let footer = BatchFooter {
            spool,
            rows: ROWS,
            source: source(),
            covers: vec![Cover {
                first: number,
                first_row: 0,
                last: number,
                end_row: None,
            }],
            offsets: BTreeMap::from([(0, vec![OffsetRange(start, end)])]),
            settings: BTreeMap::new(),
            encoding: Encoding::Compact,
            split_from: None,
        };
        let bytes = batch::encode(&rows(&traffic, number)?, &footer, &recipe, Strength::Full)?;
        let digest = digest::of(&bytes);
        let name = Name::Batch { number, digest };
        fs::write(layout.file(Room::Batches, &name.to_string()), bytes)?;
    }
    for number in batches + 1..=batches + segments {
        let mut segment = OpenSegment::new()?;
        segment.write(&rows(&traffic, number)?)?;
        let (start, end) = offsets(number);
        segment.cover(0, start, end);
        let finished = segment.finish(number, spool, &source(), 0)?;
        let name = Name::segment(number).to_string();
        fs::write(layout.file(Room::Ready, &name), finished.bytes)?;
    }
    let mut state = State::new(spool);
    state.next_segment = batches + segments + 1;
    state.set_positions(&source(), [(0, offsets(batches + segments).1)]);
    fs::write(layout.state(), state.to_bytes()?)?;
    Ok(json!({ "files": segments + batches, "seconds": begun.elapsed().as_secs_f64() }))
}

fn plain(dir: &Path) -> Done<Value> {
    let begun = Instant::now();
    let (mut files, mut bytes) = (0, 0);
    for room in Room::ALL {
        for entry in fs::read_dir(dir.join(room.name()))? {
            let mut file = File::open(entry?.path())?;
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(size.saturating_sub(END)))?;
            let mut end = Vec::new();
            bytes += file.take(END).read_to_end(&mut end)?;
            files += 1;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "files": files, "bytes": bytes, "seconds": seconds }))
}

/// Takes out what is frozen, and a few batches that have to be packed first.
fn look(dir: &Path) -> Done<Value> {
    let begun = Instant::now();
    let spool = Spool::open(dir)?;
    let open = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    for _ in 0..LOOKS {
        spool.holdings()?;
    }
    let holdings = begun.elapsed().as_secs_f64() / f64::from(LOOKS);
    let options = PackOptions {
        bytes_max: 1 << 20,
        ..PackOptions::default()
    };
    let outlet = Outlet::new(spool);
    let (mut frozen, mut packed) = (Vec::new(), Vec::new());
    while packed.len() < PACKINGS {
        let begun = Instant::now();
        let Some(batch) = outlet.next(&options)? else {
            break;
        };
        let took = begun.elapsed().as_secs_f64();
        outlet.stored(&batch)?;
        if batch.footer.rows == ROWS {
            frozen.push(took);
        } else {
            packed.push(took);
        }
    }
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len().max(1) as f64;
    Ok(json!({
        "open_seconds": open,
        "holdings_seconds": holdings,
        "frozen_seconds": mean(&frozen),
        "packed_seconds": mean(&packed),
    }))
}
