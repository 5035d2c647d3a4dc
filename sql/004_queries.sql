-- What to ask http_log_totals, one query of each kind. Three rules:
--
--   1. Always sum(): a key may have a row for every batch that had it.
--   2. Put the condition on the time on minute; on day only for the top of many
--      whole days (section 3).
--   3. Select sums as they are stored, sum(requests), sum(bytes_sent),
--      sum(request_time_milli), and compute with those outside (section 4): a
--      sumIf() or an avg() is no sum that lies ready, and reads all rows.
--
-- Times are DateTime('UTC') or whole days of UTC. The values to try with:
SET param_begin = '2026-01-01 00:00:00';
SET param_end = '2026-01-31 00:00:00';
SET param_first_day = '2026-01-01';
SET param_last_day = '2026-01-30';
SET param_resource = 42;
SET param_status = 404;
SET param_cache = 'HIT';
SET param_address = '192.0.2.X';

-- 1. Over time, filtered by any of the four -----------------------------------

-- all traffic
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY t
ORDER BY t;

-- by resource
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND resource_id = {resource:UInt64}
GROUP BY t
ORDER BY t;

-- by status
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND response_status = {status:UInt16}
GROUP BY t
ORDER BY t;

-- by cache status
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND cache_status = {cache:String}
GROUP BY t
ORDER BY t;

-- by address
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND remote_addr = {address:String}
GROUP BY t
ORDER BY t;

-- by resource, status
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND resource_id = {resource:UInt64} AND response_status = {status:UInt16}
GROUP BY t
ORDER BY t;

-- by resource, cache status
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND resource_id = {resource:UInt64} AND cache_status = {cache:String}
GROUP BY t
ORDER BY t;

-- by resource, address
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND resource_id = {resource:UInt64} AND remote_addr = {address:String}
GROUP BY t
ORDER BY t;

-- by status, cache status
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND response_status = {status:UInt16} AND cache_status = {cache:String}
GROUP BY t
ORDER BY t;

-- by status, address
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND response_status = {status:UInt16} AND remote_addr = {address:String}
GROUP BY t
ORDER BY t;

-- by cache status, address
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND cache_status = {cache:String} AND remote_addr = {address:String}
GROUP BY t
ORDER BY t;

-- by resource, status, cache status
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND resource_id = {resource:UInt64} AND response_status = {status:UInt16} AND cache_status = {cache:String}
GROUP BY t
ORDER BY t;

-- by resource, status, address
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND resource_id = {resource:UInt64} AND response_status = {status:UInt16} AND remote_addr = {address:String}
GROUP BY t
ORDER BY t;

-- by resource, cache status, address
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND resource_id = {resource:UInt64} AND cache_status = {cache:String} AND remote_addr = {address:String}
GROUP BY t
ORDER BY t;

-- by status, cache status, address
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND response_status = {status:UInt16} AND cache_status = {cache:String} AND remote_addr = {address:String}
GROUP BY t
ORDER BY t;

-- by resource, status, cache status, address
SELECT toStartOfHour(minute) AS t, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND resource_id = {resource:UInt64} AND response_status = {status:UInt16} AND cache_status = {cache:String} AND remote_addr = {address:String}
GROUP BY t
ORDER BY t;

-- 2. Grouped by any of the four ------------------------------------------------
--
-- By status and cache status as a chart over time, by resource or address as a top
-- ten. Filters as above go with any of them. Of many days: section 3.

-- the top ten of resource
SELECT resource_id, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY resource_id
ORDER BY r DESC, resource_id
LIMIT 10;

-- by status, over time
SELECT toStartOfHour(minute) AS t, response_status, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY t, response_status
ORDER BY t, response_status;

-- by cache status, over time
SELECT toStartOfHour(minute) AS t, cache_status, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY t, cache_status
ORDER BY t, cache_status;

-- the top ten of address
SELECT remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY remote_addr
ORDER BY r DESC, remote_addr
LIMIT 10;

-- the top ten of resource, status
SELECT resource_id, response_status, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY resource_id, response_status
ORDER BY r DESC, resource_id, response_status
LIMIT 10;

-- the top ten of resource, cache status
SELECT resource_id, cache_status, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY resource_id, cache_status
ORDER BY r DESC, resource_id, cache_status
LIMIT 10;

-- the top ten of resource, address
SELECT resource_id, remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY resource_id, remote_addr
ORDER BY r DESC, resource_id, remote_addr
LIMIT 10;

-- by status, cache status, over time
SELECT toStartOfHour(minute) AS t, response_status, cache_status, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY t, response_status, cache_status
ORDER BY t, response_status, cache_status;

-- the top ten of status, address
SELECT response_status, remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY response_status, remote_addr
ORDER BY r DESC, response_status, remote_addr
LIMIT 10;

-- the top ten of cache status, address
SELECT cache_status, remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY cache_status, remote_addr
ORDER BY r DESC, cache_status, remote_addr
LIMIT 10;

-- the top ten of resource, status, cache status
SELECT resource_id, response_status, cache_status, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY resource_id, response_status, cache_status
ORDER BY r DESC, resource_id, response_status, cache_status
LIMIT 10;

-- the top ten of resource, status, address
SELECT resource_id, response_status, remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY resource_id, response_status, remote_addr
ORDER BY r DESC, resource_id, response_status, remote_addr
LIMIT 10;

-- the top ten of resource, cache status, address
SELECT resource_id, cache_status, remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY resource_id, cache_status, remote_addr
ORDER BY r DESC, resource_id, cache_status, remote_addr
LIMIT 10;

-- the top ten of status, cache status, address
SELECT response_status, cache_status, remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY response_status, cache_status, remote_addr
ORDER BY r DESC, response_status, cache_status, remote_addr
LIMIT 10;

