-- The log: one row per record, the nine columns of the wire contract
-- (schema/http_log.capnp), addresses masked before they get here.
CREATE TABLE IF NOT EXISTS http_log
(
    -- Whole seconds. The zone is part of the type, so that a day is the same day
    -- whatever zone a server or a session is in.
    timestamp          DateTime('UTC') CODEC(Delta, ZSTD(1)),
    resource_id        UInt64 CODEC(ZSTD(1)),
    bytes_sent         UInt64 CODEC(ZSTD(1)),
    request_time_milli UInt64 CODEC(T64, ZSTD(1)),
    response_status    UInt16 CODEC(ZSTD(1)),
    cache_status       LowCardinality(String) CODEC(ZSTD(1)),
    method             LowCardinality(String) CODEC(ZSTD(1)),
    remote_addr        String CODEC(ZSTD(1)),   -- masked: 1.2.3.X
    url                String CODEC(ZSTD(1))
)
ENGINE = MergeTree
-- A day is what is dropped or moved as a whole. A batch that crosses midnight
-- makes one part, and takes one entry of the window below, per day it touches.
PARTITION BY toDate(timestamp)
-- The log is read to look closer at what the totals show: one resource, some time.
ORDER BY (resource_id, timestamp)
-- Counted in seconds and capped at the last that a DateTime holds: past it the
-- time may wrap to 1970, and the rows are dropped as they arrive.
TTL toDateTime(least(toUInt32(timestamp) + {log_days:UInt32} * 86400, 4294967295), 'UTC')
SETTINGS
    -- Plain MergeTree forgets tokens unless told to keep them: without the window
    -- a batch sent again after an unknown outcome is stored twice.
    non_replicated_deduplication_window = {deduplication_window:UInt64},
    -- A day goes as a whole once all of it is too old; no part is rewritten for it.
    ttl_only_drop_parts = 1;
