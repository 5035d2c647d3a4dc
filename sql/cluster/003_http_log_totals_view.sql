-- Fills the totals of a shard from what is inserted into its log, on the server that
-- took the insert; the replicas get the rows by replication, of both tables. The
-- tables' memory of tokens is the shard's, whichever replica is asked.
CREATE MATERIALIZED VIEW IF NOT EXISTS http_log_totals_view ON CLUSTER '{cluster}'
TO http_log_totals_local AS
SELECT
    toStartOfMinute(timestamp)             AS minute,
    resource_id,
    response_status,
    cache_status,
    remote_addr,
    count()                                AS requests,
    sum(http_log_local.bytes_sent)         AS bytes_sent,
    sum(http_log_local.request_time_milli) AS request_time_milli
FROM http_log_local
GROUP BY minute, resource_id, response_status, cache_status, remote_addr;
