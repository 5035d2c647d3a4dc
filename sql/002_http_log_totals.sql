-- The totals: what charts ask, ready made per minute and the four dimensions.
-- Rows of one key may be many (one per batch that had it), so a reader always
-- sums:
--
--   SELECT minute, sum(requests), sum(bytes_sent) FROM http_log_totals
--   WHERE resource_id = 42 GROUP BY minute ORDER BY minute
--
-- One name answers every question: below it lie projections, the same rows in
-- other orders or summed further, and ClickHouse reads the one that has least to
-- read. They are written within the part they belong to, so they are stored
-- exactly as often as the rows are: once. 004_queries.sql has a query of each
-- kind, sql/README.md says what each projection is for.
--
-- Plain MergeTree, not SummingMergeTree: the view has already aggregated each
-- batch, and a part that is never rewritten by summing stays exactly what its
-- token says it is.
CREATE TABLE IF NOT EXISTS http_log_totals
(
    minute             DateTime('UTC') CODEC(Delta, ZSTD(1)),
    resource_id        UInt64 CODEC(ZSTD(1)),
    response_status    UInt16 CODEC(ZSTD(1)),
    cache_status       LowCardinality(String) CODEC(ZSTD(1)),
    remote_addr        String CODEC(ZSTD(1)),
    requests           UInt64 CODEC(T64, ZSTD(1)),
    bytes_sent         UInt64 CODEC(T64, ZSTD(1)),
    request_time_milli UInt64 CODEC(T64, ZSTD(1)),
    -- What whole days are asked by (see the last two projections). Not part of
    -- SELECT * or of an INSERT. A column of its own because ClickHouse turns a
    -- condition on toDate(minute) into one on minute, which no projection by day
    -- can answer.
    day                Date MATERIALIZED toDate(minute) CODEC(ZSTD(1)),
    INDEX day_minmax day TYPE minmax,

    -- One address, a few of them, or a network (LIKE '192.0.2.%'), over any time.
    PROJECTION by_address
    (
        SELECT * ORDER BY remote_addr, minute
    ),

    -- Anything about resources that names no address: at high rates a tenth of
    -- the rows and less.
    PROJECTION without_address
    (
        SELECT
            resource_id, minute, response_status, cache_status,
            sum(requests), sum(bytes_sent), sum(request_time_milli)
        GROUP BY resource_id, minute, response_status, cache_status
    ),

    -- All traffic, and that of a status or cache status.
    PROJECTION status_and_cache
    (
        SELECT
            minute, response_status, cache_status,
            sum(requests), sum(bytes_sent), sum(request_time_milli)
        GROUP BY minute, response_status, cache_status
    ),

    -- The top addresses and the top resources of many days: of a query whose
    -- condition on the time is one on day.
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
ENGINE = MergeTree
PARTITION BY toDate(minute)
-- For the questions that no projection answers, which are those about resource and
-- address together: the addresses of a resource lie side by side.
ORDER BY (resource_id, remote_addr, minute)
TTL toDateTime(least(toUInt32(minute) + {totals_days:UInt32} * 86400, 4294967295), 'UTC')
SETTINGS
    -- The same window as http_log: a table of the chain with a shorter one counts
    -- a late retry twice.
    non_replicated_deduplication_window = {deduplication_window:UInt64},
    ttl_only_drop_parts = 1,
    -- Of the projections, which do not inherit the codecs of the columns. They are
    -- what charts read, and most of a chart's time is decompression: with ZSTD(1)
    -- they take a fifth less room (uniform traffic: a third), and the top of a day
    -- 1.5 to 2.4 times as long.
    default_compression_codec = 'LZ4HC(3)',
    -- DELETE FROM keeps the projections right instead of being refused.
    lightweight_mutation_projection_mode = 'rebuild';
