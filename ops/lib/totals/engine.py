"""The ClickHouse engine in this process, with the tables of sql/, for measuring queries.

Job: one session on one data directory; times a query, says what it read and
from which projections; empties the caches.
Invariant: only one at a time (the engine allows one data directory per process).
"""

import os
import re
import time
from dataclasses import dataclass

os.environ["TZ"] = "UTC"  # the engine reads it when it is loaded
import chdb
from chdb import session

from stack.clickhouse import parameters_for_ever, table_statements
from stack.parts import ROOT
from trial.run import Failure

# A day that is loaded in bulk is one insert and one part, as after all merges.
ONE_PART = "min_insert_block_size_rows=100000000, min_insert_block_size_bytes=0, max_insert_block_size=100000000"
CACHES = ("MARK CACHE", "PRIMARY INDEX CACHE", "UNCOMPRESSED CACHE", "QUERY CONDITION CACHE")


@dataclass(frozen=True)
class Run:
    seconds: float
    rows: int
    bytes_read: int
    answer: bytes


def query(sql, kind):
    """The answer, in this format, of an engine that keeps nothing."""
    return chdb.query(sql, kind).bytes()


class Engine:
    def __init__(self, directory):
        self.dir = directory
        self.session = session.Session(str(directory))
        # Warm is to mean that files are cached, not that the answer's rows are known.
        self.ask("SET use_query_condition_cache = 0")

    def close(self):
        self.session.close()

    def run(self, sql):
        begun = time.perf_counter()
        try:
            result = self.session.query(sql, "TabSeparated")
        except RuntimeError as error:
            raise Failure(f"{error}\n{sql}") from None
        return Run(time.perf_counter() - begun, result.storage_rows_read(), result.storage_bytes_read(), result.bytes())

    def ask(self, sql):
        return self.run(sql).answer.decode().strip()

    def rows(self, sql):
        return [line.split("\t") for line in self.ask(sql).splitlines()]

    def number(self, sql):
        return float(self.ask(sql))

    def make_tables(self, database):
        """The tables of sql/ in this database, which is the one asked from then on."""
        self.ask(f"CREATE DATABASE IF NOT EXISTS {database}")
        self.ask(f"USE {database}")
        for name, value in parameters_for_ever(ROOT / "sql").items():
            self.ask(f"SET param_{name} = {value}")
        for _, statement in table_statements(ROOT / "sql"):
            self.ask(statement)

    def read_from(self, sql):
        """The projections, or the table itself, that a query reads."""
        plan = self.ask(f"EXPLAIN {sql}")
        return sorted({name.split(".")[-1] for name in re.findall(r"ReadFromMergeTree \((\S+?)\)", plan)})

    def forget(self):
        """Empties the engine's caches, and the kernel's of this directory's files: of nobody else's."""
        for cache in CACHES:
            self.ask(f"SYSTEM DROP {cache}")
        for folder, _, files in os.walk(self.dir):
            for name in files:
                try:
                    descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
                except FileNotFoundError:  # merged away meanwhile
                    continue
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)

    def events(self):
        """The engine's counters."""
        return {name: int(value) for name, value in self.rows("SELECT event, value FROM system.events")}

    def settle(self, seconds_max):
        """Waits until nothing is being merged."""
        deadline = time.monotonic() + seconds_max
        while self.number("SELECT count() FROM system.merges") and time.monotonic() < deadline:
            time.sleep(1)
