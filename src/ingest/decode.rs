//! A message's bytes into a record whose client address is masked.
//!
//! Invariant: no address leaves [`record::decode`] unmasked, and every payload is
//! either a record or a reason why it is none. Pure; knows the wire format, and
//! neither Kafka nor the disk, but for the disk's type of an undecodable message.

pub mod anonymize;
pub mod record;
pub mod redecode;
pub mod row_builder;
