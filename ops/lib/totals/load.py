"""Fills a month of totals, and measures what inserting costs.

Job: all days but the last in bulk, one insert and so one part a day, as merges
leave it; the last day through http_log and its view in batches of 62.5 s, each
with a token, as the uploader sends them. And the same traffic, thinner, into the
log, the totals and a plain SummingMergeTree, to ask them side by side.
Invariant: a day is marked as loaded only after it is complete; what is found
without a mark is removed and loaded anew, so that a run can be taken up again.
"""

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass

from stack.clickhouse import statements
from stack.parts import ROOT, SLOT_SECONDS
from totals.engine import ONE_PART
from totals.queries import iso_date
from totals.traffic import COLUMNS, DAY_SECONDS, EngineTraffic

DAYS = 30
FIRST_MIDNIGHT = 1_767_225_600  # 2026-01-01
END = FIRST_MIDNIGHT + DAYS * DAY_SECONDS
SAMPLE_BATCHES = 100  # inserted without view or projections, to compare
MERGE_SECONDS_MAX = 120
KEYS = "minute, resource_id, response_status, cache_status, remote_addr"
# What the uploader sends (sql/inserts.md), as far as it concerns an INSERT ... SELECT.
UPLOAD = (
    "async_insert=0, deduplicate_blocks_in_dependent_materialized_views=1, max_insert_threads=1, "
    "max_insert_block_size=100000000, min_insert_block_size_bytes=0, min_insert_block_size_rows=100000000"
)
# What the totals would be without projections, and the usual other way to keep sums.
PLAIN_COLUMNS = (
    "minute DateTime('UTC') CODEC(Delta, ZSTD(1)), resource_id UInt64 CODEC(ZSTD(1)), "
    "response_status UInt16 CODEC(ZSTD(1)), cache_status LowCardinality(String) CODEC(ZSTD(1)), "
    "remote_addr String CODEC(ZSTD(1)), requests UInt64 CODEC(T64, ZSTD(1)), "
    "bytes_sent UInt64 CODEC(T64, ZSTD(1)), request_time_milli UInt64 CODEC(T64, ZSTD(1))"
)
SUMMING = (
    f"CREATE TABLE IF NOT EXISTS summing ({PLAIN_COLUMNS}) ENGINE = SummingMergeTree "
    "PARTITION BY toDate(minute) ORDER BY (resource_id, remote_addr, minute, response_status, cache_status)"
)
# The raw log under the names of the totals, so that one text asks both.
RAW = (
    "CREATE VIEW IF NOT EXISTS raw AS SELECT toStartOfMinute(timestamp) AS minute, resource_id, response_status, "
    "cache_status, remote_addr, 1 AS requests, bytes_sent, request_time_milli FROM http_log"
)


def summed(rows):
    """The view's own SELECT over other rows than http_log's."""
    view = statements((ROOT / "sql/003_http_log_totals_view.sql").read_text())[0]
    select = view[view.index("SELECT") :]
    return select.replace("FROM http_log", f"FROM ({rows}) AS http_log")


@dataclass(frozen=True)
class InsertCost:
    """Of one day's batches."""

    batches: int
    rows: int
    milliseconds: float  # of one insert, the median
    bare_milliseconds: float  # the same into a log without a view
    plain_milliseconds: float  # the same with a view into totals without projections
    written_bytes: int  # all that the engine wrote, merges included
    kept_bytes: int  # of the log and the totals, in the end
    merge_seconds: float
    parts: int


