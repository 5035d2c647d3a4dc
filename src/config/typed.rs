//! The shape of a configuration as it is typed, with the defaults. Types only:
//! whether the values make sense together is decided afterwards.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::Value;

use crate::spool::format::encoding::Encoding;
use crate::upload::transport::Auth;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Typed {
    pub kafka: Kafka,
    pub spool: Spool,
    pub upload: Upload,
    pub observe: Observe,
    pub run: Run,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Kafka {
    pub brokers: String,
    pub topic: String,
    pub group: String,
    pub instance_id: Option<String>,
    pub librdkafka: BTreeMap<String, Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Spool {
    pub dir: PathBuf,
    #[serde(deserialize_with = "duration")]
    pub roll_after: Duration,
    #[serde(deserialize_with = "size")]
    pub roll_bytes: u64,
    #[serde(deserialize_with = "size")]
    pub max_bytes: u64,
    #[serde(deserialize_with = "size")]
    pub min_free: u64,
    #[serde(deserialize_with = "size")]
    pub undecodable_max_bytes: u64,
    #[serde(deserialize_with = "some_duration")]
    pub undecodable_max_age: Option<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Upload {
    pub url: String,
    pub database: String,
    pub table: String,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub auth: Auth,
    pub ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    #[serde(deserialize_with = "size")]
    pub max_body: u64,
    pub encoding: Encoding,
    #[serde(rename = "pack_effort", deserialize_with = "percent")]
    pub pack_effort_ppm: u32,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    pub data_retries: u32,
    pub settings: BTreeMap<String, Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Observe {
    pub listen: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Run {
    #[serde(deserialize_with = "duration")]
    pub shutdown_after: Duration,
}

impl Default for Kafka {
    fn default() -> Self {
        Kafka {
            brokers: "127.0.0.1:9092".into(),
            topic: "http_log".into(),
            group: "spoolhouse".into(),
            instance_id: None,
            librdkafka: BTreeMap::new(),
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Spool {
            dir: "spool".into(),
            roll_after: Duration::from_secs(5),
            roll_bytes: 4 * bytesize::MIB,
            max_bytes: 10 * bytesize::GIB,
            min_free: 256 * bytesize::MIB,
            undecodable_max_bytes: 256 * bytesize::MIB,
            undecodable_max_age: None,
        }
    }
}

impl Default for Upload {
    fn default() -> Self {
        Upload {
            url: "http://127.0.0.1:8124/".into(),
            database: "default".into(),
            table: "http_log".into(),
            user: None,
            password_file: None,
            auth: Auth::default(),
            ca_file: None,
            interval: Duration::from_secs(60),
            max_body: bytesize::MIB,
            encoding: Encoding::default(),
            pack_effort_ppm: 20_000,
            timeout: Duration::from_secs(180),
            data_retries: 3,
            settings: BTreeMap::new(),
        }
    }
}

impl Default for Observe {
    fn default() -> Self {
        Observe {
            listen: "127.0.0.1:9464".into(),
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Run {
            shutdown_after: Duration::from_secs(10),
        }
    }
}

/// A value of a free table: a string, a number or a boolean.
#[derive(Debug)]
pub(super) enum Scalar {
    Boolean(bool),
    /// Anything else, as it was written.
    Text(String),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Boolean(value) => Ok(Scalar::Boolean(value)),
            Value::String(text) => Ok(Scalar::Text(text)),
            Value::Integer(number) => Ok(Scalar::Text(number.to_string())),
            Value::Float(number) => Ok(Scalar::Text(number.to_string())),
            _ => Err(D::Error::custom("must be a string, a number or a boolean")),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => {
            return Err(D::Error::custom(format!(
                "{} has no unit: write a duration such as \"5s\" or \"500ms\"",
                shown(&other)
            )));
        }
    };
    humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!(
            "{text:?} is no duration such as \"5s\" or \"500ms\" ({error})"
        ))
    })
}

fn some_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    duration(d).map(Some)
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let no_size = |shown: String| {
        D::Error::custom(format!(
            "{shown} is no size such as \"1MiB\" or 1048576 (bytes)"
        ))
    };
    match Value::deserialize(deserializer)? {
        Value::Integer(bytes) => u64::try_from(bytes).map_err(|_| no_size(bytes.to_string())),
        Value::String(text) => text
            .parse::<ByteSize>()
            .map(|size| size.as_u64())
            .map_err(|_| no_size(format!("{text:?}"))),
        other => Err(no_size(shown(&other))),
    }
}

/// Parts of a million.
fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let no_share = |shown: String| {
        D::Error::custom(format!(
            "{shown} is no share between \"0%\" and \"100%\", such as \"2%\""
        ))
    };
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => return Err(no_share(shown(&other))),
    };
    let number = text.strip_suffix('%').map(|number| number.trim().parse());
    match number {
        Some(Ok(percent)) if (0.0_f64..=100.0).contains(&percent) => {
            Ok((percent * 10_000.0).round() as u32)
        }
        _ => Err(no_share(format!("{text:?}"))),
    }
}

/// A value that was typed where it can't be, for an error.
fn shown(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => format!("a {}", other.type_str()),
    }
}
