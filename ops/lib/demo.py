"""The demo: the whole path on real parts, ended by a reckoning of every row.

Invariant: whatever happens, what the demo started is stopped; what it wrote is
kept unless everything was in order. It exits 0 only if nothing was lost or
doubled, the totals agree, and the proxy admitted what the time allows.
"""

import argparse
import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import proxy_log
import reconcile
from clickhouse import ClickHouse, ClickHouseError
from demo_view import Kafka, View
from parts import PARTS, ROOT, TOPIC, Settings, StackError, listening
from process import Daemon
from stack import down, up

DIR = ROOT / "target/demo"
SPOOL = DIR / "spool"
BINARY = ROOT / "target/debug/spoolhouse"
GROUP = "spoolhouse-demo"
START = "2026-01-02T03:04:05Z"  # of the synthetic timestamps: the same seed, the same rows
SLOT_SECONDS = 62.5  # what nginx makes of 1r/m
FIRST_INSERT_SECONDS_MAX = 20  # until the first segment is sealed, packed and sent
DRAIN_SECONDS_MAX = 30  # for reading what Kafka still has; the spool need not empty
STOP_SECONDS_MAX = 30
TICK_SECONDS = 0.2


class Failure(Exception):
    """The demo can't go on; what to look at is in the text."""


def arguments():
    parser = argparse.ArgumentParser(
        prog="ops/demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Runs the whole path on real parts: synthetic traffic into Kafka, spoolhouse, nginx at one\n"
            "request a minute, ClickHouse. Shows what is where meanwhile, and at the end accounts for\n"
            "every row by content. Starts a stack of its own in target/demo/, emptied first, on the ports\n"
            "that `ops/stack --help` names; they must be free.\n\n"
            "Ctrl-C ends it early: it stops producing and reckons all the same."
        ),
    )
    parser.add_argument("--seconds", type=int, default=150, metavar="N", help="how long to produce [150]")
    parser.add_argument("--rate", type=int, default=400, metavar="N", help="messages per second [400]")
    parser.add_argument("--kill", type=int, default=0, metavar="N",
                        help="kill -9 spoolhouse N times at random moments and start it again at once [0]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the traffic and the kills [1]")
    parser.add_argument("--bad-percent", type=float, default=0.5, metavar="P",
                        help="share of messages that are no record [0.5]")
    parser.add_argument("--keep", action="store_true", help="keep target/demo/ even when everything is in order")
    given = parser.parse_args()
    if given.seconds < 1 or given.rate < 1:
        parser.error("--seconds and --rate must be at least 1")
    return given