class Load:
    def __init__(self, engine, database, traffic, say):
        self.engine, self.database, self.traffic, self.say = engine, database, traffic, say
        engine.make_tables(database)
        engine.ask("CREATE TABLE IF NOT EXISTS loaded (day Date, what String) ENGINE = MergeTree ORDER BY day")

    def missing(self, what):
        """(number, midnight) of the days without a mark, emptied."""
        marked = {row[0] for row in self.engine.rows(f"SELECT toUInt32(day) FROM loaded WHERE what = '{what}'")}
        for number in range(DAYS):
            midnight = FIRST_MIDNIGHT + number * DAY_SECONDS
            if str(midnight // DAY_SECONDS) not in marked:
                yield number, midnight

    def drop(self, midnight, *tables):
        for table in tables:
            self.engine.ask(f"ALTER TABLE {table} DROP PARTITION {iso_date(midnight // DAY_SECONDS)}")

    def mark(self, midnight, what):
        self.engine.ask(f"INSERT INTO loaded VALUES ({midnight // DAY_SECONDS}, '{what}')")

    def bulk(self, days=DAYS - 1):
        """The first `days` days of totals."""
        for number, midnight in self.missing("totals"):
            if number >= days:
                break
            begun = time.monotonic()
            self.drop(midnight, "http_log_totals")
            self.engine.ask(f"INSERT INTO http_log_totals {summed(self.traffic.rows(midnight))} SETTINGS {ONE_PART}")
            self.mark(midnight, "totals")
            self.say(f"{self.database}: day {number + 1} of {DAYS} in {time.monotonic() - begun:.0f} s")

    def batches(self):
        """The last day, and what it cost; remembered for a run that goes on with it."""
        remembered = self.engine.dir.with_name(f"{self.database}-cost.json")
        if (DAYS - 1) not in dict(self.missing("totals")):
            return InsertCost(**json.loads(remembered.read_text()))
        midnight = END - DAY_SECONDS
        self.drop(midnight, "http_log", "http_log_totals")
        ask = self.engine.ask
        for table in ("staged", "bare", "with_plain_view", "plain", "plain_view"):
            ask(f"DROP TABLE IF EXISTS {table}")
        ask(f"CREATE TABLE staged ENGINE = MergeTree ORDER BY timestamp AS {self.traffic.rows(midnight)}")
        ask("CREATE TABLE bare AS http_log")
        ask("CREATE TABLE with_plain_view AS http_log")
        ask(
            f"CREATE TABLE plain ({PLAIN_COLUMNS}) ENGINE = MergeTree PARTITION BY toDate(minute) "
            "ORDER BY (resource_id, remote_addr, minute)"
        )
        ask(f"CREATE MATERIALIZED VIEW plain_view TO plain AS {summed('SELECT * FROM with_plain_view')}")
        count = math.ceil(DAY_SECONDS / SLOT_SECONDS)
        bare = self.insert("bare", midnight, SAMPLE_BATCHES)
        plain = self.insert("with_plain_view", midnight, SAMPLE_BATCHES)
        for table in ("bare", "plain_view", "with_plain_view", "plain"):
            ask(f"DROP TABLE {table} SYNC")
        self.engine.settle(MERGE_SECONDS_MAX)
        before = self.engine.events()
        times = self.insert("http_log", midnight, count)
        self.engine.settle(MERGE_SECONDS_MAX)
        after = self.engine.events()
        ask("DROP TABLE staged SYNC")
        grown = {name: after[name] - before.get(name, 0) for name in after}
        rows, kept, parts = self.engine.rows(
            "SELECT sumIf(rows, table = 'http_log'), sum(bytes_on_disk), count() FROM system.parts "
            "WHERE active AND database = currentDatabase() AND table IN ('http_log', 'http_log_totals') "
            f"AND partition = {iso_date(midnight // DAY_SECONDS)}"
        )[0]
        cost = InsertCost(
            count,
            int(rows),
            *(statistics.median(seconds) * 1000 for seconds in (times, bare, plain)),
            grown["WriteBufferFromFileDescriptorWriteBytes"],
            int(kept),
            grown["MergeTotalMilliseconds"] / 1000,
            int(parts),
        )
        remembered.write_text(json.dumps(asdict(cost)))
        self.mark(midnight, "totals")
        return cost

    def insert(self, table, midnight, count):
        """So many batches of the staged day; seconds of each insert."""
        times = []
        for number in range(count):
            begin, end = (midnight + round(edge * SLOT_SECONDS) for edge in (number, number + 1))
            done = self.engine.run(
                f"INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM staged "
                f"WHERE timestamp >= {begin} AND timestamp < {end} "
                f"SETTINGS insert_deduplication_token='{table}-{begin}', {UPLOAD}"
            )
            times.append(done.seconds)
            if number % 200 == 199:
                self.say(f"{self.database}: batch {number + 1} of {count}")
        return times

    def side_by_side(self):
        """The same rows in the log, in the totals and in a SummingMergeTree."""
        self.engine.ask(SUMMING)
        self.engine.ask(RAW)
        for number, midnight in self.missing("all three"):
            self.drop(midnight, "http_log", "http_log_totals", "summing")
            # One insert feeds the totals through the view.
            self.engine.ask(
                f"INSERT INTO http_log ({COLUMNS}) SELECT {COLUMNS} FROM ({self.traffic.rows(midnight)}) "
                f"SETTINGS {ONE_PART}, max_insert_threads=1"
            )
            self.engine.ask(
                f"INSERT INTO summing SELECT {KEYS}, sum(requests), sum(bytes_sent), sum(request_time_milli) "
                f"FROM http_log_totals WHERE day = {iso_date(midnight // DAY_SECONDS)} GROUP BY {KEYS} "
                f"SETTINGS {ONE_PART}"
            )
            self.mark(midnight, "all three")
            if number % 10 == 9:
                self.say(f"{self.database}: day {number + 1} of {DAYS}")


def sizes(engine, database):
    """{table or projection: (rows, bytes)} of the active parts; a table's bytes without its projections."""
    found = {}
    for name, rows, size in engine.rows(
        "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts "
        f"WHERE active AND database = '{database}' GROUP BY table"
    ):
        found[name] = (int(rows), int(size))
    for table, name, rows, size in engine.rows(
        "SELECT table, name, sum(rows), sum(bytes_on_disk) FROM system.projection_parts "
        f"WHERE active AND database = '{database}' GROUP BY table, name ORDER BY name"
    ):
        found[f"{table}.{name}"] = (int(rows), int(size))
        found[table] = (found[table][0], found[table][1] - int(size))
    return found


def realistic(rows):
    """Traffic of which a month makes at least so many rows.

    At 41 messages a second 5.4 % share another's key, at less fewer.
    """
    return EngineTraffic("realistic", -(-rows * 1057 // (1000 * DAYS * DAY_SECONDS)))


def uniform(rows):
    return EngineTraffic("uniform", -(-rows // (DAYS * DAY_SECONDS)))
