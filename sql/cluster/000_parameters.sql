-- As ../000_parameters.sql, for tables on several servers:
--
--   cat sql/cluster/00[0-3]_*.sql | clickhouse-client
SET param_log_days = 30;
SET param_totals_days = 400;
SET param_deduplication_window = 10000;

-- Replicated tables also forget by age: in new versions after an hour, unless told
-- otherwise. As long as the window, so that the number alone decides: a week.
SET param_deduplication_seconds = 604800;
