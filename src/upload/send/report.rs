//! What an attempt is told to people: one log line and one count each, and what
//! lies beside a rejected batch. Nothing here decides.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Post;
use crate::spool::outlet::Rejection;
use crate::time::epoch_ms;
use crate::upload::latency::Latency;
use crate::upload::outcome::error_codes;
use crate::upload::outcome::{Outcome, Reason, Refusal};
use crate::upload::settings;
use crate::upload::slot::pacer::Pacer;
use crate::upload::telemetry::{Attempt, STORED, View};

/// What is written beside a batch that is rejected now.
pub(super) fn rejection<P>(reason: &Reason, post: &Post<P>, now: SystemTime) -> Rejection {
    Rejection {
        time: humantime::format_rfc3339_seconds(now).to_string(),
        code: reason.code.map(i32::from),
        message: reason.to_string(),
        query_id: post.request.query_id.clone(),
        attempts: post.history.attempts,
    }
}

/// What a request can come to, as metrics name it.
const OUTCOMES: [&str; 7] = [
    STORED,
    "throttled",
    "too_large",
    "not_sent",
    "unknown",
    "refused_operator",
    "refused_data",
];

/// Shows what is counted by outcome before it first occurs, and what is known
/// before the first request.
pub(super) fn register(pacer: &Pacer) {
    for outcome in OUTCOMES {
        metrics::counter!("spoolhouse_requests_total", "outcome" => outcome).absolute(0);
    }
    metrics::gauge!("spoolhouse_attempts_since_success").set(0);
    metrics::gauge!("spoolhouse_last_success_timestamp_seconds").set(0);
    pace(pacer);
}

fn pace(pacer: &Pacer) {
    metrics::gauge!("spoolhouse_slot_interval_seconds").set(pacer.interval());
    metrics::gauge!("spoolhouse_body_bytes_max").set(pacer.body_bytes_max() as f64);
    let next = pacer.next_at().duration_since(UNIX_EPOCH);
    metrics::gauge!("spoolhouse_next_slot_timestamp_seconds").set(next.unwrap_or_default());
    let needs_operator = pacer.pace().refusal().is_some();
    metrics::gauge!("spoolhouse_operator_needed").set(u8::from(needs_operator));
}

/// One line and one count per attempt; gives out what there is to show of it.
pub(super) fn attempt<P>(
    outcome: &Outcome,
    post: &Post<P>,
    took: Duration,
    pacer: &Pacer,
    latency: Option<Latency>,
    now: SystemTime,
) -> Attempt {
    let batch = post.batch.name();
    let attempt = post.history.attempts;
    let (rows, bytes) = (post.batch.footer.rows, post.batch.bytes.len() as u64);
    let fill = bytes as f64 / pacer.body_bytes_max().max(1) as f64;
    let mut message = None;
    let label = match outcome {
        Outcome::Stored => {
            metrics::counter!("spoolhouse_rows_stored_total").increment(rows);
            metrics::counter!("spoolhouse_stored_bytes_total").increment(bytes);
            metrics::histogram!("spoolhouse_batch_fill_ratio").record(fill);
            let filled_percent = (fill * 100.0) as u64;
            tracing::info!(batch, rows, bytes, filled_percent, attempt, ?took, "stored");
            STORED
        }
        Outcome::Throttled { .. } => {
            tracing::debug!(batch, interval = ?pacer.interval(), "the slot is not open yet");
            "throttled"
        }
        Outcome::TooLarge => {
            let limit = pacer.body_bytes_max();
            tracing::warn!(
                batch,
                bytes,
                limit,
                "over the proxy's body limit; going on with a lower one"
            );
            "too_large"
        }
        Outcome::NotSent(reason) => {
            tracing::warn!(batch, attempt, %reason, "not sent; the batch is kept");
            message = Some(reason.to_string());
            "not_sent"
        }
        Outcome::Unknown(reason) => {
            tracing::warn!(batch, attempt, %reason, "fate unknown; the same bytes go again under the same token");
            message = Some(reason.to_string());
            "unknown"
        }
        Outcome::Refused(Refusal::Operator(reason)) => {
            if reason.code == Some(error_codes::UNKNOWN_SETTING) {
                let advice = settings::advice(&reason.message, &post.batch.footer.settings);
                tracing::error!(batch, "{advice}");
            }
            tracing::error!(batch, attempt, %reason, "refused, and every other batch would be; the batch is kept, uploads wait until this is fixed");
            message = Some(reason.to_string());
            "refused_operator"
        }
        Outcome::Refused(Refusal::Format(reason)) if post.batch.footer.encoding.is_compact() => {
            tracing::error!(batch, attempt, %reason, "the server can't read the file: set upload.encoding = \"compatible\" and start again; the batch is kept, uploads wait until then");
            message = Some(reason.to_string());
            "refused_operator"
        }
        Outcome::Refused(Refusal::Format(reason) | Refusal::Data(reason)) => {
            tracing::error!(batch, attempt, %reason, "ClickHouse refused the data");
            message = Some(reason.to_string());
            "refused_data"
        }
    };
    metrics::counter!("spoolhouse_requests_total", "outcome" => label).increment(1);
    metrics::histogram!("spoolhouse_request_seconds").record(took);
    Attempt {
        at_ms: epoch_ms(now),
        outcome: label,
        batch,
        attempt,
        rows,
        bytes,
        fill,
        took_s: took.as_secs_f64(),
        message,
        latency,
    }
}

/// Shows an attempt on the way that everything takes.
pub(super) fn show(view: &View, attempt: Attempt, pacer: &Pacer) {
    pace(pacer);
    if attempt.outcome == STORED {
        let now = Duration::from_millis(attempt.at_ms);
        metrics::gauge!("spoolhouse_last_success_timestamp_seconds").set(now);
    }
    let since_success = view.note(attempt);
    metrics::gauge!("spoolhouse_attempts_since_success").set(since_success);
}
