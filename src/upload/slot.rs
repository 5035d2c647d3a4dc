//! When the next request may go, and how large it may be.
//!
//! Functions of what the proxy answered so far and of the time that is passed in;
//! what they know is one value that the caller stores. No I/O and no clock.

pub mod pace_file;
pub mod pacer;

mod interval;