-- the top ten of resource, status, cache status, address
SELECT resource_id, response_status, cache_status, remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY resource_id, response_status, cache_status, remote_addr
ORDER BY r DESC, resource_id, response_status, cache_status, remote_addr
LIMIT 10;

-- 3. The top of many days ---------------------------------------------------------
--
-- Ranked by the sums of whole days. Filters on status and cache status go with
-- these, and groups by them; with one on the other of resource and address, ask
-- as in section 2: then few rows are read anyway.

-- the top ten addresses of whole days
SELECT remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE day BETWEEN {first_day:Date} AND {last_day:Date}
GROUP BY remote_addr
ORDER BY r DESC, remote_addr
LIMIT 10;

-- the top ten resources of whole days, of one status
SELECT resource_id, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE day BETWEEN {first_day:Date} AND {last_day:Date}
  AND response_status = {status:UInt16}
GROUP BY resource_id
ORDER BY r DESC, resource_id
LIMIT 10;

-- the top ten addresses to the minute: whole days by day, both ends by minute
WITH
    toDate({begin:DateTime('UTC')} - 1) + 1 AS first_whole_day,
    toDate({end:DateTime('UTC')}) AS day_of_end
SELECT remote_addr, sum(r) AS requests, sum(b) AS bytes
FROM
(
    SELECT remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
    FROM http_log_totals
    WHERE day >= first_whole_day AND day < day_of_end
    GROUP BY remote_addr
    UNION ALL
    SELECT remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
    FROM http_log_totals
    WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
      AND (minute < toDateTime(first_whole_day, 'UTC') OR minute >= toDateTime(day_of_end, 'UTC'))
    GROUP BY remote_addr
)
GROUP BY remote_addr
ORDER BY requests DESC, remote_addr
LIMIT 10;

-- those ten over time: few addresses, so their minutes are read
SELECT toStartOfHour(minute) AS t, remote_addr, sum(requests), sum(bytes_sent)
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND remote_addr IN
  (
      SELECT remote_addr
      FROM http_log_totals
      WHERE day BETWEEN {first_day:Date} AND {last_day:Date}
      GROUP BY remote_addr
      ORDER BY sum(requests) DESC, remote_addr
      LIMIT 10
  )
GROUP BY t, remote_addr
ORDER BY t, remote_addr;

-- Sums by day save little where hardly two rows of a day have the same of what is asked
-- by: of pairs of resource and address always, of addresses where few come twice a day
-- (check.sql shows nearly as many rows in the projection as in the table). Then ask by
-- minute and let nothing but the table be read.

-- the top ten addresses where hardly any comes twice a day
SELECT remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
GROUP BY remote_addr
ORDER BY r DESC, remote_addr
LIMIT 10
SETTINGS optimize_use_projections = 0;

-- If it is more than one column that is asked by, rank hashes and name those that came
-- first: millions of numbers are counted in less time than millions of names, and in
-- less than half the memory. What is shown are the sums of each name, so that two of
-- one hash do no more than waste one of the thousand places.

-- the top ten pairs of resource and address
SELECT resource_id, remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND cityHash64(resource_id, remote_addr) IN
  (
      SELECT cityHash64(resource_id, remote_addr) AS hash
      FROM http_log_totals
      WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
      GROUP BY hash
      ORDER BY sum(requests) DESC, hash
      LIMIT 1000
  )
GROUP BY resource_id, remote_addr
ORDER BY r DESC, resource_id, remote_addr
LIMIT 10
SETTINGS optimize_use_projections = 0;

-- the top ten of address, status, cache status where hardly any comes twice a day
SELECT remote_addr, response_status, cache_status, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND cityHash64(remote_addr, response_status, cache_status) IN
  (
      SELECT cityHash64(remote_addr, response_status, cache_status) AS hash
      FROM http_log_totals
      WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
      GROUP BY hash
      ORDER BY sum(requests) DESC, hash
      LIMIT 1000
  )
GROUP BY remote_addr, response_status, cache_status
ORDER BY r DESC, remote_addr, response_status, cache_status
LIMIT 10
SETTINGS optimize_use_projections = 0;

-- 4. What is computed of sums -------------------------------------------------------

-- share of requests answered from the cache, over time
SELECT t, sumIf(r, cache_status = 'HIT') / sum(r) AS hit_ratio
FROM
(
    SELECT toStartOfHour(minute) AS t, cache_status, sum(requests) AS r
    FROM http_log_totals
    WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
    GROUP BY t, cache_status
)
GROUP BY t
ORDER BY t;

-- bandwidth in bit/s and mean time of a request in ms, of one resource
SELECT t, b * 8 / 3600 AS bits_per_second, m / r AS mean_milli
FROM
(
    SELECT toStartOfHour(minute) AS t, sum(requests) AS r, sum(bytes_sent) AS b, sum(request_time_milli) AS m
    FROM http_log_totals
    WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
      AND resource_id = {resource:UInt64}
    GROUP BY t
)
ORDER BY t;

-- requests by class of status, over time
SELECT t, intDiv(response_status, 100) AS class, sum(r) AS requests
FROM
(
    SELECT toStartOfHour(minute) AS t, response_status, sum(requests) AS r
    FROM http_log_totals
    WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
    GROUP BY t, response_status
)
GROUP BY t, class
ORDER BY t, class;

-- a network of addresses: what begins alike lies together
SELECT remote_addr, sum(requests) AS r, sum(bytes_sent) AS b
FROM http_log_totals
WHERE minute >= {begin:DateTime('UTC')} AND minute < {end:DateTime('UTC')}
  AND startsWith(remote_addr, '192.0.')
GROUP BY remote_addr
ORDER BY r DESC, remote_addr
LIMIT 10;
