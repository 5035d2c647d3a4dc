//! One reference to a queue of librdkafka, given back exactly once.

use std::ptr::NonNull;

use rdkafka::bindings::{rd_kafka_queue_destroy, rd_kafka_queue_t};

/// A queue of librdkafka: our own, or a partition's.
#[derive(Debug)]
pub(super) struct Handle(pub(super) NonNull<rd_kafka_queue_t>);

impl Handle {
    pub(super) fn raw(&self) -> *mut rd_kafka_queue_t {
        self.0.as_ptr()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: our reference, given back once; the client is still alive.
        unsafe { rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}
