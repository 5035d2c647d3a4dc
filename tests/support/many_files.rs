//! A spool of very many files, made by the project's own encoders.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use arrow_array::RecordBatch;
use spoolhouse::ingest::decode::record::decode;
use spoolhouse::ingest::decode::row_builder::Columns;
use spoolhouse::spool::format::batch::recipe::{Recipe, Strength};
use spoolhouse::spool::format::encoding::Encoding;
use spoolhouse::spool::format::footer::{BatchFooter, Cover, OffsetRange, Source};
use spoolhouse::spool::format::segment::OpenSegment;
use spoolhouse::spool::format::{batch, digest};
use spoolhouse::spool::layout::{Directory, Layout, Name};
use spoolhouse::spool::state::State;
use spoolhouse::traffic::{Profile, Traffic};
use uuid::Uuid;

type Done<T> = Result<T, Box<dyn Error>>;

fn source() -> Source {
    Source {
        cluster: "bench".into(),
        topic: "http_log".into(),
        topic_id: "bench".into(),
    }
}

/// The rows of file `number`.
fn rows_of(number: u64, rows: u64, traffic: &Traffic) -> Done<RecordBatch> {
    let mut columns = Columns::new();
    for place in number * rows..(number + 1) * rows {
        let message = traffic.row(place).ok_or("no more traffic")?.encode();
        let record = decode(&message).map_err(|error| error.to_string())?;
        columns
            .push(&record, 0, place as i64)
            .map_err(|full| full.to_string())?;
    }
    Ok(columns.finish())
}

fn offsets(number: u64, rows: u64) -> (i64, i64) {
    ((number * rows) as i64, ((number + 1) * rows) as i64)
}

/// Makes a spool in `dir`: batches, each of what was a segment, then segments, all
/// of so many rows. Nothing is synced.
///
/// # Errors
/// Whatever goes wrong.
pub fn fill(dir: &Path, segments: u64, batches: u64, rows: u64) -> Done<()> {
    let layout = Layout::new(dir);
    for directory in Directory::ALL {
        fs::create_dir_all(layout.directory(directory))?;
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
        let (start, end) = offsets(number, rows);
        let footer = BatchFooter {
            spool,
            rows,
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
        let bytes = batch::encode(
            &rows_of(number, rows, &traffic)?,
            &footer,
            &recipe,
            Strength::Full,
        )?;
        let digest = digest::of(&bytes);
        let name = Name::Batch { number, digest };
        fs::write(layout.file(Directory::Batches, &name.to_string()), bytes)?;
    }
    for number in batches + 1..=batches + segments {
        let mut segment = OpenSegment::new()?;
        segment.write(&rows_of(number, rows, &traffic)?)?;
        let (start, end) = offsets(number, rows);
        segment.cover(0, start, end);
        let finished = segment.finish(number, spool, &source(), 0)?;
        let name = Name::segment(number).to_string();
        fs::write(layout.file(Directory::Ready, &name), finished.bytes)?;
    }
    let mut state = State::new(spool);
    state.next_segment = batches + segments + 1;
    state.set_positions(&source(), [(0, offsets(batches + segments, rows).1)]);
    fs::write(layout.state(), state.to_bytes()?)?;
    Ok(())
}
