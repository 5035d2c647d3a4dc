"""A trial: the whole path on real parts in a directory of its own, and the account at its end.

Job: what the demo, the torture and the benches have in common: a fresh stack,
a producer whose traffic follows from a seed, spoolhouse started and killed at
will, and every row accounted for by content.

Invariant: `stop_all` stops everything that a trial may have started.
"""

import dataclasses
import json
import os
import shutil
import subprocess

from stack.clickhouse import ClickHouse
from stack.control import down, up
from stack.offsets import Kafka
from stack.parts import PARTS, ROOT, TOPIC, Settings, listening
from stack.process import Daemon
from trial import observe, reconcile
from trial.configuration import sections, toml
from trial.run import TICK_SECONDS, Failure, wait_until

BINARY = ROOT / "target/debug/spoolhouse"
GROUP = "spoolhouse-trial"
STOP_SECONDS_MAX = 30


class Trial:
    def __init__(self, directory, traffic, binary=BINARY, parts=tuple(PARTS), **settings):
        """`settings` are those of the stack that differ from the environment's."""
        self.dir, self.traffic, self.binary = directory, traffic, binary
        self.spool = directory / "spool"
        self.settings = dataclasses.replace(Settings.from_environment(), dir=directory / "stack", **settings)
        self.parts = [make(self.settings) for make in map(PARTS.get, parts)]
        self.clickhouse = ClickHouse(self.settings.clickhouse_port)
        self.access_log = self.settings.dir / "proxy.access.log"
        self.config = directory / "spoolhouse.toml"
        self.owner = Daemon("spoolhouse", directory)
        self.producer = Daemon("producer", directory)
        self.owner_process = self.producer_process = self.kafka = self.sent = None

    def part(self, name):
        return next(part for part in self.parts if part.name == name)

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
        ports = self.settings.kafka_port, self.settings.proxy_port, self.settings.metrics_port
        found = sections(self.spool, *ports, topic=TOPIC, group=GROUP, instance_id="trial")
        for section, keys in changes.items():
            found[section] |= keys
        self.config.write_text(toml(found))

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
            brokers = ["--brokers", f"127.0.0.1:{self.settings.kafka_port}", "--topic", TOPIC]
            command = self.traffic.command(self.binary, *brokers)
            self.producer_process = self.producer.start(command, stdout=out, cwd=self.dir)

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

    def produce(self, seconds_max):
        """All of the traffic, as fast as it goes."""
        self.start_producer()
        self.producer_done(seconds_max)

    def wait(self, holds, seconds_max, what, every=TICK_SECONDS):
        """Until it holds; Failure if the owner leaves or it takes too long."""
        if not wait_until(holds, seconds_max, every, self.check_owner):
            raise Failure(f"waited {seconds_max:.0f} s for {what}:\n{self.tail(self.owner)}")

    def committed_within(self, seconds_max, meanwhile=lambda: None):
        """Until everything in Kafka is committed, which is: durable in the spool. False if it takes too long."""

        def look():
            self.check_owner()
            meanwhile()

        if not wait_until(lambda: self.kafka.committed() == self.kafka.ends(), seconds_max, meanwhile=look):
            return False
        ends = sum(self.kafka.ends())
        if ends != self.sent["messages"]:
            raise Failure(f"the producer reports {self.sent['messages']} messages, Kafka's topic has {ends}")
        return True

    def wait_committed(self, seconds_max):
        if not self.committed_within(seconds_max):
            raise Failure(f"not everything in Kafka was committed within {seconds_max} s:\n{self.tail(self.owner)}")

    def status(self):
        return observe.status(self.binary, self.config)

    def stored(self):
        """How many rows are in ClickHouse's log."""
        return self.clickhouse.numbers("SELECT count() FROM http_log")[0]

    def metric(self, name):
        """The sum of one of the owner's metrics over its labels."""
        return observe.total(observe.metrics(self.settings.metrics_port), name)

    def regenerate(self):
        """The file of the rows that the producer sent, made from the seed alone."""
        expected = self.dir / "expected.ndjson"
        # The producer may have been stopped early: its first messages are what counts.
        again = self.traffic.expected(self.binary, expected, count=self.sent["messages"])
        if any(again[key] != self.sent[key] for key in ("messages", "bytes", "bad")):
            raise Failure(f"the same seed gave something else: {self.sent} then {again}")
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
