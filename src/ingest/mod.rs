//! Kafka into the spool.
