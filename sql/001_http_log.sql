-- The log: one row per record, the nine columns of the wire contract
-- (schema/http_log.capnp), addresses masked before they get here.
CREATE TABLE IF NOT EXISTS http_log
(
    timestamp          DateTime,                -- whole seconds, UTC
    resource_id        UInt64,
    bytes_sent         UInt64,
    request_time_milli UInt64,
    response_status    UInt16,
    cache_status       LowCardinality(String),
    method             LowCardinality(String),
    remote_addr        String,                  -- masked: 1.2.3.X
    url                String
)
ENGINE = MergeTree
-- A day is what is dropped or moved as a whole. A batch that crosses midnight
-- makes one part, and takes one entry of the window below, per day it touches.
PARTITION BY toDate(timestamp)
-- The log is read to look closer at what the totals show: one resource, some time.
ORDER BY (resource_id, timestamp)
-- Plain MergeTree forgets tokens unless told to keep them: without the window a
-- batch sent again after an unknown outcome is stored twice. At one insert per
-- 62.5 s and one day per batch, 10000 entries reach back seven days.
SETTINGS non_replicated_deduplication_window = 10000;
