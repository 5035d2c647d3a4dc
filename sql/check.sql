-- Is every record of the log in the totals, once? Change nothing, run at any time:
--
--   clickhouse-client --multiline --format PrettyCompact < sql/check.sql
--
-- An insert reaches the log a moment before the totals; what differs only in the
-- day that is being written is looked at again a second later.

-- Day by day, of the days that the log still has whole. `verdict` is empty where
-- both are equal.
SELECT
    day,
    sum(log_requests) AS log, sum(totals_requests) AS totals,
    sum(log_bytes) AS log_bytes_sent, sum(totals_bytes) AS totals_bytes_sent,
    if((log, log_bytes_sent, sum(log_milli)) = (totals, totals_bytes_sent, sum(totals_milli)), '', 'DIFFERENT') AS verdict
FROM
(
    SELECT
        toDate(timestamp) AS day,
        count() AS log_requests, sum(bytes_sent) AS log_bytes, sum(request_time_milli) AS log_milli,
        0 AS totals_requests, 0 AS totals_bytes, 0 AS totals_milli
    FROM http_log
    GROUP BY day
    UNION ALL
    SELECT day, 0, 0, 0, sum(requests), sum(bytes_sent), sum(request_time_milli)
    FROM http_log_totals
    WHERE day IN (SELECT toDate(timestamp) FROM http_log)
    GROUP BY day
)
GROUP BY day
ORDER BY day;

-- Over all of those days, and whether the projections say what their table says.
SELECT
    (SELECT (count(), sum(bytes_sent), sum(request_time_milli)) FROM http_log) AS log,
    (
        SELECT (sum(requests), sum(bytes_sent), sum(request_time_milli))
        FROM http_log_totals
        WHERE day IN (SELECT toDate(timestamp) FROM http_log)
    ) AS totals,
    (
        SELECT (sum(requests), sum(bytes_sent), sum(request_time_milli))
        FROM http_log_totals
        WHERE day IN (SELECT toDate(timestamp) FROM http_log)
        SETTINGS optimize_use_projections = 0
    ) AS totals_without_projections,
    if(log = totals AND totals = totals_without_projections, 'equal', 'DIFFERENT') AS verdict;

-- Inserts that were recognised as sent before, since the server started: each is
-- a row that is not there twice.
SELECT event, value, description
FROM system.events
WHERE event IN ('DuplicatedInsertedBlocks', 'SelfDuplicatedAsyncInserts', 'DuplicatedAsyncInserts');

-- Whether every table of the chain remembers tokens, and as many as the others.
SELECT
    table,
    extract(engine_full, 'deduplication_window = (\\d+)') AS window,
    if(toUInt64OrZero(window) > 0 AND uniqExact(window) OVER () = 1, '', 'UNEQUAL OR NONE') AS verdict
FROM (SELECT name AS table, engine_full FROM system.tables
      WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name IN ('http_log', 'http_log_totals', 'http_log_local', 'http_log_totals_local'))
ORDER BY table;

-- How many parts lie unmerged: 300 in one day and more, and inserts are slowed.
SELECT table, count() AS parts, uniqExact(partition) AS days, max(parts_of_day) AS most_in_a_day, sum(rows) AS rows_stored, formatReadableSize(sum(bytes_on_disk)) AS size
FROM (SELECT *, count() OVER (PARTITION BY table, partition) AS parts_of_day FROM system.parts
      WHERE active AND database = currentDatabase() AND table IN ('http_log', 'http_log_totals', 'http_log_local', 'http_log_totals_local'))
GROUP BY table
ORDER BY table;

-- What each projection takes. One with fewer parts than the table has is missing
-- from the others: ALTER TABLE http_log_totals MATERIALIZE PROJECTION name.
SELECT name AS projection, count() AS parts, sum(rows) AS rows_stored, formatReadableSize(sum(bytes_on_disk)) AS size
FROM system.projection_parts
WHERE active AND database = currentDatabase() AND table IN ('http_log_totals', 'http_log_totals_local')
GROUP BY name
ORDER BY name;
