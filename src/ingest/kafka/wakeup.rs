//! Waits until one of librdkafka's queues has something.
//!
//! librdkafka's own waiting goes by the wall clock: set back an hour, it waits
//! an hour longer. A socket's time-out does not care what time it is.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use rdkafka::bindings::rd_kafka_queue_io_event_enable;

use super::queue_handle::Handle;

/// Rung by librdkafka whenever an empty queue gets something.
#[derive(Debug)]
pub(super) struct Wakeup {
    hears: UnixStream,
    // The end that librdkafka writes to; open as long as it may.
    _rings: UnixStream,
    queues: [Rc<Handle>; 2],
}

impl Wakeup {
    /// A bell for these queues; each can have one only.
    ///
    /// # Errors
    /// The system's, if it has no sockets left.
    pub(super) fn new(queues: [Rc<Handle>; 2]) -> io::Result<Self> {
        let (hears, rings) = UnixStream::pair()?;
        // Whoever rings never waits; one ring that was not heard is enough.
        rings.set_nonblocking(true)?;
        let stroke = [0_u8];
        for queue in &queues {
            // SAFETY: the queue is alive; librdkafka copies the stroke. The socket
            // is taken back before it is closed.
            unsafe {
                rd_kafka_queue_io_event_enable(
                    queue.raw(),
                    rings.as_raw_fd(),
                    stroke.as_ptr().cast(),
                    stroke.len(),
                );
            }
        }
        Ok(Self {
            hears,
            _rings: rings,
            queues,
        })
    }

    /// Waits for a ring; one from before counts. Ends after `timeout` at the latest.
    pub(super) fn wait(&self, timeout: Duration) {
        let mut strokes = [0; 1_024];
        // A failure is as good as a ring: the queues are looked at next anyway.
        if !timeout.is_zero() && self.hears.set_read_timeout(Some(timeout)).is_ok() {
            let _ = (&self.hears).read(&mut strokes);
        }
    }
}

impl Drop for Wakeup {
    fn drop(&mut self) {
        for queue in &self.queues {
            // SAFETY: the queue is alive; from here on nothing is written to the socket.
            unsafe { rd_kafka_queue_io_event_enable(queue.raw(), -1, ptr::null(), 0) }
        }
    }
}
