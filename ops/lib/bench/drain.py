"""Does a backlog of small segments drain in the time that `status` said?

Two hours at 200 records a second, in segments of about a thousand rows (made in
two and a half minutes), lie in the spool because nobody answered at the
upload's URL. Then it is pointed at the real nginx, made six times as fast as
the stock one (`6r/m`: a slot every 10 s), with the stock body limit.
`spoolhouse status` foretells the time twice: before anything was posted, and
once the first full batch is stored. nginx's own log says when the last batch
went, and ClickHouse how many rows there are.
"""

import statistics
import time

from bench import base
from bench.base import CLOSED_PORT
from stack.proxy_log import read
from trial import arguments
from trial.run import Failure
from trial.spool import parquet_files, unsent
from trial.traffic import Traffic

HELP = "how well `status` foretells the time that a backlog of small segments takes to drain"
READ_SECONDS_MAX = 900
LOOK_SECONDS = 0.5
RATE_PER_SECOND = 200
# Fifty times as fast, in windows a fiftieth as long: segments of 5 s, a thousand rows each.
HASTE, ROLL_AFTER = 50, "100ms"
PROXY_RATE, INTERVAL = "6r/m", "9600ms"  # as far from the truth as 60 s from 62.5 s
BODY = 1 << 20
ERROR_GOAL, FILL_GOAL = 0.10, 0.97
DRAIN_TIMES_MAX = 3  # of what was foretold


def add_arguments(parser):
    arguments.number(parser, "--minutes", 120, "of traffic in the backlog", kind=float)


def run(given):
    return base.run(Drain(given))


class Drain(base.StackBench):
    def __init__(self, given):
        traffic = Traffic(RATE_PER_SECOND * HASTE, int(given.minutes * 60 * RATE_PER_SECOND), seed=4)
        super().__init__(given, "drain", traffic, proxy_rate=PROXY_RATE, proxy_body="")

    def steps(self):
        segments = self.fill()
        first = self.status()["drain"]
        print(
            f"{self.sent['messages']} rows in {segments} segments; foretold before the first batch: "
            f"{first['seconds']:.0f} s, {first['batches']} batches of {first['rows_per_batch']} rows",
            flush=True,
        )
        begun = time.time()
        self.configure(upload={"interval": INTERVAL})
        self.start_owner()
        self.wait(
            lambda: any(self.full(line) for line in self.admitted()), 60, "a full batch to be stored", LOOK_SECONDS
        )
        told_at, foretold = time.time(), self.status()["drain"]
        if foretold["basis"] != "achieved":
            raise Failure(f"status knows of no full batch: {foretold}")
        print(
            f"foretold after the first full one: {foretold['seconds']:.0f} s, {foretold['batches']} batches of "
            f"{foretold['rows_per_batch']} rows",
            flush=True,
        )
        seconds_max = foretold["seconds"] * DRAIN_TIMES_MAX
        self.wait(lambda: not unsent(self.spool), seconds_max, "the backlog to drain", LOOK_SECONDS)
        return self.reckon(begun, told_at, first, foretold)

    def fill(self):
        """A spool full of small segments; the number of them."""
        self.prepare(
            spool={"roll_after": ROLL_AFTER, "max_bytes": "4GiB"},
            upload={"url": f"http://127.0.0.1:{CLOSED_PORT}", "interval": INTERVAL},
        )
        self.start_owner()
        self.produce(READ_SECONDS_MAX)
        self.wait_committed(READ_SECONDS_MAX)
        self.stop_owner()
        self.access_log.write_text("")
        return len(parquet_files(self.spool, "ready"))

    def admitted(self):
        return [line for line in read(self.access_log) if line.is_insert and line.admitted]

    @staticmethod
    def full(line):
        return line.content_length >= BODY * FILL_GOAL

    def reckon(self, begun, told_at, first, foretold):
        self.stop_owner()
        rows = self.stored()
        if rows != self.sent["messages"]:
            raise Failure(f"{rows} rows are stored of {self.sent['messages']}")
        admitted = self.admitted()
        last = admitted[-1].time - admitted[-1].seconds
        took, all_of_it = last - told_at, last - begun
        first_error, error = first["seconds"] / all_of_it - 1, foretold["seconds"] / took - 1
        # The first was frozen when hardly anything was there, the last is what was left.
        fill = statistics.median(line.content_length for line in admitted[1:-1]) / BODY
        self.result = {
            "rows": rows,
            "batches": len(admitted),
            "fill_median": round(fill, 4),
            "foretold_s": round(foretold["seconds"], 1),
            "took_s": round(took, 1),
            "error": round(error, 4),
            "first_foretold_s": round(first["seconds"], 1),
            "took_in_all_s": round(all_of_it, 1),
            "first_error": round(first_error, 4),
        }
        met = max(abs(first_error), abs(error)) <= ERROR_GOAL and fill >= FILL_GOAL
        print(
            f"took {all_of_it:.0f} s in all (foretold {first['seconds']:.0f} s: {first_error:+.1%}), {took:.0f} s from "
            f"the first full batch on (foretold {foretold['seconds']:.0f} s: {error:+.1%}), {len(admitted)} batches, "
            f"median fill {fill:.1%}: goal {'met' if met else 'MISSED'}",
            flush=True,
        )
        return True
