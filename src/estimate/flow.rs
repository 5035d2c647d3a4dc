//! What a rate asks of the way there: slots of the proxy, instances, time, the
//! spool's disk while nothing can be sent, Kafka's traffic. Pure.

use std::time::Duration;

use serde::Serialize;

use super::sample::Sample;
use crate::ingest::window::Limits;
use crate::traffic::Profile;
use crate::upload::drain_estimate;

/// Between two requests that a stock nginx admits at `rate=1r/m`, seconds: it
/// rounds 1000 / 60 down to 16 thousandths a second.
pub(crate) const SLOT_S: f64 = 62.5;

/// The largest body that a stock nginx admits, bytes: `client_max_body_size`.
pub(crate) const BODY_BYTES: f64 = 1_048_576.0;

/// A segment's limits, as `spoolhouse run` has them unless told otherwise.
pub(crate) const ROLL: Limits = Limits {
    roll_after: Duration::from_secs(5),
    roll_bytes: 4 * bytesize::MIB,
};

/// From the moment that packing begins until the insert is confirmed, seconds: half
/// a second and twice the packing of a full batch (`upload/send.rs`), and its insert.
/// Packing took 1.5 s of CPU (`ops/bench payload`), the insert of 46900 uniform or 70600
/// realistic rows 0.7 s with its view and projections (engine of ClickHouse 26.9);
/// medians, on two cores that had other work.
pub(crate) const HANDLING_S: f64 = 0.5 + 2.0 * 1.5 + 0.7;

/// Of a record in Kafka's format (v2) around a payload of 64 B to 8 KiB without key
/// or headers, bytes: lengths 2 + 2 + 1, attributes 1, differences of time and offset
/// 2 + 2, headers 1.
pub(crate) const RECORD_BYTES: f64 = 11.0;

/// Bytes per row of a full batch, as `ops/bench payload` measured them at 200
/// messages a second.
pub(crate) fn batch_bytes_per_row(profile: Profile) -> f64 {
    match profile {
        Profile::Realistic => 14.7,
        Profile::Uniform => 22.1,
    }
}

/// How much of the proxy a rate takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Proxy {
    /// Rows of a full batch.
    pub rows_per_slot: f64,
    /// The rate that one instance can carry for good, rows per second.
    pub capacity_per_s: f64,
    /// What the average rate takes of that, as a share: above 1 the backlog of one
    /// instance grows for ever.
    pub share: f64,
    /// The same of the busiest hour: above 1 a backlog grows then.
    pub share_busiest_hour: f64,
    /// Instances, each behind an address of its own, so that all is stored in the end.
    pub instances_least: f64,
    /// Instances so that nothing waits for a second slot in the busiest hour.
    pub instances: f64,
}

/// The proxy at `rate` messages a second on average, and `peak` times that in the
/// busiest hour.
pub(crate) fn proxy(profile: Profile, rate: f64, peak: f64) -> Proxy {
    let rows_per_slot = (BODY_BYTES * drain_estimate::FILL / batch_bytes_per_row(profile)).floor();
    let capacity_per_s = rows_per_slot / SLOT_S;
    let share = rate / capacity_per_s;
    let whole = |share: f64| share.ceil().max(1.0);
    Proxy {
        rows_per_slot,
        capacity_per_s,
        share,
        share_busiest_hour: share * peak,
        instances_least: whole(share),
        instances: whole(share * peak),
    }
}

/// From the moment Kafka hands a record over until ClickHouse has confirmed it,
/// with as many instances as `Proxy::instances`. Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// A record waits for its segment to be sealed and then for a slot, either as
/// long as chance has it, and is then handled.
pub(crate) fn latency() -> Latency {
    let most = ROLL.roll_after.as_secs_f64() + SLOT_S;
    Latency {
        min: HANDLING_S,
        median: most / 2.0 + HANDLING_S,
        max: most + HANDLING_S,
    }
}

/// The spool's disk.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spool {
    /// Bytes per message in a segment.
    pub bytes_per_row: f64,
    /// Bytes for each hour in which nothing can be sent, of all instances.
    pub bytes_per_hour: f64,
    /// Hours until `spool.max_bytes` of every instance is reached, if ever.
    pub hours_until_full: Option<f64>,
}

/// `spool.max_bytes`, bytes, unless told otherwise.
pub(crate) const SPOOL_BYTES_MAX: f64 = (10 * bytesize::GIB) as f64;

/// The spools of `instances` that share `rate`.
pub(crate) fn spool(sample: &Sample, rate: f64, instances: f64) -> Spool {
    let bytes_per_row = sample.segment_bytes_per_row();
    let bytes_per_hour = rate * 3_600.0 * bytes_per_row;
    let hours_until_full =
        (bytes_per_hour > 0.0).then(|| instances * SPOOL_BYTES_MAX / bytes_per_hour);
    Spool {
        bytes_per_row,
        bytes_per_hour,
        hours_until_full,
    }
}

/// What goes through Kafka, once in and once out; without replication, batch
/// headers (61 bytes each) and compression.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Kafka {
    /// Bytes of a message with what its record adds.
    pub bytes_per_message: f64,
    /// Bytes per second that producers write, on average.
    pub in_per_s: f64,
    /// Bytes per second that Spoolhouse reads, on average.
    pub out_per_s: f64,
    /// Bytes that lie in the topic at a retention of one minute, in the busiest hour.
    pub kept_per_minute: f64,
}

/// Kafka at `rate` messages a second on average, and `peak` times that in the
/// busiest hour.
pub(crate) fn kafka(sample: &Sample, rate: f64, peak: f64) -> Kafka {
    let bytes_per_message = sample.payload_bytes + RECORD_BYTES;
    let per_s = rate * bytes_per_message;
    Kafka {
        bytes_per_message,
        in_per_s: per_s,
        out_per_s: per_s,
        kept_per_minute: per_s * peak * 60.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_is_a_full_body_per_slot() {
        let proxy = proxy(Profile::Uniform, 1_000.0, 1.0);
        // 1 MiB, 98.5 percent full, of rows of 22.1 bytes, per 62.5 seconds.
        assert!((proxy.capacity_per_s - 747.8).abs() < 0.1, "{proxy:?}");
        assert_eq!((proxy.instances_least, proxy.instances), (2.0, 2.0));
        let idle = super::proxy(Profile::Uniform, 0.0, 1.0);
        assert_eq!((idle.share, idle.instances), (0.0, 1.0));
    }

    #[test]
    fn a_record_waits_for_a_seal_and_a_slot() {
        let latency = latency();
        assert_eq!(latency.max - latency.min, 67.5);
        assert_eq!(latency.median - latency.min, 33.75);
    }
}
