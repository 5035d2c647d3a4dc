"""A proxy that is down for long, a small spool, and a broker that forgets: is what is lost known to the offset?

The spool's budget is 2 MiB, the topic rolls its files every 10 s and the broker
deletes what is older than a minute, looking every 5 s. 1,000 records a second
are produced for three minutes while the proxy is down; then it comes up.

An observer of our own reads the topic as it is produced and notes the partition
and offset of every record. At the end every record is either stored, or its
offset lies in a gap that spoolhouse recorded; and no gap holds anything else.

Invariant: it exits 0 only if that holds, consumption was paused, the spool never
grew past its budget, memory stayed flat while the spool was full, and bounded
while what Kafka still had was read at full speed afterwards.
"""

import json
import struct
import threading
import time

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from stack.control import down, up
from stack.parts import ROOT, TOPIC
from stack.process import memory
from trial.base import Trial
from trial.run import Failure, say, wait_until
from trial.spool import human, listing, unsent
from trial.traffic import START_SECONDS, Traffic

DIR = ROOT / "target/full-spool"
RATE, SECONDS = 1000, 180
BUDGET = 2 << 20
ROLL_BYTES = 512 << 10  # the budget must have room for four
RETENTION_MS, RETENTION_CHECK_MS, SEGMENT_MS = 60_000, 5_000, 10_000
PROXY_RATE, INTERVAL = "60r/m", "1s"
SAMPLE_SECONDS = 0.25
DRAIN_SECONDS_MAX = 120
# What a process may grow by after the first minute of the proxy's absence, and
# the most that it may ever take.
FLAT_BYTES, PEAK_BYTES = 8 << 20, 200 << 20


class Observer(threading.Thread):
    """Reads the topic from its start and notes where each record is.

    At 1,000 records a second each has a millisecond of its own, so its timestamp
    tells its place in the traffic.
    """

    def __init__(self, port, partitions):
        super().__init__(daemon=True)
        self.start_milli = START_SECONDS * 1000
        self.places = {}  # (partition, offset) -> place
        self.stopping = False
        self.consumer = Consumer(
            {
                "bootstrap.servers": f"127.0.0.1:{port}",
                "group.id": "observer",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",  # an observer that misses something must not go on
            }
        )
        self.consumer.assign([TopicPartition(TOPIC, n, 0) for n in range(partitions)])

    def run(self):
        while not self.stopping:
            for message in self.consumer.consume(1000, timeout=0.5):
                if message.error():
                    self.places = {}
                    return
                self.places[message.partition(), message.offset()] = timestamp(message.value()) - self.start_milli

    def stop(self):
        self.stopping = True
        self.join()
        self.consumer.close()


def timestamp(message):
    """The first word of the root struct of a Cap'n Proto message of one segment."""
    pointer = struct.unpack_from("<i", message, 8)[0] >> 2
    return struct.unpack_from("<Q", message, 16 + 8 * pointer)[0]