class Demo:
    def __init__(self, given):
        self.given = given
        self.settings = dataclasses.replace(Settings.from_environment(), dir=DIR / "stack")
        self.parts = [make(self.settings) for make in PARTS.values()]
        self.clickhouse = ClickHouse(self.settings.clickhouse_port)
        self.access_log = self.settings.dir / "proxy.access.log"
        self.config = DIR / "spoolhouse.toml"
        self.owner = Daemon("spoolhouse", DIR)
        self.producer = Daemon("producer", DIR)
        self.owner_process = self.producer_process = self.view = None
        random_moments = random.Random(given.seed)
        margin = min(5, given.seconds / 4)
        self.kills = sorted(random_moments.uniform(margin, given.seconds - margin) for _ in range(given.kill))

    def prepare(self):
        for part in self.parts:
            part.daemon.terminate()  # of a demo that was itself killed
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
        shutil.rmtree(DIR, ignore_errors=True)
        self.settings.dir.mkdir(parents=True)
        self.config.write_text(
            f'[kafka]\nbrokers = "127.0.0.1:{self.settings.kafka_port}"\ntopic = "{TOPIC}"\n'
            f'group = "{GROUP}"\ninstance_id = "demo"\n\n'
            f'[spool]\ndir = "{SPOOL}"\n\n'
            f'[upload]\nurl = "http://127.0.0.1:{self.settings.proxy_port}"\n'
        )
        if up(self.parts):
            raise Failure("the stack did not come up")

    def produce_command(self, *more):
        given = self.given
        return [
            BINARY, "produce", "--brokers", f"127.0.0.1:{self.settings.kafka_port}", "--topic", TOPIC,
            "--rate", str(given.rate), "--count", str(given.rate * given.seconds), "--seed", str(given.seed),
            "--start", START, "--bad-percent", str(given.bad_percent), *more,
        ]

    def start_owner(self):
        self.owner_process = self.owner.start([BINARY, "run", "--config", self.config], cwd=DIR)

    def run(self):
        """Produce and watch until the producer is done or the user has enough."""
        begun = time.monotonic()
        self.view = View(
            Kafka(self.settings.kafka_port, GROUP, self.settings.partitions), SPOOL, self.clickhouse, self.access_log)
        self.start_owner()
        with open(DIR / "producer.json", "wb") as out:
            self.producer_process = self.producer.start(self.produce_command(), stdout=out, cwd=DIR)
        try:
            while self.producer_process.poll() is None:
                elapsed = time.monotonic() - begun
                if self.kills and elapsed >= self.kills[0]:
                    self.kills.pop(0)
                    self.kill_owner(elapsed)
                self.check_owner()
                self.view.show(elapsed, "producing")
                time.sleep(TICK_SECONDS)
        except KeyboardInterrupt:
            self.view.say("stopping; the rows produced so far are accounted for")
            self.producer.terminate()
        self.sent = self.producer_result()
        self.inserts = sum(line.is_insert and line.admitted for line in proxy_log.read(self.access_log))
        self.drain(begun)
        self.stop_owner()
        self.view.show(time.monotonic() - begun, "stopped", now=True)

    def kill_owner(self, elapsed):
        self.owner_process.kill()
        self.owner_process.wait()
        self.start_owner()
        self.view.say(f"{elapsed:5.0f} s  spoolhouse killed (-9) and started again, pid {self.owner_process.pid}")

    def check_owner(self):
        if (status := self.owner_process.poll()) is not None:
            raise Failure(f"spoolhouse left by itself, exit status {status}:\n{self.tail(self.owner)}")

    @staticmethod
    def tail(daemon):
        return "\n".join(f"    {line}" for line in daemon.last_lines(20))

    def producer_result(self):
        try:
            status = self.producer_process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Failure("the producer did not stop when asked") from None
        lines = (DIR / "producer.json").read_text().splitlines()
        if status or not lines:
            raise Failure(f"the producer failed, exit status {status}:\n{self.tail(self.producer)}")
        return json.loads(lines[-1])

    def drain(self, begun):
        """Until everything in Kafka is committed, which is: durable in the spool."""
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        kafka = self.view.kafka
        while kafka.committed() != kafka.ends():
            self.check_owner()
            if time.monotonic() > deadline:
                self.view.say(f"not everything was read within {DRAIN_SECONDS_MAX} s; it will show as lost")
                return
            self.view.show(time.monotonic() - begun, "draining")
            time.sleep(TICK_SECONDS)
        ends = sum(kafka.ends())
        if ends != self.sent["messages"]:
            raise Failure(f"the producer reports {self.sent['messages']} messages, Kafka's topic has {ends}")

    def stop_owner(self):
        self.owner.terminate()
        try:
            status = self.owner_process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Failure(f"spoolhouse did not stop within {STOP_SECONDS_MAX} s:\n{self.tail(self.owner)}") from None
        if status:
            raise Failure(f"spoolhouse stopped with exit status {status}:\n{self.tail(self.owner)}")

    def reckon(self):
        expected = DIR / "expected.ndjson"
        again = self.produce_command("--dry-run", "--expect", expected)
        # The producer may have been stopped early: its first messages are what counts.
        again[again.index("--count") + 1] = str(self.sent["messages"])
        done = subprocess.run(again, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"producing again for comparison failed:\n{done.stderr}")
        regenerated = json.loads(done.stdout.splitlines()[-1])
        if any(regenerated[key] != self.sent[key] for key in ("messages", "bytes", "bad")):
            raise Failure(f"the same seed gave something else: {self.sent} then {regenerated}")
        result = reconcile.reconcile(expected, self.sent["bad"], SPOOL, self.clickhouse)
        due = max(0, int((self.sent["seconds"] - FIRST_INSERT_SECONDS_MAX) // SLOT_SECONDS))
        if self.inserts < due:
            result.problems.append(f"the proxy admitted {self.inserts} inserts while producing; {due} were possible")
        lines = proxy_log.read(self.access_log)
        refused = sum(line.status == 503 for line in lines)
        print(f"proxy: {self.inserts} inserts admitted while producing, {refused} of {len(lines)} requests refused")
        reconcile.report(result)
        return result.ok()

    def stop_all(self):
        for daemon in (self.producer, self.owner):
            daemon.terminate()
        for daemon in (self.producer, self.owner):
            daemon.wait_stopped()
        if self.view:
            self.view.kafka.close()
        down([part for part in self.parts if part.daemon.pid()])


def main():
    demo = Demo(arguments())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ops/demo: stopped by a signal"))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    good = False
    try:
        demo.prepare()
        demo.run()
        good = demo.reckon()
    except (Failure, StackError, ClickHouseError) as failure:
        print(f"ops/demo: {failure}", file=sys.stderr)
    except KeyboardInterrupt:
        print("ops/demo: interrupted", file=sys.stderr)
    finally:
        demo.stop_all()
        if good and not demo.given.keep:
            shutil.rmtree(DIR, ignore_errors=True)
        elif DIR.exists():
            print(f"kept: {DIR} (spool/, stack/, spoolhouse.log, producer.log, expected.ndjson)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
