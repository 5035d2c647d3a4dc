//! From the configuration to the options that each part is handed: the only place
//! that knows both. Opens the spool; everything else here is values to values.

use uuid::Uuid;

use crate::config::{Config, Loaded};
use crate::ingest::backpressure::Headroom;
use crate::ingest::{kafka, window};
use crate::spool::Spool;
use crate::spool::outlet::cpu_budget::Effort;
use crate::spool::undecodable_retention::Limits;
use crate::upload::proxy::TransportError;
use crate::upload::slot::pacer;
use crate::upload::transport::{Transport, TransportOptions};
use crate::upload::{request, send, settings, telemetry};

/// Undecodable messages may take one part in so many of the spool's budget.
const UNDECODABLE_SHARE: u64 = 4;

/// Opens the configured spool and owns it.
///
/// # Errors
/// A [`crate::config::ConfigError`] if there can be no spool in that directory,
/// an [`OpenError`](crate::spool::start::OpenError) if the disk has trouble that may pass, or that names the
/// owner's pid if there is one.
pub(super) fn open_spool(loaded: &Loaded) -> anyhow::Result<Spool> {
    Spool::open(&loaded.config.spool.dir).map_err(|error| {
        if error.is_bad_place() {
            anyhow::Error::new(loaded.blame("spool.dir", error))
        } else {
            error.into()
        }
    })
}

/// How to reach Kafka on behalf of a spool.
pub(super) fn kafka_options(config: &Config, spool: Uuid) -> kafka::Options {
    let kafka = &config.kafka;
    kafka::Options {
        brokers: kafka.brokers.clone(),
        topic: kafka.topic.clone(),
        group: kafka.group.clone(),
        instance_id: kafka
            .instance_id
            .clone()
            .unwrap_or_else(|| format!("spoolhouse-{spool}")),
        librdkafka: kafka.librdkafka.clone(),
    }
}

/// Their budget is at most a part of the spool's: garbage can't stop ingest.
pub(super) fn undecodable_limits(config: &Config) -> Limits {
    let spool = &config.spool;
    Limits {
        bytes_max: spool
            .undecodable_max_bytes
            .min(spool.max_bytes / UNDECODABLE_SHARE),
        age_max: spool.undecodable_max_age,
    }
}

/// What the spool may take.
pub(super) fn headroom(config: &Config) -> Headroom {
    Headroom {
        spool_bytes_max: config.spool.max_bytes,
        free_bytes_min: config.spool.min_free,
        batch_bytes_max: config.upload.max_body,
        window: window::Limits {
            roll_after: config.spool.roll_after,
            roll_bytes: config.spool.roll_bytes,
        },
    }
}

/// What the send loop is asked to do.
pub(super) fn upload_options(config: &Config) -> send::Options {
    let upload = &config.upload;
    send::Options {
        target: request::Target {
            url: upload.url.clone(),
            database: upload.database.clone(),
            table: upload.table.clone(),
        },
        settings: settings::effective(&upload.settings),
        encoding: upload.encoding,
        effort: Effort::new(upload.pack_effort_ppm, upload.interval),
        pace: pacer::PaceOptions {
            url: upload.url.to_string(),
            interval_ms: u64::try_from(upload.interval.as_millis()).unwrap_or(u64::MAX),
            body_bytes_max: upload.max_body,
        },
        data_attempts_max: upload.data_retries,
        view: telemetry::View::default(),
    }
}

/// The way to the configured proxy.
pub(super) fn transport(config: &Config) -> Result<Transport, TransportError> {
    let upload = &config.upload;
    let options = TransportOptions {
        user: upload.user.clone(),
        password_file: upload.password_file.clone(),
        auth: upload.auth,
        ca_file: upload.ca_file.clone(),
        timeout: upload.timeout,
        ..TransportOptions::default()
    };
    Transport::new(options, upload.url.scheme() == "https")
}
