-- The totals of ../002_http_log_totals.sql, which says why they are as they are.
CREATE TABLE IF NOT EXISTS http_log_totals_local ON CLUSTER '{cluster}'
(
    minute             DateTime('UTC') CODEC(Delta, ZSTD(1)),
    resource_id        UInt64 CODEC(ZSTD(1)),
    response_status    UInt16 CODEC(ZSTD(1)),
    cache_status       LowCardinality(String) CODEC(ZSTD(1)),
    remote_addr        String CODEC(ZSTD(1)),
    requests           UInt64 CODEC(T64, ZSTD(1)),
    bytes_sent         UInt64 CODEC(T64, ZSTD(1)),
    request_time_milli UInt64 CODEC(T64, ZSTD(1)),
    day                Date MATERIALIZED toDate(minute) CODEC(ZSTD(1)),
    INDEX day_minmax day TYPE minmax,
    PROJECTION by_address
    (
        SELECT * ORDER BY remote_addr, minute
    ),
    PROJECTION without_address
    (
        SELECT
            resource_id, minute, response_status, cache_status,
            sum(requests), sum(bytes_sent), sum(request_time_milli)
        GROUP BY resource_id, minute, response_status, cache_status
    ),
    PROJECTION status_and_cache
    (
        SELECT
            minute, response_status, cache_status,
            sum(requests), sum(bytes_sent), sum(request_time_milli)
        GROUP BY minute, response_status, cache_status
    ),
    PROJECTION address_by_day
    (
        SELECT
            day, remote_addr, response_status, cache_status,
            sum(requests), sum(bytes_sent), sum(request_time_milli)
        GROUP BY day, remote_addr, response_status, cache_status
    ),
    PROJECTION resource_by_day
    (
        SELECT
            day, resource_id, response_status, cache_status,
            sum(requests), sum(bytes_sent), sum(request_time_milli)
        GROUP BY day, resource_id, response_status, cache_status
    )
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/http_log_totals', '{replica}')
PARTITION BY toDate(minute)
ORDER BY (resource_id, remote_addr, minute)
TTL toDateTime(least(toUInt32(minute) + {totals_days:UInt32} * 86400, 4294967295), 'UTC')
SETTINGS
    replicated_deduplication_window = {deduplication_window:UInt64},
    replicated_deduplication_window_seconds = {deduplication_seconds:UInt64},
    ttl_only_drop_parts = 1,
    default_compression_codec = 'LZ4HC(3)',
    lightweight_mutation_projection_mode = 'rebuild';

-- The one name that charts ask: every shard sums its own rows, from its own
-- projections, and the server that was asked adds them up.
CREATE TABLE IF NOT EXISTS http_log_totals ON CLUSTER '{cluster}'
AS http_log_totals_local
ENGINE = Distributed('{cluster}', currentDatabase(), http_log_totals_local);
