-- The log of ../001_http_log.sql, which says why it is as it is, on every server of
-- the cluster that the macro {cluster} names. The macros {shard} and {replica} say
-- which one a server is: SELECT * FROM system.macros.
CREATE TABLE IF NOT EXISTS http_log_local ON CLUSTER '{cluster}'
(
    timestamp          DateTime('UTC') CODEC(Delta, ZSTD(1)),
    resource_id        UInt64 CODEC(ZSTD(1)),
    bytes_sent         UInt64 CODEC(ZSTD(1)),
    request_time_milli UInt64 CODEC(T64, ZSTD(1)),
    response_status    UInt16 CODEC(ZSTD(1)),
    cache_status       LowCardinality(String) CODEC(ZSTD(1)),
    method             LowCardinality(String) CODEC(ZSTD(1)),
    remote_addr        String CODEC(ZSTD(1)),
    url                String CODEC(ZSTD(1))
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/http_log', '{replica}')
PARTITION BY toDate(timestamp)
ORDER BY (resource_id, timestamp)
TTL toDateTime(least(toUInt32(timestamp) + {log_days:UInt32} * 86400, 4294967295), 'UTC')
SETTINGS
    replicated_deduplication_window = {deduplication_window:UInt64},
    replicated_deduplication_window_seconds = {deduplication_seconds:UInt64},
    ttl_only_drop_parts = 1;

-- To read from any server; every shard is asked. Without a sharding key it takes
-- no inserts where there are several shards: a batch sent again must reach the
-- shard that may have it already, so each instance of Spoolhouse inserts into
-- http_log_local of one shard, always the same.
CREATE TABLE IF NOT EXISTS http_log ON CLUSTER '{cluster}'
AS http_log_local
ENGINE = Distributed('{cluster}', currentDatabase(), http_log_local);
