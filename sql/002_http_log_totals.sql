-- The totals: what dashboards ask, ready made per minute and the four
-- dimensions. Rows of one key may be many (one per batch that had it), so a
-- reader always sums:
--
--   SELECT minute, sum(requests), sum(bytes_sent) FROM http_log_totals
--   WHERE resource_id = 42 GROUP BY minute ORDER BY minute
--
-- Plain MergeTree, not SummingMergeTree: the view has already aggregated each
-- batch, and a part that is never rewritten by summing stays exactly what its
-- token says it is.
CREATE TABLE IF NOT EXISTS http_log_totals
(
    minute             DateTime,
    resource_id        UInt64,
    response_status    UInt16,
    cache_status       LowCardinality(String),
    remote_addr        String,
    requests           UInt64,
    bytes_sent         UInt64,
    request_time_milli UInt64
)
ENGINE = MergeTree
PARTITION BY toDate(minute)
ORDER BY (resource_id, minute, response_status, cache_status, remote_addr)
-- The same window as http_log: a table of the chain with a shorter one counts
-- a late retry twice.
SETTINGS non_replicated_deduplication_window = 10000;