class FullSpool(Trial):
    def __init__(self, seed):
        super().__init__(
            DIR,
            Traffic(RATE, RATE * SECONDS, seed),
            proxy_rate=PROXY_RATE,
            retention_ms=RETENTION_MS,
            retention_check_ms=RETENTION_CHECK_MS,
        )
        self.proxy = [self.part("proxy")]
        self.observer = None
        self.bytes_seen, self.memory_seen = [], []  # (seconds, bytes)
        self.problems = []

    def steps(self):
        self.prepare(spool={"max_bytes": f"{BUDGET}B", "roll_bytes": f"{ROLL_BYTES}B"}, upload={"interval": INTERVAL})
        down(self.proxy)
        self.roll_often()
        self.observer = Observer(self.settings.kafka_port, self.settings.partitions)
        self.observer.start()
        self.begun = time.monotonic()
        self.start_owner()
        self.start_producer()
        while self.producer_process.poll() is None:
            self.sample()
            time.sleep(SAMPLE_SECONDS)
        self.producer_done()
        self.proxy_up = time.monotonic() - self.begun
        say(f"{self.proxy_up:5.0f} s  the proxy comes up")
        up(self.proxy)
        self.drain()
        self.pauses, self.offsets_lost = (
            self.metric(f"spoolhouse_{name}_total") for name in ("pauses", "offsets_lost")
        )
        self.stop_owner()
        self.observer.stop()
        return self.reckon()

    def roll_often(self):
        """The broker deletes whole files only: they must be short to be forgotten in time."""
        topic = ConfigResource(
            ResourceType.TOPIC,
            TOPIC,
            incremental_configs=[
                ConfigEntry("segment.ms", str(SEGMENT_MS), incremental_operation=AlterConfigOpType.SET)
            ],
        )
        admin = self.part("kafka").admin()
        for done in admin.incremental_alter_configs([topic]).values():
            done.result(30)

    def sample(self):
        self.check_owner()
        now = time.monotonic() - self.begun
        size = sum(size for _, size in listing(self.spool).values())
        self.bytes_seen.append((now, size))
        self.memory_seen.append((now, memory(self.owner_process.pid, "VmRSS")))
        if int(now / 20) > int((now - SAMPLE_SECONDS) / 20):
            say(f"{now:5.0f} s  spool {human(size)}, memory {human(self.memory_seen[-1][1])}")

    def drain(self):
        def nothing_waits():
            return self.kafka.committed() == self.kafka.ends() and not unsent(self.spool)

        if not wait_until(nothing_waits, DRAIN_SECONDS_MAX, SAMPLE_SECONDS, self.sample):
            raise Failure(f"not everything was read and sent within {DRAIN_SECONDS_MAX} s:\n{self.tail(self.owner)}")

    def reckon(self):
        gaps = (
            [json.loads(line) for line in (self.spool / "gaps.jsonl").read_text().splitlines()]
            if (self.spool / "gaps.jsonl").exists()
            else []
        )
        lost = {(gap["partition"], offset) for gap in gaps for offset in range(gap["from"], gap["to"])}
        result = self.reconcile()
        with open(self.dir / "expected.ndjson") as lines:
            urls = [json.loads(line)["url"] for line in lines]
        stored = set(self.clickhouse.query("SELECT url FROM http_log FORMAT TSV").decode().split())
        missing = {where for where, place in self.observer.places.items() if urls[place] not in stored}
        slack = max(size for _, size in self.bytes_seen) - BUDGET
        growth, peak = self.growth(), max(size for _, size in self.memory_seen)
        self.demand(len(self.observer.places) == self.sent["messages"], "the observer did not see every record")
        self.demand(self.pauses > 0, "consumption was never paused")
        self.demand(lost, "nothing was lost upstream: this tried nothing")
        self.demand(sum(gap["to"] - gap["from"] for gap in gaps) == len(lost), "gaps overlap")
        self.demand(self.offsets_lost == len(lost), f"the metric counts {self.offsets_lost:.0f} offsets lost")
        self.demand(
            missing == lost,
            f"{len(missing - lost)} records are missing outside of every gap, "
            f"{len(lost - missing)} offsets of gaps are stored",
        )
        self.demand(
            result.lost == len(lost) and not result.duplicated and not result.problems,
            f"by content: {result.summary()} {result.problems}",
        )
        self.demand(slack <= 0, f"the spool grew {human(slack)} past its budget")
        self.demand(growth <= FLAT_BYTES, f"memory grew by {human(growth)} while the proxy was down")
        self.demand(peak <= PEAK_BYTES, f"memory reached {human(peak)}")
        print(
            f"spool: at most {human(BUDGET + slack)} of {human(BUDGET)}; memory: grown by {human(max(0, growth))} "
            f"after the first minute without a proxy, at most {human(peak)} when it was back"
        )
        print(
            f"pauses {self.pauses:.0f}, gaps {len(gaps)} with {len(lost)} offsets; missing records {len(missing)}, "
            f"each in a gap: {'yes' if missing <= lost else 'no'}"
        )
        for problem in self.problems:
            print(f"  PROBLEM: {problem}")
        print(
            f"produced {result.produced}, stored {result.stored}, in gaps {len(lost)}, "
            f"stored + gaps - produced = {result.stored + len(lost) - result.produced}",
            flush=True,
        )
        return not self.problems

    def growth(self):
        """How much more memory the minutes without a proxy took than the first of them, at their peaks."""
        first = max(size for at, size in self.memory_seen if at <= 60)
        return max(size for at, size in self.memory_seen if 60 < at <= self.proxy_up) - first

    def demand(self, holds, problem):
        if not holds:
            self.problems.append(problem)
