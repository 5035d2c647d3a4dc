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
import statistics
import time

from bench import base
from stack.control import down, up
from stack.parts import PARTS, TOPIC
from stack.process import Daemon, memory
from trial import arguments, observe
from trial.base import Trial
from trial.configuration import sections, toml
from trial.run import Failure, say, wait_until
from trial.spool import UNSENT
from trial.traffic import Traffic

HELP = "what the roll of segments costs and gains: loss window, files, latency, memory"
ROLL_AFTER = ("1s", "5s", "15s", "60s")
ROLL_BYTES = ("1MiB", "4MiB", "16MiB")
LOOK_SECONDS = 0.25
CATCH_UP_SECONDS_MAX = 120


def add_arguments(parser):
    arguments.number(parser, "--seconds", 200, "of steady traffic")
    arguments.number(parser, "--rate", 200, "messages a second of it")
    arguments.number(parser, "--burst", 1_500_000, "messages as fast as they go")


def run(given):
    return base.run(Bench(given))


class Instance:
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
        ports = self.bench.settings.kafka_port, self.proxy.port, self.port
        found = sections(self.dir / "spool", *ports, topic=TOPIC, group=self.name, instance_id=self.name)
        found["spool"] |= self.spool
        self.config.write_text(toml(found))
        self.process = self.owner.start([base.BINARY, "run", "--config", self.config], cwd=self.dir)

    def look(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.name} left by itself:\n{Trial.tail(self.owner)}")
        try:
            seen = observe.metrics(self.port)
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
        seen, page = observe.metrics(self.port), observe.page(self.port)
        self.files = seen["spoolhouse_segments_sealed_total"]
        # The first goes at once, with what a moment brought.
        stored = [one["latency"] for one in page["attempts"] if one["outcome"] == "stored"][1:]
        self.latency = statistics.median(one["median_s"] for one in stored) if stored else None
        self.latency_most = max((one["most_s"] for one in stored), default=None)
        self.peak_mib = memory(self.process.pid, "VmHWM") / (1 << 20)

    def stop(self):
        self.owner.terminate()
        self.owner.wait_stopped()
        down([self.proxy])

    def left(self):
        """Rows in its spool, once it is stopped."""
        directories = observe.status(base.BINARY, self.config)["rooms"]
        return sum(directories[name]["rows"] for name in UNSENT)


class Bench(base.StackBench):
    def __init__(self, given):
        traffic = Traffic(given.rate, given.rate * given.seconds, seed=6, start=None)
        super().__init__(given, "roll", traffic, proxy_body="")
        self.instances, self.sent_before = [], 0

    def steps(self):
        self.prepare()
        after = [
            {
                "roll_after": instance.spool["roll_after"],
                "oldest_unsynced_s": round(instance.oldest, 1),
                "files_per_hour": round(instance.files * 3600 / self.given.seconds),
                "bytes_per_row": round(instance.row_bytes, 1),
                "latency_median_s": instance.latency and round(instance.latency, 1),
                "latency_most_s": instance.latency_most and round(instance.latency_most, 1),
                "peak_mib": round(instance.peak_mib),
            }
            for instance in self.measure("after", ({"roll_after": roll} for roll in ROLL_AFTER))
        ]
        self.show(after)
        self.traffic = Traffic(rate=0, count=self.given.burst, seed=7)
        large = [
            {
                "roll_bytes": instance.spool["roll_bytes"],
                "rows_per_file": round(instance.rows_per_file),
                "bytes_per_row": round(instance.row_bytes, 1),
                "peak_mib": round(instance.peak_mib),
            }
            for instance in self.measure("bytes", ({"roll_bytes": roll, "roll_after": "60s"} for roll in ROLL_BYTES))
        ]
        self.show(large)
        self.result = {"rate": self.given.rate, "seconds": self.given.seconds, "roll_after": after, "roll_bytes": large}
        return True

    @staticmethod
    def show(rows):
        for row in rows:
            say(", ".join(f"{key} {value}" for key, value in row.items()))

    def measure(self, kind, rolls):
        """Has an instance for each roll read the same traffic; every row is accounted for."""
        stored_before = self.stored()
        instances = [
            Instance(self, f"{kind}-{spool[f'roll_{kind}']}", place, **spool) for place, spool in enumerate(rolls)
        ]
        self.instances = instances
        for instance in instances:
            instance.start()
        self.wait_for_all("spoolhouse_partitions", 1, "a start")
        for instance in instances:
            instance.oldest = 0.0
        self.start_producer()
        while self.producer_process.poll() is None:
            for instance in instances:
                instance.look()
            time.sleep(LOOK_SECONDS)
        self.producer_done()
        for instance in instances:
            instance.note()
        wanted = self.sent_before + self.sent["messages"]
        self.wait_for_all("spoolhouse_records_total", wanted, "all to be read")
        for instance in instances:
            instance.stop()
        there = self.stored() - stored_before + sum(instance.left() for instance in instances)
        self.instances, self.sent_before = [], wanted
        if there != wanted * len(instances):
            raise Failure(f"{there} rows are stored or in a spool, not {len(instances)} times {wanted}")
        return instances

    def wait_for_all(self, name, least, what):
        """Until the metric is at least so much in every instance."""

        def reached():
            return all(instance.look().get(name, 0) >= least for instance in self.instances)

        if not wait_until(reached, CATCH_UP_SECONDS_MAX, LOOK_SECONDS):
            raise Failure(f"waited {CATCH_UP_SECONDS_MAX} s for {what}")

    def stop_all(self):
        for instance in self.instances:
            instance.stop()
        super().stop_all()
