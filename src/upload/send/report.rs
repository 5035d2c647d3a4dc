//! What an attempt is told to people: one log line and one count each, and what
//! lies beside a rejected batch. Nothing here decides.

use std::time::{Duration, SystemTime};

use super::Post;
use crate::spool::outlet::Rejection;
use crate::upload::answer::{Outcome, Reason, Refusal};
use crate::upload::codes;
use crate::upload::pacer::Pacer;
use crate::upload::settings;

/// What is written beside a batch that is rejected now.
pub(super) fn rejection(reason: &Reason, post: &Post) -> Rejection {
    Rejection {
        time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        code: reason.code.map(i32::from),
        message: reason.to_string(),
        query_id: post.request.query_id.clone(),
        attempts: post.history.attempts,
    }
}

/// One line and one count per attempt.
pub(super) fn attempt(outcome: &Outcome, post: &Post, took: Duration, pacer: &Pacer) {
    let batch = post.batch.name();
    let attempt = post.history.attempts;
    let label = match outcome {
        Outcome::Stored => {
            let (rows, bytes) = (post.batch.footer.rows, post.batch.bytes.len() as u64);
            metrics::counter!("spoolhouse_rows_stored_total").increment(rows);
            metrics::counter!("spoolhouse_stored_bytes_total").increment(bytes);
            let filled_percent = bytes * 100 / pacer.body_bytes_max().max(1);
            tracing::info!(batch, rows, bytes, filled_percent, attempt, ?took, "stored");
            "stored"
        }
        Outcome::Throttled { .. } => {
            tracing::debug!(batch, interval = ?pacer.interval(), "the slot is not open yet");
            "throttled"
        }
        Outcome::TooLarge => {
            let (bytes, limit) = (post.batch.bytes.len(), pacer.body_bytes_max());
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
            "not_sent"
        }
        Outcome::Unknown(reason) => {
            tracing::warn!(batch, attempt, %reason, "fate unknown; the same bytes go again under the same token");
            "unknown"
        }
        Outcome::Refused(Refusal::Operator(reason)) => {
            if reason.code == Some(codes::UNKNOWN_SETTING) {
                let advice = settings::advice(&reason.message, &post.batch.footer.settings);
                tracing::error!(batch, "{advice}");
            }
            tracing::error!(batch, attempt, %reason, "refused, and every other batch would be; the batch is kept, uploads wait until this is fixed");
            "refused_operator"
        }
        Outcome::Refused(Refusal::Format(reason)) if post.batch.footer.encoding.is_compact() => {
            tracing::error!(batch, attempt, %reason, "the server can't read the file: set upload.encoding = \"compatible\" and start again; the batch is kept, uploads wait until then");
            "refused_operator"
        }
        Outcome::Refused(Refusal::Format(reason) | Refusal::Data(reason)) => {
            tracing::error!(batch, attempt, %reason, "ClickHouse refused the data");
            "refused_data"
        }
    };
    metrics::counter!("spoolhouse_requests_total", "outcome" => label).increment(1);
    metrics::histogram!("spoolhouse_request_seconds").record(took);
    metrics::gauge!("spoolhouse_slot_interval_seconds").set(pacer.interval());
    metrics::gauge!("spoolhouse_body_bytes_max").set(pacer.body_bytes_max() as f64);
    let needs_operator = pacer.pace().refusal().is_some();
    metrics::gauge!("spoolhouse_operator_needed").set(u8::from(needs_operator));
}
