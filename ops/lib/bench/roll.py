"""What does it cost and gain to seal segments more often, or larger ones?

Several spoolhouses read the same topic at the same time, each with a roll of its
own, a spool of its own, and a proxy of its own at the stock rate (a slot every
62.5 s). First steady traffic, with a different roll_after each; then as much as
the broker takes, with a different roll_bytes each.

Per roll: how old the oldest message got that was not on disk yet (Kafka has to
keep messages for longer than that, and after a crash so many are read again); how
many files that makes, and what a row takes in them; how old records were when
ClickHouse had them; how much memory the process took at most. At the end every
row is either in ClickHouse or in a spool.
"""

import dataclasses
import json
import statistics
import subprocess
import time
import urllib.request

from stack.control import down, up
from stack.parts import PARTS, ROOT, TOPIC, Settings
from stack.process import Daemon
from trial.base import Failure, Traffic, Trial, carry_out, toml

HELP = "what the roll of segments costs and gains: loss window, files, latency, memory"
DIR = ROOT / "target/bench-roll"
RELEASE = ROOT / "target/release/spoolhouse"
ROLL_AFTER = ("1s", "5s", "15s", "60s")
ROLL_BYTES = ("1MiB", "4MiB", "16MiB")
RETENTION_MS = 3_600_000  # nothing may go while four read and one is late
LOOK_SECONDS = 0.25
CATCH_UP_SECONDS_MAX = 120
UNSENT = ("sealed", "ready", "batches", "sending")


def add_arguments(parser):
    parser.add_argument("--seconds", type=int, default=200, metavar="N", help="of steady traffic [200]")
    parser.add_argument("--rate", type=int, default=200, metavar="N", help="messages a second of it [200]")
    parser.add_argument(
        "--burst", type=int, default=1_500_000, metavar="N", help="messages as fast as they go [1500000]"
    )


def run(given):
    bench = Bench(given)
    status = carry_out("ops/bench", bench, bench.steps)
    return bench.result, status


class House:
    """One of the spoolhouses, with its proxy."""

    def __init__(self, bench, name, place, **spool):
        self.name, self.dir, self.bench = name, bench.dir / name, bench
        self.port = bench.settings.metrics_port + 1 + 2 * place
        settings = dataclasses.replace(bench.settings, dir=self.dir, proxy_port=self.port + 1)
        self.proxy = PARTS["proxy"](settings)
        self.owner, self.config = Daemon("spoolhouse", self.dir), self.dir / "spoolhouse.toml"
        self.spool, self.oldest, self.files, self.row_bytes, self.rows_per_file = spool, 0.0, 0.0, 0.0, 0.0

    def start(self):
        if up([self.proxy]):
            raise Failure(f"the proxy of {self.name} did not come up")
        self.config.write_text(
            toml(
                {
                    "kafka": {
                        "brokers": f"127.0.0.1:{self.bench.settings.kafka_port}",
                        "topic": TOPIC,
                        "group": self.name,
                        "instance_id": self.name,
                    },
                    "spool": {"dir": str(self.dir / "spool")} | self.spool,
                    "upload": {"url": f"http://127.0.0.1:{self.port + 1}"},
                    "observe": {"listen": f"127.0.0.1:{self.port}"},
                }
            )
        )
        self.process = self.owner.start([RELEASE, "run", "--config", self.config], cwd=self.dir)

    def get(self, path):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5).read().decode()

    def metrics(self):
        found = {}
        for line in self.get("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def look(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.name} left by itself:\n{Trial.tail(self.owner)}")
        try:
            seen = self.metrics()
        except OSError:  # not yet
            return {}
        self.oldest = max(self.oldest, seen.get("spoolhouse_unsealed_age_seconds", 0.0))
        rows, size, files = (
            sum(seen.get(f'spoolhouse_room_{what}{{room="{room}"}}', 0) for room in ("sealed", "ready"))
            for what in ("rows", "bytes", "files")
        )
        if rows:
            self.row_bytes, self.rows_per_file = size / rows, rows / files
        return seen

    def note(self):
        """Notes how many files there were, and how old records were that were stored."""
        seen, status = self.metrics(), json.loads(self.get("/status.json"))
        self.files = seen["spoolhouse_segments_sealed_total"]
        # The first goes at once, with what a moment brought.
        stored = [one["latency"] for one in status["attempts"] if one["outcome"] == "stored"][1:]
        self.latency = statistics.median(one["median_s"] for one in stored) if stored else None
        self.latency_most = max((one["most_s"] for one in stored), default=None)
        self.peak_mib = next(
            int(line.split()[1]) / 1024 for line in open(f"/proc/{self.process.pid}/status") if line.startswith("VmHWM")
        )

    def stop(self):
        self.owner.terminate()
        self.owner.wait_stopped()
        down([self.proxy])

    def left(self):
        """Rows in its spool, once it is stopped."""
        said = subprocess.run(
            [RELEASE, "status", "--json", "--config", self.config], capture_output=True, text=True, cwd=self.dir
        )
        return sum(json.loads(said.stdout)["rooms"][room]["rows"] for room in UNSENT)


