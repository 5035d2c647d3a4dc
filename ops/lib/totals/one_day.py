"""A day of traffic in the tables of sql/, merged, for what it takes on disk.

Job: loads log and totals as many batches of the uploader would leave them once
parts are merged, without sending each batch: the totals have a row per key, minute
and batch, because merging adds nothing up in a plain MergeTree.
Invariant: every message is in the log once and in the totals once, counted back.
"""

from stack.parts import SLOT_SECONDS
from totals.engine import ONE_PART
from totals.load import END, Load, sizes, summed
from totals.traffic import COLUMNS, DAY_SECONDS
from trial.run import Failure

MIDNIGHT = END - DAY_SECONDS  # the day that Load.batches() fills, too
CHUNKS = 4
# Whole periods of minutes and slots (they meet every 1500 s), so that a chunk cuts no batch.
CHUNK_SECONDS = 22_500
TABLES = ("http_log", "http_log_totals")


def in_chunks(engine, database, traffic, say):
    """The day in four inserts per table; sizes by table and projection."""
    engine.make_tables(database)
    # The totals are filled below, batch by batch.
    engine.ask("DROP VIEW http_log_totals_view SYNC")
    each = -(-traffic.a_day() // CHUNKS)
    for first in range(0, traffic.a_day(), each):
        count = min(each, traffic.a_day() - first)
        rows = traffic.rows(MIDNIGHT, first, count)
        engine.ask(f"INSERT INTO http_log ({COLUMNS}) SELECT {COLUMNS} FROM ({rows}) SETTINGS {ONE_PART}")
    say(f"{database}: log of {traffic.a_day()} rows")
    for begin in range(MIDNIGHT, END, CHUNK_SECONDS):
        rows = f"SELECT * FROM http_log WHERE timestamp >= {begin} AND timestamp < {begin + CHUNK_SECONDS}"
        engine.ask(f"INSERT INTO http_log_totals {by_batch(rows)} SETTINGS {ONE_PART}")
    return merged(engine, database, traffic, say)


def in_batches(engine, database, traffic, say):
    """The same as the uploader sends it: an insert per slot, through the view."""
    load = Load(engine, database, traffic, say)
    engine.ask(f"CREATE TABLE staged ENGINE = MergeTree ORDER BY timestamp AS {traffic.rows(MIDNIGHT)}")
    load.insert("http_log", MIDNIGHT, -(-DAY_SECONDS * 1000 // int(SLOT_SECONDS * 1000)))
    engine.ask("DROP TABLE staged SYNC")
    return merged(engine, database, traffic, say)


def by_batch(rows):
    """The view's SELECT, which aggregates each batch by itself."""
    batch = f"intDiv((toUInt32(timestamp) - {MIDNIGHT}) * 1000, {int(SLOT_SECONDS * 1000)})"
    return summed(rows).replace("GROUP BY minute,", f"GROUP BY {batch}, minute,")


def merged(engine, database, traffic, say):
    for table in TABLES:
        engine.ask(f"OPTIMIZE TABLE {table} FINAL SETTINGS optimize_throw_if_noop = 1")
    log, totals, parts = (
        int(engine.number(sql))
        for sql in (
            "SELECT count() FROM http_log",
            "SELECT sum(requests) FROM http_log_totals",
            f"SELECT count() FROM system.parts WHERE active AND database = '{database}' AND table IN {TABLES}",
        )
    )
    if not log == totals == traffic.a_day() or parts != len(TABLES):
        raise Failure(f"{database}: {log} rows and {totals} requests of {traffic.a_day()} messages, in {parts} parts")
    found = sizes(engine, database)
    say(f"{database}: {sum(size for _, size in found.values()) / 2**20:.0f} MiB, merged")
    return found
