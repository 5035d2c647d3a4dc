-- Fills the totals from every insert into http_log, within that insert. A retry
-- that http_log drops must be dropped here too: uploads therefore send
-- deduplicate_blocks_in_dependent_materialized_views=1 with their token.
CREATE MATERIALIZED VIEW IF NOT EXISTS http_log_totals_view TO http_log_totals AS
SELECT
    toStartOfMinute(timestamp)       AS minute,
    resource_id,
    response_status,
    cache_status,
    remote_addr,
    count()                          AS requests,
    -- The table's name in front: the column is meant, not the alias of its sum.
    sum(http_log.bytes_sent)         AS bytes_sent,
    sum(http_log.request_time_milli) AS request_time_milli
FROM http_log
GROUP BY minute, resource_id, response_status, cache_status, remote_addr;
