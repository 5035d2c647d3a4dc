"""What ops/demo shows while it runs: a table redrawn in place, or a line now and then.

Invariant: looking changes nothing. ClickHouse is asked directly, never through
the proxy; the spool by listing it.
"""

import sys
import time

from confluent_kafka import KafkaException

from stack import proxy_log
from stack.clickhouse import ClickHouseError
from trial.spool import human, listing

LINE_SECONDS = 10  # between lines when nobody watches a terminal
PROXY_LINES = 4


class View:
    def __init__(self, kafka, spool, clickhouse, access_log):
        self.kafka, self.spool, self.clickhouse, self.access_log = kafka, spool, clickhouse, access_log
        self.terminal = sys.stdout.isatty()
        self.drawn = 0  # lines on the terminal that the next drawing replaces
        self.last = 0.0

    def show(self, elapsed, state, now=False):
        every = 1 if self.terminal else LINE_SECONDS
        if not now and time.monotonic() - self.last < every:
            return
        self.last = time.monotonic()
        try:
            produced, committed = sum(self.kafka.ends()), sum(self.kafka.committed())
            log = self.clickhouse.numbers("SELECT count() FROM http_log")[0]
            totals = self.clickhouse.numbers("SELECT sum(requests) FROM http_log_totals")[0]
        except (KafkaException, ClickHouseError, OSError) as error:
            self.say(f"{elapsed:5.0f} s  cannot look: {error}")
            return
        directories = listing(self.spool)
        lines = proxy_log.read(self.access_log)
        inserts = [line for line in lines if line.is_insert and line.admitted]
        if self.terminal:
            self.draw(self.table(elapsed, state, produced, committed, log, totals, directories, lines))
        else:
            files = sum(count for count, _ in directories.values())
            size = sum(size for _, size in directories.values())
            print(
                f"{elapsed:5.0f} s  {state}: kafka {produced} (uncommitted {produced - committed})  "
                f"spool {files} files {human(size)}  clickhouse {log} rows, totals {totals}  "
                f"proxy {len(inserts)} inserts of {len(lines)} requests",
                flush=True,
            )

    def say(self, text):
        """A line that stays."""
        self.draw([])
        print(text, flush=True)

    def draw(self, lines):
        if self.terminal:
            sys.stdout.write(f"\x1b[{self.drawn}F\x1b[J" if self.drawn else "")
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()
        self.drawn = len(lines)

    def table(self, elapsed, state, produced, committed, log, totals, directories, lines):
        out = [
            f"  {elapsed:.0f} s, {state}",
            f"  kafka       produced {produced:>10}   committed {committed:>10}   to read {produced - committed:>8}",
        ]
        for directory, (files, size) in directories.items():
            name = "spool" if directory == "open" else ""
            out.append(f"  {name:<11} {directory:<12} {files:>6} files {human(size):>12}")
        out.append(f"  clickhouse  http_log {log:>10}   totals' requests {totals:>10}")
        for line in lines[-PROXY_LINES:]:
            when = time.strftime("%H:%M:%S", time.localtime(line.time))
            out.append(f"  proxy       {when}  {line.status}  {human(line.content_length):>10} sent in")
        return out
