//! What a message takes on the way, measured at the moment of asking: messages as
//! `produce` makes them, through ingest's own window into a segment in memory.
//! No constant to keep true, and no I/O.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use uuid::Uuid;

use crate::ingest::window::{Limits, Window};
use crate::spool::format::footer::Source;
use crate::traffic::{Profile, Traffic};

/// More messages than this are not tried: a segment of so many tells what a row takes.
const MESSAGES_MAX: u64 = 20_000;
/// The payload is the mean of at least so many.
const MESSAGES_MIN: u64 = 500;
/// Noon of a day, UTC, in milliseconds since 1970.
const START_MILLI: u64 = 1_767_268_800_000;
const SEED: u64 = 1;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Bytes of a message's payload, the mean.
    pub payload_bytes: f64,
    /// Messages of the segment.
    pub segment_rows: f64,
    /// Bytes of the segment's file.
    pub segment_bytes: f64,
}

impl Sample {
    /// Bytes in the spool per message.
    pub fn segment_bytes_per_row(&self) -> f64 {
        self.segment_bytes / self.segment_rows
    }
}

/// Takes in as many messages as come at `rate` a second until the segment is
/// sealed by `limits`.
///
/// # Errors
/// Parquet's.
#[expect(
    clippy::disallowed_methods,
    reason = "any instant does: only distances from it count"
)]
pub(crate) fn take(profile: Profile, rate: f64, limits: &Limits) -> Result<Sample> {
    let traffic = Traffic {
        profile,
        seed: SEED,
        start_milli: START_MILLI,
        // Whole, because the producer's is; it only sets the times.
        rate: rate.clamp(1.0, f64::from(u32::MAX)) as u32,
        bad_per_million: 0,
    };
    let until = rate * limits.roll_after.as_secs_f64();
    let rows = (until.ceil().max(1.0) as u64).min(MESSAGES_MAX);
    let opened = Instant::now();
    let now = opened + Duration::from_micros(1);
    let (mut window, mut in_window, mut payload) = (Window::new()?, 0, 0);
    let mut is_full = false;
    for place in 0..rows.max(MESSAGES_MIN) {
        let row = traffic.row(place).context("a message that is no record")?;
        let message = row.encode();
        payload += message.len();
        if place < rows && !is_full {
            let offset = place as i64;
            window.take(0, offset, offset, Some(&message), opened)?;
            in_window += 1;
            is_full = window.is_due(limits, now);
        }
    }
    let source = Source {
        cluster: "sample".to_owned(),
        topic: "http_log".to_owned(),
        topic_id: "sample".to_owned(),
    };
    let (segment, _) = window.close()?;
    let finished = segment.finish(0, Uuid::nil(), &source, 0)?;
    Ok(Sample {
        payload_bytes: payload as f64 / rows.max(MESSAGES_MIN) as f64,
        segment_rows: f64::from(in_window),
        segment_bytes: finished.bytes.len() as f64,
    })
}
