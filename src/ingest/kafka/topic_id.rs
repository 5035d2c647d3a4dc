//! Which topic of which cluster: the identity that offsets belong to.
//!
//! A topic that is deleted and created again starts at offset 0 under a new id.
//! The safe bindings don't offer the id, so this asks librdkafka's
//! `DescribeTopics` (KIP-516 ids, brokers from 2.8; older ones give a zero id).

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use crate::spool::format::footer::Source;

/// Asks for cluster id and topic id.
///
/// # Errors
/// No answer in time, or the topic does not exist.
pub fn source<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Source> {
    let cluster = client
        .fetch_cluster_id(timeout)
        .ok_or(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))?;
    Ok(Source {
        cluster,
        topic: topic.to_owned(),
        topic_id: topic_id(client, topic, timeout)?,
    })
}

fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<String> {
    let name = CString::new(topic).map_err(KafkaError::Nul)?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: librdkafka's documented protocol for an admin request. Every
    // object made here is destroyed here, the topic name outlives the call, and
    // the answer's parts are read before the answer is destroyed.
    unsafe {
        let rk = client.native_ptr();
        let mut names = [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let options = sys::rd_kafka_AdminOptions_new(
            rk,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
        let queue = sys::rd_kafka_queue_new(rk);
        sys::rd_kafka_DescribeTopics(rk, topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms);
        let id = if event.is_null() {
            Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))
        } else {
            read_id(event)
        };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
        id
    }
}

/// # Safety
/// `event` must be the live answer to a `DescribeTopics` request.
unsafe fn read_id(event: *mut sys::rd_kafka_event_t) -> KafkaResult<String> {
    // SAFETY: the caller's promise; every pointer is checked before it is followed.
    unsafe {
        let error = sys::rd_kafka_event_error(event);
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::AdminOp(error.into()));
        }
        let unexpected = KafkaError::AdminOp(RDKafkaErrorCode::Unknown);
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(unexpected);
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count != 1 {
            return Err(unexpected);
        }
        let topic = *topics;
        let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::AdminOp(error.into()));
        }
        let text = sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(topic));
        if text.is_null() {
            return Err(unexpected);
        }
        Ok(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
