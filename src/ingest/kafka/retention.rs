//! How long the broker keeps what we have not read: the topic's `retention.ms`.
//!
//! Asked through a client of its own, which lives for the question only: the
//! consumer has no way to ask. A broker may refuse to tell (the right needed is
//! DescribeConfigs on the topic); then it is simply not known.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::Options;

/// How long the broker may take to tell.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks for the retention of the topic in `options`; `None`: for ever.
///
/// # Errors
/// No answer in time, or a refusal.
pub(super) fn of(options: &Options) -> KafkaResult<Option<Duration>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", "spoolhouse")
        .set_log_level(RDKafkaLogLevel::Critical);
    for (key, value) in &options.librdkafka {
        config.set(key, value);
    }
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let limits = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let topic = ResourceSpecifier::Topic(&options.topic);
    let silent = || KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut);
    let answer = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|_| silent())?
        .block_on(admin.describe_configs([&topic], &limits))?;
    let resource = answer.into_iter().next().ok_or_else(silent)?;
    let resource = resource.map_err(KafkaError::AdminOp)?;
    Ok(resource
        .get("retention.ms")
        .and_then(|entry| parse(entry.value.as_deref()?)))
}

/// A negative value means for ever.
fn parse(text: &str) -> Option<Duration> {
    Some(Duration::from_millis(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_milliseconds_or_for_ever() {
        assert_eq!(parse("60000"), Some(Duration::from_secs(60)));
        assert_eq!(parse("-1"), None);
    }
}
