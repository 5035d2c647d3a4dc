"""A trial: the whole path on real parts in a directory of its own, and the account at its end.

Job: what the demo, the torture and the benches have in common: a fresh stack,
a producer whose traffic follows from a seed, spoolhouse started and killed at
will, and every row accounted for by content.

Invariant: whatever happens, what a trial started is stopped; what it wrote is
kept unless everything was in order.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass

from confluent_kafka import KafkaException

from stack.clickhouse import ClickHouse, ClickHouseError
from stack.control import down, up
from stack.offsets import Kafka
from stack.parts import PARTS, ROOT, TOPIC, Settings, StackError, listening
from stack.process import Daemon
from trial import reconcile

BINARY = ROOT / "target/debug/spoolhouse"
GROUP = "spoolhouse-trial"
START = "2026-01-02T03:04:05Z"  # of the synthetic timestamps: the same seed, the same rows
STOP_SECONDS_MAX = 30
TICK_SECONDS = 0.2


class Failure(Exception):
    """The trial can't go on; what to look at is in the text."""


@dataclass(frozen=True)
class Traffic:
    """What the producer is asked for; it may be stopped before it has sent `count`."""

    rate: int
    count: int
    seed: int
    bad_percent: float = 0.0
    profile: str = "uniform"
    start: str | None = START  # None: the moment of the start, for latencies


def toml(sections):
    """{section: {key: value}}; JSON's strings and numbers are TOML's, too."""
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for section, keys in sections.items()
    )


