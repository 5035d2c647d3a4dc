-- The values that the tables are made with: change them here, or leave this file
-- out and name all of them to the client:
--
--   cat sql/00[0-3]_*.sql | clickhouse-client
--   cat sql/00[1-3]_*.sql | clickhouse-client --param_log_days=7 --param_totals_days=365 --param_deduplication_window=10000
--
-- A table keeps what it was made with. sql/README.md says how to change it later.

-- How long a record stays in http_log, by its own timestamp. What is older when
-- it arrives is dropped soon after.
SET param_log_days = 30;

-- The same for http_log_totals: thirteen months, so that a month can be compared
-- with the same month of the year before.
SET param_totals_days = 400;

-- How many inserts each table remembers, so that one sent again is not stored
-- again. One insert per 62.5 s, of one day's records: 10000 reach back seven days.
SET param_deduplication_window = 10000;
