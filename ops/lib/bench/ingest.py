"""How much slower is taking records in durably than doing nothing with them?

Same broker, same topic, in turns: (A) a bare `poll` loop that only counts
(tests/bench/poll.rs), (B) `spoolhouse run` with an empty spool and a new group,
its upload pointed at a closed port, until everything is committed. Both clocks
start with the process, so connecting and joining the group count.

A stops at the last message. B stops when the last segment that was sealed since
it was full is fsynced, committed and moved to ready/; the rest after it waits to
be old enough, which says nothing about speed, and its rows don't count. All rows are counted back from
the footers of the Parquet files, and must be as many as were produced.
"""

import json
import shutil
import statistics
import time

import pyarrow.parquet

from bench import base
from bench.base import CLOSED_PORT
from stack.parts import TOPIC
from stack.process import memory
from trial import arguments
from trial.run import Failure, output_of
from trial.spool import UNSENT, parquet_files
from trial.traffic import Traffic

HELP = "records per second into fsynced segments, against a bare poll loop on the same broker"
PRODUCE_SECONDS_MAX = 600
COMMIT_SECONDS_MAX = 120
RATIO_GOAL, PEAK_MIB_GOAL = 0.4, 200


def add_arguments(parser):
    arguments.number(parser, "--count", 3_000_000, "messages in the topic")
    arguments.number(parser, "--rounds", 3, "of each kind, taken in turns")


def run(given):
    return base.run(Bench(given))


class Bench(base.StackBench):
    def __init__(self, given):
        super().__init__(given, "ingest", Traffic(rate=0, count=given.count, seed=1), parts=("kafka",))
        self.rounds = given.rounds

    def steps(self):
        self.prepare()
        self.produce(PRODUCE_SECONDS_MAX)
        print(f"{self.sent['messages']} messages, {self.sent['bytes'] / self.sent['messages']:.0f} bytes each")
        self.poll()  # a broker that has just started is slower: this one doesn't count
        print(f"{'round':>5} {'poll/s':>10} {'ingest/s':>10} {'ratio':>6} {'segments':>9} {'peak MiB':>9}", flush=True)
        polls, ingests, peaks = [], [], []
        for number in range(1, self.rounds + 1):
            polls.append(self.poll())
            rate, segments, peak = self.ingest(number)
            ingests.append(rate)
            peaks.append(peak)
            print(
                f"{number:5} {polls[-1]:10.0f} {rate:10.0f} {rate / polls[-1]:6.2f} {segments:9} {peak:9.0f}",
                flush=True,
            )
        ratio = statistics.median(ingest / poll for poll, ingest in zip(polls, ingests, strict=True))
        self.result = {
            "poll_records_per_s": round(statistics.median(polls)),
            "ingest_records_per_s": round(statistics.median(ingests)),
            "ratio": round(ratio, 3),
            "peak_rss_mib": round(max(peaks), 1),
            "records": self.sent["messages"],
            "rounds": self.rounds,
        }
        met = ratio >= RATIO_GOAL and max(peaks) <= PEAK_MIB_GOAL
        print(
            f"median ratio {ratio:.2f} (goal: {RATIO_GOAL} or more), peak memory {max(peaks):.0f} MiB "
            f"(goal: {PEAK_MIB_GOAL} or less): {'met' if met else 'MISSED'}"
        )
        return True

    def poll(self):
        said = output_of([base.program("poll"), f"127.0.0.1:{self.settings.kafka_port}", TOPIC], "the poll loop")
        counted = json.loads(said)
        if counted["records"] != self.sent["messages"]:
            raise Failure(f"the poll loop counted {counted['records']} of {self.sent['messages']} messages")
        return counted["records"] / counted["seconds"]

    def ingest(self, number):
        shutil.rmtree(self.spool, ignore_errors=True)
        group = f"bench-{number}"
        self.configure(kafka={"group": group}, upload={"url": f"http://127.0.0.1:{CLOSED_PORT}"})
        self.watch(group)
        begun = time.time()
        self.start_owner()
        self.wait_committed(COMMIT_SECONDS_MAX)
        peak = memory(self.owner_process.pid, "VmHWM") / (1 << 20)
        self.stop_owner()
        rows = {file: pyarrow.parquet.read_metadata(file).num_rows for file in parquet_files(self.spool, *UNSENT)}
        if sum(rows.values()) != self.sent["messages"]:
            raise Failure(f"the segments hold {sum(rows.values())} rows of {self.sent['messages']} messages")
        # Named by their number; a file's change time is that of its last move, to ready/.
        *full, last = sorted((file for file in rows if file.name.startswith("seg-")), key=lambda file: file.name)
        if len(full) < 4:
            raise Failure(f"{len(full)} full segments are too few to measure anything: a larger --count")
        return (sum(rows.values()) - rows[last]) / (full[-1].stat().st_ctime - begun), len(full) + 1, peak