class Trial:
    def __init__(self, directory, traffic, settings=None, binary=BINARY, parts=tuple(PARTS)):
        self.dir, self.traffic, self.binary = directory, traffic, binary
        self.spool = directory / "spool"
        self.settings = dataclasses.replace(settings or Settings.from_environment(), dir=directory / "stack")
        self.parts = [make(self.settings) for make in map(PARTS.get, parts)]
        self.clickhouse = ClickHouse(self.settings.clickhouse_port)
        self.access_log = self.settings.dir / "proxy.access.log"
        self.config = directory / "spoolhouse.toml"
        self.owner = Daemon("spoolhouse", directory)
        self.producer = Daemon("producer", directory)
        self.owner_process = self.producer_process = self.kafka = self.sent = None

    def prepare(self, **changes):
        """An empty directory and a fresh stack; `changes` are sections over spoolhouse's configuration."""
        for part in self.parts:
            part.daemon.terminate()  # of a trial that was itself killed
        for daemon in (self.owner, self.producer):
            daemon.terminate()
        for daemon in (self.owner, self.producer, *(part.daemon for part in self.parts)):
            daemon.wait_stopped()
        for part in self.parts:
            if listening(part.port):
                raise Failure(
                    f"port {part.port} ({part.name}) is taken. If it is the local stack: ops/stack down. "
                    f"Otherwise `ss -ltnp 'sport = :{part.port}'` names the program; "
                    f"ops/stack --help tells how to choose other ports."
                )
        shutil.rmtree(self.dir, ignore_errors=True)
        self.settings.dir.mkdir(parents=True)
        self.configure(**changes)
        if up(self.parts):
            raise Failure("the stack did not come up")
        self.watch(GROUP)

    def watch(self, group):
        """Looks at the offsets of this group from now on."""
        if self.kafka:
            self.kafka.close()
        self.kafka = Kafka(self.settings.kafka_port, group, self.settings.partitions)

    def configure(self, **changes):
        sections = {
            "kafka": {
                "brokers": f"127.0.0.1:{self.settings.kafka_port}",
                "topic": TOPIC,
                "group": GROUP,
                "instance_id": "trial",
            },
            "spool": {"dir": str(self.spool)},
            "upload": {"url": f"http://127.0.0.1:{self.settings.proxy_port}"},
            "observe": {"listen": f"127.0.0.1:{self.settings.metrics_port}"},
        }
        for section, keys in changes.items():
            sections[section] |= keys
        self.config.write_text(toml(sections))

    def produce_command(self, *more, count=None):
        traffic = self.traffic
        return [
            self.binary,
            "produce",
            "--brokers",
            f"127.0.0.1:{self.settings.kafka_port}",
            "--topic",
            TOPIC,
            "--rate",
            str(traffic.rate),
            "--count",
            str(traffic.count if count is None else count),
            "--seed",
            str(traffic.seed),
            "--bad-percent",
            str(traffic.bad_percent),
            "--profile",
            traffic.profile,
            *(["--start", traffic.start] if traffic.start else []),
            *more,
        ]

    def start_owner(self, **environment):
        self.owner_process = self.owner.start(
            [self.binary, "run", "--config", self.config], cwd=self.dir, env={**os.environ, **environment}
        )

    def kill_owner(self):
        self.owner_process.kill()
        self.owner_process.wait()

    def check_owner(self):
        if (status := self.owner_process.poll()) is not None:
            raise Failure(f"spoolhouse left by itself, exit status {status}:\n{self.tail(self.owner)}")

    def stop_owner(self):
        self.owner.terminate()
        try:
            status = self.owner_process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Failure(f"spoolhouse did not stop within {STOP_SECONDS_MAX} s:\n{self.tail(self.owner)}") from None
        if status:
            raise Failure(f"spoolhouse stopped with exit status {status}:\n{self.tail(self.owner)}")

    @staticmethod
    def tail(daemon):
        return "\n".join(f"    {line}" for line in daemon.last_lines(20))

    def start_producer(self):
        with open(self.dir / "producer.json", "wb") as out:
            self.producer_process = self.producer.start(self.produce_command(), stdout=out, cwd=self.dir)

    def producer_done(self, seconds_max=STOP_SECONDS_MAX):
        """Waits for the producer and notes what it says that it sent."""
        try:
            status = self.producer_process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            raise Failure("the producer did not stop when asked") from None
        lines = (self.dir / "producer.json").read_text().splitlines()
        if status or not lines:
            raise Failure(f"the producer failed, exit status {status}:\n{self.tail(self.producer)}")
        self.sent = json.loads(lines[-1])

    def wait_committed(self, seconds_max, meanwhile=lambda: None):
        """Until everything in Kafka is committed, which is: durable in the spool. False if it takes too long."""
        deadline = time.monotonic() + seconds_max
        while self.kafka.committed() != self.kafka.ends():
            self.check_owner()
            if time.monotonic() > deadline:
                return False
            meanwhile()
            time.sleep(TICK_SECONDS)
        ends = sum(self.kafka.ends())
        if ends != self.sent["messages"]:
            raise Failure(f"the producer reports {self.sent['messages']} messages, Kafka's topic has {ends}")
        return True

    def metric(self, name):
        """The sum of one of the owner's metrics over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.settings.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def regenerate(self):
        """The file of the rows that the producer sent, made from the seed alone."""
        expected = self.dir / "expected.ndjson"
        # The producer may have been stopped early: its first messages are what counts.
        again = self.produce_command("--dry-run", "--expect", expected, count=self.sent["messages"])
        done = subprocess.run(again, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"producing again for comparison failed:\n{done.stderr}")
        regenerated = json.loads(done.stdout.splitlines()[-1])
        if any(regenerated[key] != self.sent[key] for key in ("messages", "bytes", "bad")):
            raise Failure(f"the same seed gave something else: {self.sent} then {regenerated}")
        return expected

    def reconcile(self):
        return reconcile.reconcile(self.regenerate(), self.sent["bad"], self.spool, self.clickhouse)

    def stop_all(self):
        for daemon in (self.producer, self.owner):
            daemon.terminate()
        for daemon in (self.producer, self.owner):
            daemon.wait_stopped()
        if self.kafka:
            self.kafka.close()
        down([part for part in self.parts if part.daemon.pid()])


def carry_out(name, trial, steps, keep=False):
    """Runs `steps`, which says whether all was in order; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{name}: stopped by a signal"))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    good = False
    try:
        good = steps()
    except (Failure, StackError, ClickHouseError, KafkaException) as failure:
        print(f"{name}: {failure}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
    finally:
        trial.stop_all()
        if good and not keep:
            shutil.rmtree(trial.dir, ignore_errors=True)
        elif trial.dir.exists():
            print(f"kept: {trial.dir} (spool/, stack/, spoolhouse.log, producer.log, expected.ndjson)")
    return 0 if good else 1
