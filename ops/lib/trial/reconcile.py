"""Compares what was produced with what arrived, row by row.

Job: the multiset of rows that the seed gives, masked here by a rule of its own
and not by the program under test, against ClickHouse and the spool.

Invariant: every produced row is counted once: stored, in the spool, lost. A row
that is there too often, or was never produced, is named. Counts that happen to
agree prove nothing; only equal rows do.

What an attempt of unknown fate left behind (sending/, doubtful/) may be in
ClickHouse already. It counts as stored, confirmation outstanding, if all its
rows are there beyond what the rest explains; as in the spool if none is; part
of a file being there is a failure, since an insert is one block.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from stack.clickhouse import ClickHouse
from trial.spool import parquet_files

WAITING = ("sealed", "ready", "batches", "rejected")  # certainly not stored
UNCERTAIN = ("sending", "doubtful")  # may be stored as well
COLUMNS = {
    "timestamp": "BIGINT",
    "resource_id": "UBIGINT",
    "bytes_sent": "UBIGINT",
    "request_time_milli": "UBIGINT",
    "response_status": "INTEGER",
    "cache_status": "VARCHAR",
    "method": "VARCHAR",
    "remote_addr": "VARCHAR",
    "url": "VARCHAR",
}
KEYS = ", ".join(COLUMNS)
CAST = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in COLUMNS.items())
EXAMPLES_MAX = 3


@dataclass
class Result:
    produced: int = 0
    stored: int = 0
    waiting: dict = field(default_factory=dict)  # rows by directory of the spool
    unconfirmed: int = 0  # rows of sending/ or doubtful/ that are stored
    undecodable: int = 0
    lost: int = 0
    duplicated: int = 0
    problems: list = field(default_factory=list)  # each one line; any of them is a failure
    notes: list = field(default_factory=list)

    @property
    def in_spool(self):
        return sum(self.waiting.values())

    def ok(self):
        return not (self.lost or self.duplicated or self.problems)

    def summary(self):
        return (
            f"produced {self.produced}, stored {self.stored}, in spool {self.in_spool}, "
            f"undecodable {self.undecodable}, lost {self.lost}, duplicated {self.duplicated}"
        )


def reconcile(expected, bad, spool, clickhouse):
    """`expected`: the producer's NDJSON of good records, unmasked; `bad`: how many bad messages it sent."""
    result = Result()
    db = duckdb.connect()
    source = f"read_json(?, format='newline_delimited', columns={COLUMNS})"
    db.execute(f"CREATE TABLE raw AS SELECT {CAST} FROM {source}", [str(expected)])
    other = db.execute(
        r"SELECT count(*) FROM raw WHERE NOT regexp_full_match(remote_addr, '\d{1,3}(\.\d{1,3}){3}')"
    ).fetchone()[0]
    if other:
        raise SystemExit(f"reconcile: {other} produced addresses are not plain IPv4; this rule masks no others")
    db.execute(
        r"CREATE TABLE expected AS SELECT * REPLACE (regexp_replace(remote_addr, '\d+$', 'X') AS remote_addr) FROM raw"
    )

    with tempfile.NamedTemporaryFile(suffix=".parquet") as export:
        export.write(
            clickhouse.query(
                "SELECT toUInt32(timestamp) AS timestamp, resource_id, bytes_sent, request_time_milli, "
                "response_status, toString(cache_status) AS cache_status, toString(method) AS method, remote_addr, url "
                "FROM http_log FORMAT Parquet"
            )
        )
        export.flush()
        db.execute(f"CREATE TABLE stored AS SELECT {CAST} FROM read_parquet('{export.name}')")

    db.execute("CREATE TABLE spool AS SELECT *, '' AS file, '' AS directory FROM stored LIMIT 0")
    for file in parquet_files(spool, *WAITING, *UNCERTAIN):
        of_file = [str(file), file.parent.name, str(file)]
        db.execute(f"INSERT INTO spool SELECT {CAST}, ?, ? FROM read_parquet(?)", of_file)

    count_undecodable(db, spool, bad, result)
    settle_uncertain(db, result)
    compare(db, bad, result)
    check_totals(clickhouse, result)
    return result


def count_undecodable(db, spool, bad, result):
    for file in parquet_files(spool, "undecodable"):
        result.undecodable += db.execute("SELECT count(*) FROM read_parquet(?)", [str(file)]).fetchone()[0]
    if result.undecodable < bad:
        result.lost += bad - result.undecodable
        result.problems.append(f"{bad} bad messages were produced, undecodable/ holds {result.undecodable}")
    if result.undecodable > bad:
        result.duplicated += result.undecodable - bad
        result.problems.append(f"{bad} bad messages were produced, undecodable/ holds {result.undecodable}")


