//! Packs synthetic traffic through a real spool directory, and keeps the batches:
//! what `ops/bench payload` measures. No broker and no ClickHouse: the messages
//! go straight into ingest's window, and the outlet packs what was sealed.
//!
//! Prints one line of JSON per batch: its file in `kept/`, rows, bytes, how full
//! it is, and the CPU time of the packing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a bench that can't go on fails, and it measures by the system's clocks"
)]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use clap::Parser;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use spoolhouse::ingest::window::Window;
use spoolhouse::spool::format::encoding::Encoding;
use spoolhouse::spool::format::footer::Source;
use spoolhouse::spool::format::{read, schema};
use spoolhouse::spool::outlet::cpu_budget::Effort;
use spoolhouse::spool::outlet::{Batch, PackOptions};
use spoolhouse::spool::{Intake, Outlet, Spool};
use spoolhouse::traffic::{Profile, Traffic};

/// Seconds between two seals.
const ROLL_AFTER: u64 = 5;

/// More than any batch holds.
const ROWS_KEPT: usize = 200_000;

#[derive(Parser)]
struct Args {
    /// Where the spool is made, and `kept/` beside it.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, value_enum)]
    profile: Profile,
    #[arg(long)]
    compatible: bool,
    #[arg(long)]
    count: u64,
    /// Rows that arrive before each look for a batch; all of them by default.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rows_per_slot: Option<u64>,
    #[arg(long)]
    rate: u32,
    #[arg(long)]
    seed: u64,
    /// Milliseconds since 1970.
    #[arg(long)]
    start_milli: u64,
    /// CPU time for packing, in parts of a million of a core.
    #[arg(long, default_value_t = 20_000)]
    pack_effort_ppm: u32,
    /// Cargo adds it to a bench's arguments.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    let spool = Spool::open(&args.dir.join("spool")).expect("a new spool");
    let intake = Intake::new(spool.clone());
    let outlet = Outlet::new(spool);
    let options = PackOptions {
        encoding: match args.compatible {
            true => Encoding::Compatible,
            false => Encoding::Compact,
        },
        effort: Effort::new(args.pack_effort_ppm, Duration::from_secs(60)),
        ..PackOptions::default()
    };
    let kept = args.dir.join("kept");
    fs::create_dir_all(&kept).expect("a directory");
    let per_slot = args.rows_per_slot.unwrap_or(args.count);
    for first in (0..args.count).step_by(per_slot as usize) {
        fill(&args, &intake, first..args.count.min(first + per_slot));
        let arrived = (first == 0).then(|| arrived(&args));
        pack(&outlet, &options, &kept, |batch| {
            if let Some(arrived) = &arrived {
                let first = arrived.slice(0, batch.footer.rows as usize);
                write_as_by_default(&first, &args.dir.join("defaults.parquet"));
            }
        });
    }
}

/// Packs all there is, and tells of each batch.
fn pack(outlet: &Outlet, options: &PackOptions, kept: &Path, first: impl FnOnce(&Batch)) {
    let mut first = Some(first);
    loop {
        let begun = cpu_seconds();
        let Some(batch) = outlet.next(options).expect("the disk works") else {
            return;
        };
        let seconds = cpu_seconds() - begun;
        let file = kept.join(batch.name());
        fs::write(&file, &batch.bytes).expect("the disk works");
        let line = serde_json::json!({
            "file": file,
            "rows": batch.footer.rows,
            "bytes": batch.bytes.len(),
            "fill": batch.bytes.len() as f64 / options.bytes_max as f64,
            "cpu_seconds": seconds,
        });
        println!("{line}");
        if let Some(first) = first.take() {
            first(&batch);
        }
        outlet.stored(&batch).expect("the disk works");
    }
}

/// Seals the traffic as ingest would have.
fn fill(args: &Args, intake: &Intake, rows: Range<u64>) {
    let traffic = Traffic {
        profile: args.profile,
        seed: args.seed,
        start_milli: args.start_milli,
        rate: args.rate,
        bad_per_million: 0,
    };
    let source = Source {
        cluster: "bench".to_owned(),
        topic: "http_log".to_owned(),
        topic_id: "bench".to_owned(),
    };
    let per_segment = ROLL_AFTER * u64::from(args.rate);
    for first in rows.clone().step_by(per_segment as usize) {
        let mut window = Window::new().expect("a window");
        for place in first..rows.end.min(first + per_segment) {
            let message = traffic.row(place).expect("none is bad").encode();
            let offset = place as i64;
            window
                .take(0, offset, offset, Some(&message), Instant::now())
                .expect("it is a record");
        }
        let (segment, _) = window.close().expect("it has rows");
        let finished = intake.finish(segment, &source).expect("it encodes");
        intake.seal(&finished).expect("the disk works");
        intake.ready(&finished.footer).expect("the disk works");
    }
}

/// The rows that wait to be packed, at most [`ROWS_KEPT`], as they arrived.
fn arrived(args: &Args) -> RecordBatch {
    let mut files: Vec<PathBuf> = fs::read_dir(args.dir.join("spool/ready"))
        .expect("a spool")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let mut chunks = Vec::new();
    let mut rows = 0;
    for file in files {
        if rows >= ROWS_KEPT {
            break;
        }
        let bytes = fs::read(file).expect("a segment").into();
        let segment = read::rows(bytes, schema::segment()).expect("a whole segment");
        rows += segment.num_rows();
        chunks.push(
            segment
                .project(&[0, 1, 2, 3, 4, 5, 6, 7, 8])
                .expect("its columns"),
        );
    }
    concat_batches(&chunks[0].schema(), &chunks).expect("the same columns")
}

/// As parquet-rs does it if only its compression is chosen.
fn write_as_by_default(rows: &RecordBatch, path: &Path) {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let zstd = WriterProperties::builder().set_compression(zstd);
    let file = fs::File::create(path).expect("the disk works");
    let mut writer =
        ArrowWriter::try_new(file, rows.schema(), Some(zstd.build())).expect("a writer");
    writer.write(rows).expect("it encodes");
    writer.close().expect("the disk works");
}

/// CPU time of this thread, on which packing runs.
fn cpu_seconds() -> f64 {
    let times = fs::read_to_string("/proc/thread-self/schedstat").expect("this is Linux");
    let nanos = times.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.unwrap_or(0.0) / 1e9
}