class Bench(Trial):
    def __init__(self, given):
        settings = dataclasses.replace(Settings.from_environment(), retention_ms=RETENTION_MS, proxy_body="")
        traffic = Traffic(rate=given.rate, count=given.rate * given.seconds, seed=6, start=None)
        super().__init__(DIR, traffic, settings, RELEASE)
        self.given, self.houses, self.result, self.sent_before = given, [], None, 0

    def steps(self):
        self.prepare()
        steady = self.measure(
            [House(self, f"after-{roll}", place, roll_after=roll) for place, roll in enumerate(ROLL_AFTER)]
        )
        after = [
            {
                "roll_after": house.spool["roll_after"],
                "oldest_unsynced_s": round(house.oldest, 1),
                "files_per_hour": round(house.files * 3600 / self.given.seconds),
                "bytes_per_row": round(house.row_bytes, 1),
                "latency_median_s": house.latency and round(house.latency, 1),
                "latency_most_s": house.latency_most and round(house.latency_most, 1),
                "peak_mib": round(house.peak_mib),
            }
            for house in steady
        ]
        self.show(after)
        self.traffic = Traffic(rate=0, count=self.given.burst, seed=7)
        burst = self.measure(
            [
                House(self, f"bytes-{roll}", place, roll_after="60s", roll_bytes=roll)
                for place, roll in enumerate(ROLL_BYTES)
            ]
        )
        large = [
            {
                "roll_bytes": house.spool["roll_bytes"],
                "rows_per_file": round(house.rows_per_file),
                "bytes_per_row": round(house.row_bytes, 1),
                "peak_mib": round(house.peak_mib),
            }
            for house in burst
        ]
        self.show(large)
        self.result = {"rate": self.given.rate, "seconds": self.given.seconds, "roll_after": after, "roll_bytes": large}
        return True

    def show(self, rows):
        for row in rows:
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)

    def measure(self, houses):
        """Has all of them read the same traffic; every row is accounted for."""
        stored_before = self.clickhouse.numbers("SELECT count() FROM http_log")[0]
        self.houses = houses
        for house in houses:
            house.start()
        self.wait(lambda: all(house.look().get("spoolhouse_partitions") for house in houses), "a start")
        for house in houses:
            house.oldest = 0.0
        self.start_producer()
        while self.producer_process.poll() is None:
            for house in houses:
                house.look()
            time.sleep(LOOK_SECONDS)
        self.producer_done()
        for house in houses:
            house.note()
        wanted = self.sent_before + self.sent["messages"]
        self.wait(
            lambda: all(house.look().get("spoolhouse_records_total", 0) >= wanted for house in houses), "all to be read"
        )
        for house in houses:
            house.stop()
        there = (
            self.clickhouse.numbers("SELECT count() FROM http_log")[0]
            - stored_before
            + sum(house.left() for house in houses)
        )
        self.houses, self.sent_before = [], wanted
        if there != wanted * len(houses):
            raise Failure(f"{there} rows are stored or in a spool, not {len(houses)} times {wanted}")
        return houses

    def wait(self, holds, what):
        deadline = time.monotonic() + CATCH_UP_SECONDS_MAX
        while not holds():
            if time.monotonic() > deadline:
                raise Failure(f"waited {CATCH_UP_SECONDS_MAX} s for {what}")
            time.sleep(LOOK_SECONDS)

    def stop_all(self):
        for house in self.houses:
            house.stop()
        super().stop_all()