def settle_uncertain(db, result):
    """Removes from the spool what an uncertain file and ClickHouse both hold."""
    files = db.execute(
        f"SELECT file, directory, count(*) FROM spool WHERE directory IN {UNCERTAIN} GROUP BY ALL"
    ).fetchall()
    for file, directory, rows in files:
        # Per row: how many copies there are too many, as far as this file has them.
        there = db.execute(
            f"""
            WITH mine AS (SELECT {KEYS}, count(*) AS n FROM spool WHERE file = ? GROUP BY ALL),
                 held AS (SELECT {KEYS}, count(*) AS n FROM (
                    SELECT {KEYS} FROM stored UNION ALL SELECT {KEYS} FROM spool) GROUP BY ALL),
                 due AS (SELECT {KEYS}, count(*) AS n FROM expected GROUP BY ALL)
            SELECT coalesce(sum(least(mine.n, greatest(0, held.n - coalesce(due.n, 0)))), 0)
            FROM mine JOIN held USING ({KEYS}) LEFT JOIN due USING ({KEYS})""",
            [file],
        ).fetchone()[0]
        name = f"{directory}/{Path(file).name[:24]}"
        if there == rows:
            result.unconfirmed += rows
            result.notes.append(f"{name}: its {rows} rows are stored, the confirmation is outstanding")
            db.execute("DELETE FROM spool WHERE file = ?", [file])
        elif there:
            result.problems.append(f"{name}: {there} of its {rows} rows are also elsewhere, the others are not")


def compare(db, bad, result):
    result.produced = db.execute("SELECT count(*) FROM expected").fetchone()[0] + bad
    result.stored = db.execute("SELECT count(*) FROM stored").fetchone()[0]
    result.waiting = dict(db.execute("SELECT directory, count(*) FROM spool GROUP BY directory").fetchall())
    db.execute(f"""
        CREATE TABLE difference AS
        SELECT {KEYS}, sum(due)::BIGINT AS due, sum(held)::BIGINT AS held
        FROM (SELECT {KEYS}, 1 AS due, 0 AS held FROM expected
              UNION ALL SELECT {KEYS}, 0, 1 FROM stored
              UNION ALL SELECT {KEYS}, 0, 1 FROM spool)
        GROUP BY ALL HAVING sum(due) <> sum(held)""")
    lost, duplicated, strange = db.execute("""
        SELECT coalesce(sum(greatest(0, due - held)), 0), coalesce(sum(held - due) FILTER (held > due AND due > 0), 0),
               coalesce(sum(held) FILTER (due = 0), 0) FROM difference""").fetchone()
    result.lost += int(lost)
    result.duplicated += int(duplicated)
    if strange:
        result.problems.append(f"{strange} rows were never produced in this form")
    for row in db.execute(f"SELECT due, held, {KEYS} FROM difference LIMIT {EXAMPLES_MAX}").fetchall():
        result.notes.append(f"for example, produced {row[0]} times, held {row[1]} times: {row[2:]}")
    for directory in ("rejected", "doubtful"):
        if rows := result.waiting.get(directory):
            result.notes.append(f"of the spool's rows, {rows} are in {directory}/ and wait for a person")


def check_totals(clickhouse, result):
    log = clickhouse.numbers("SELECT count(), sum(bytes_sent), sum(request_time_milli) FROM http_log")
    totals = clickhouse.numbers("SELECT sum(requests), sum(bytes_sent), sum(request_time_milli) FROM http_log_totals")
    differing = clickhouse.numbers("""
        SELECT count() FROM (
            SELECT toStartOfMinute(timestamp) AS minute, resource_id, response_status, cache_status, remote_addr,
                   count() AS r, sum(bytes_sent) AS b, sum(request_time_milli) AS t
            FROM http_log GROUP BY ALL
            EXCEPT
            SELECT minute, resource_id, response_status, cache_status, remote_addr,
                   sum(requests), sum(bytes_sent), sum(request_time_milli)
            FROM http_log_totals GROUP BY ALL)""")[0]
    if log != totals or differing:
        result.problems.append(
            f"totals differ from the log: requests, bytes, milliseconds {totals} against {log}; {differing} keys wrong"
        )
    else:
        result.notes.append(f"totals equal the log: {totals[0]} requests, {totals[1]} bytes, every key the same")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--expect", required=True, help="NDJSON of `spoolhouse produce --dry-run --expect`")
    parser.add_argument("--bad", type=int, default=0, help="bad messages produced, from the producer's JSON line")
    parser.add_argument("--spool", required=True)
    parser.add_argument("--clickhouse-port", type=int, default=8123)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    given = parser.parse_args()
    result = reconcile(given.expect, given.bad, given.spool, ClickHouse(given.clickhouse_port))
    if given.json:
        print(json.dumps({**vars(result), "in_spool": result.in_spool, "ok": result.ok()}))
    else:
        report(result)
    return 0 if result.ok() else 1


def report(result):
    for line in result.notes:
        print(f"  {line}")
    for line in result.problems:
        print(f"  PROBLEM: {line}")
    print(result.summary(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
