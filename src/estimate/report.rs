//! Puts the figures together, with what they rest on.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::disk::{self, DiskSpace, Terms};
use super::flow::{self, Kafka, Latency, Proxy, Spool};
use super::inputs::{Inputs, Live};
use super::keys::{self, DAY_MINUTES, Mix};
use super::part::Part;
use super::{costs, sample};
use crate::traffic::{Profile, Shape};

/// What `--json` prints. Bytes and rows are expected numbers, so they may have
/// fractions.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub given: Given,
    pub per_day: PerDay,
    pub totals_rows_per_minute: Rows,
    pub disk: Disk,
    pub spool: Spool,
    pub proxy: Proxy,
    pub latency_s: Latency,
    pub kafka: Kafka,
    /// The server of `--from`.
    pub server: Option<Live>,
    pub assumptions: Vec<Assumption>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Given {
    pub rate_per_s: f64,
    pub profile: Profile,
    pub resources: u64,
    pub networks: u64,
    pub skew: f64,
    pub retention_days: f64,
    pub raw_retention_days: f64,
}

/// One whole day, merged.
#[derive(Debug, Serialize)]
pub(crate) struct PerDay {
    pub messages: f64,
    pub log_bytes: f64,
    pub totals_bytes: f64,
    pub parts: BTreeMap<Part, Shown>,
}

/// A table or projection.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub rows: f64,
    pub bytes: f64,
    /// What the fitted costs are multiplied with.
    pub terms: Terms,
}

/// Rows of the totals per minute, on average over a day.
#[derive(Debug, Serialize)]
pub(crate) struct Rows {
    /// If no batch cut a minute.
    pub low: f64,
    pub expected: f64,
    /// If no two messages of a minute were alike.
    pub high: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Disk {
    pub log: DiskSpace,
    pub totals: DiskSpace,
    pub all: DiskSpace,
}

/// What a figure rests on.
#[derive(Debug, Serialize)]
pub(crate) struct Assumption {
    pub what: String,
    pub source: &'static str,
}

impl Report {
    /// # Errors
    /// Those of encoding a segment in memory.
    pub fn of(inputs: Inputs) -> Result<Self> {
        let Inputs {
            rate_per_s: rate,
            retention_days,
            raw_retention_days,
            profile,
            shape,
            live,
        } = inputs;
        let shape = &shape;
        let mix = Mix::new(shape);
        let proxy = flow::proxy(profile, rate, mix.peak());
        let day = keys::day(&mix, rate, proxy.instances, flow::SLOT_S);
        let (sizes, others) = match &live {
            Some(live) => (
                disk::measured(&day, &live.bytes_per_row),
                live.other_projections * day.totals,
            ),
            None => (disk::fitted(&day, profile), 0.0),
        };
        let log_bytes = disk::log_bytes(&sizes);
        let totals_bytes = disk::totals_bytes(&sizes) + others;
        let log = disk::space(log_bytes, raw_retention_days);
        let totals = disk::space(totals_bytes, retention_days);
        let sample = sample::take(profile, rate / proxy.instances, &flow::ROLL)?;
        let show = |(part, size): (&Part, &disk::Size)| {
            let terms = Terms::of(*part, &day);
            let (rows, bytes) = (size.rows, size.bytes);
            (*part, Shown { rows, bytes, terms })
        };
        Ok(Self {
            given: Given {
                rate_per_s: rate,
                profile,
                resources: shape.resources,
                networks: shape.networks,
                skew: shape.skew,
                retention_days,
                raw_retention_days,
            },
            per_day: PerDay {
                messages: day.messages,
                log_bytes,
                totals_bytes,
                parts: sizes.iter().map(show).collect(),
            },
            totals_rows_per_minute: Rows {
                low: day.totals_uncut / DAY_MINUTES,
                expected: day.totals / DAY_MINUTES,
                high: day.messages / DAY_MINUTES,
            },
            disk: Disk {
                log,
                totals,
                all: log.and(totals),
            },
            spool: flow::spool(&sample, rate, proxy.instances),
            proxy,
            latency_s: flow::latency(),
            kafka: flow::kafka(&sample, rate, mix.peak()),
            assumptions: assumptions(profile, shape, live.as_ref()),
            server: live,
        })
    }
}

fn assumptions(profile: Profile, shape: &Shape, live: Option<&Live>) -> Vec<Assumption> {
    let mut all = Vec::new();
    let mut assume = |what: String, source| all.push(Assumption { what, source });
    assume(
        match profile {
            Profile::Realistic => format!(
                "{} resources and {} networks, the k-th drawn in proportion to 1/k^{}, \
                 independently; statuses, cache statuses, objects and hours as produced",
                shape.resources, shape.networks, shape.skew
            ),
            Profile::Uniform => format!(
                "{} resources, {} networks and all else drawn with equal chances",
                shape.resources, shape.networks
            ),
        },
        "spoolhouse produce (src/traffic)",
    );
    assume(
        format!(
            "rows of the totals: the sum over all keys of 1-(1-p)^n, n the messages of a minute \
             that one batch holds; a batch spans {} s and cuts most minutes in two",
            flow::SLOT_S
        ),
        "computed; the rows counted on eight days of traffic were within 0.3 % (ops/bench estimate)",
    );
    match live {
        Some(live) => {
            assume(
                format!(
                    "bytes per row of ClickHouse {} at {} rows of the log and {} of the totals, \
                     whatever the rate",
                    live.version, live.log_rows, live.totals_rows
                ),
                "system.parts and system.projection_parts of the server of --from",
            );
            for note in &live.notes {
                assume(note.clone(), "the server of --from");
            }
        }
        None => assume(
            "bytes on disk: so much per row, per byte of information in times and keys, per \
             new value and per object in 8192 rows; parts merged"
                .to_owned(),
            costs::SOURCE,
        ),
    }
    assume(
        format!(
            "low and high: {:.0} % less and more; a day is dropped whole, so half a day more is \
             kept on average and a day at most; one more while a day's parts are merged",
            disk::MARGIN * 100.0
        ),
        "ops/bench estimate accepts no larger error; ttl_only_drop_parts (sql/)",
    );
    assume(
        format!("a slot every {} s for each address", flow::SLOT_S),
        "nginx's limit_req at 1r/m keeps whole thousandths (ops/bench pace measures it)",
    );
    assume(
        format!(
            "a batch of {} bytes, {:.1} % full, {} bytes per row",
            flow::BODY_BYTES,
            crate::upload::drain_estimate::FILL * 100.0,
            flow::batch_bytes_per_row(profile)
        ),
        "client_max_body_size of a stock nginx; ops/bench payload at 200 messages a second",
    );
    assume(
        format!(
            "time: up to {} s until a segment is sealed, up to a slot until it can go, and {} s to \
             pack and insert it; each instance below its capacity",
            flow::ROLL.roll_after.as_secs(),
            flow::HANDLING_S
        ),
        "spool.roll_after; src/upload/send.rs, ops/bench payload, inserts of full batches",
    );
    assume(
        "a message's payload and a segment's bytes are those of messages made and encoded just now"
            .to_owned(),
        "spoolhouse produce and ingest's own encoder",
    );
    assume(
        format!(
            "Kafka adds {} bytes to a payload; replication, batch headers and compression apart",
            flow::RECORD_BYTES
        ),
        "Kafka's record format, version 2",
    );
    all
}
