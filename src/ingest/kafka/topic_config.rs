//! How the broker treats a topic's data: its settings, with the broker's own
//! defaults where the topic has none.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};

use super::{ASK_TIMEOUT, Options};

/// Asks for them.
///
/// # Errors
/// A broker that does not answer in time, or may not tell.
pub fn ask(options: &Options) -> KafkaResult<BTreeMap<String, String>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.brokers);
    config.set("client.id", "spoolhouse");
    // The consumer's properties mean nothing here, and it would say so.
    config.set_log_level(RDKafkaLogLevel::Emerg);
    for (key, value) in &options.librdkafka {
        config.set(key, value);
    }
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let wanted = [ResourceSpecifier::Topic(&options.topic)];
    let asking = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
    // The client answers from a thread of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
    let answers = runtime.block_on(admin.describe_configs(&wanted, &asking))?;
    let mut settings = BTreeMap::new();
    for answer in answers {
        let resource = answer.map_err(KafkaError::AdminOp)?;
        for entry in resource.entries {
            settings.extend(entry.value.map(|value| (entry.name, value)));
        }
    }
    Ok(settings)
}
