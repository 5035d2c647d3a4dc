"""Kills spoolhouse over and over under load, restarts it at once, and accounts for every row at the end.

Half of the kills are `kill -9` at a random moment. The other half are armed at
a fail point (src/failpoint.rs) and cycle through all of them, so that every
hand-over is cut in two again and again; a step that isn't come to in time is
replaced by a `kill -9`, and armed again later.

Beside it a person asks for files by hand now and then (`spoolhouse upload`). Whom
they ask is killed as ever; without an owner the command becomes one, and is killed
itself before the next life begins.

The broker keeps data for a minute as in the reference environment: whatever
isn't read and durable in time is lost, and shows.

Invariant: it exits 0 only if every row that was produced is in ClickHouse
exactly once, log and totals, and the spool is empty.
"""

import argparse
import dataclasses
import random
import subprocess
import sys
import time
from collections import Counter

from demo.view import listing
from stack import proxy_log
from stack.parts import ROOT, Settings
from torture.by_hand import Person
from torture.full_spool import FullSpool
from trial import reconcile
from trial.base import TICK_SECONDS, Failure, Traffic, Trial, carry_out

DIR = ROOT / "target/torture"
PRODUCE_MAX = 100_000_000  # the producer is stopped when the kills are done

# A life is short, so everything must come to pass within a second or two: small
# windows, small requests, a proxy that admits four a second. A request holds more
# than arrives between two of them, but less than has come while spoolhouse was
# down: so sometimes a segment is split and sometimes not. The limit that
# spoolhouse expects is above the proxy's, so that a batch is split, too.
SPOOL = {"roll_after": "300ms"}
UPLOAD = {"max_body": "48KiB"}
PROXY_RATE, PROXY_BODY = "240r/m", "24k"
# A life of another interval than the last forgets what that one learned, and is
# refused by the proxy until it has learned it again.
INTERVALS = ("100ms", "150ms", "250ms")

RANDOM_MOMENT_SECONDS = (0.02, 2.5)
FAILPOINT_SECONDS_MAX = 6
BESIDE, ALONE = 0.3, 0.1  # how often a person asks beside an owner, and without one, per life
HITS = (1, 1, 1, 2, 3)  # at which hit of its step a fail point strikes: one of these
DRAIN_SECONDS_MAX = 60  # for what Kafka still has
STALL_SECONDS_MAX = 60  # without a row stored, while the spool empties
UNSENT = ("sealed", "ready", "batches", "sending")


def arguments():
    parser = argparse.ArgumentParser(
        prog="ops/torture",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Kills spoolhouse N times under load: half of the times with kill -9 at a random moment, half\n"
            "at the named steps of every hand-over (src/failpoint.rs), which only the dev build has. Beside it\n"
            "`spoolhouse upload` is asked for files, and killed, too. Then lets the spool empty and compares\n"
            "what ClickHouse holds with what was produced, row by row.\n\n"
            "Starts a stack of its own in target/torture/, emptied first, with a proxy that admits four\n"
            "requests a second, on ports 30092, 30093, 30123 to 30125 unless the environment names others\n"
            "(ops/stack --help). 200 kills take about five minutes."
        ),
    )
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="how often to kill [200]")
    parser.add_argument("--rate", type=int, default=2500, metavar="N", help="messages per second [2500]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the traffic and the kills [1]")
    parser.add_argument("--keep", action="store_true", help="keep target/torture/ even when everything is in order")
    parser.add_argument(
        "--full-spool",
        action="store_true",
        help="instead: what happens when the proxy is down for three minutes, the spool's budget is "
        "2 MiB and Kafka forgets what isn't read",
    )
    given = parser.parse_args()
    if given.kills < 1 or given.rate < 1:
        parser.error("--kills and --rate must be at least 1")
    return given


class Torture(Trial):
    def __init__(self, given):
        settings = dataclasses.replace(Settings.from_environment(), proxy_rate=PROXY_RATE, proxy_body=PROXY_BODY)
        # Bad messages may be a million bytes long: enough of them, and no more.
        super().__init__(DIR, Traffic(given.rate, PRODUCE_MAX, given.seed, bad_percent=0.2), settings)
        self.random = random.Random(given.seed)
        self.kills = given.kills
        self.struck, self.missed, self.at_random = Counter(), Counter(), 0
        self.person = Person(self, self.random)

    def steps(self):
        self.prepare(spool=SPOOL, upload=UPLOAD)
        self.failpoints = self.read_failpoints()
        self.start_producer()
        self.kill_over_and_over()
        self.drain()
        return self.reckon()

    def read_failpoints(self):
        """The steps, as the program names them when it is asked for one that it doesn't know."""
        asked = subprocess.run([self.binary, "run"], env={"FAILPOINT": "?"}, capture_output=True, text=True)
        steps = [line.strip() for line in asked.stderr.splitlines() if line.startswith("  ")]
        if not steps:
            raise Failure(f"{self.binary} names no fail points: {asked.stderr}")
        return steps

    def kill_over_and_over(self):
        begun = told = time.monotonic()
        steps = []
        for kill in range(self.kills):
            if self.producer_process.poll() is not None:
                raise Failure(f"the producer left by itself:\n{self.tail(self.producer)}")
            if kill % 2:
                if not steps:
                    steps = self.random.sample(self.failpoints, len(self.failpoints))
                self.kill_at(steps.pop())
            else:
                self.kill_at_random()
            if time.monotonic() - told > 10:
                told = time.monotonic()
                rows = self.clickhouse.numbers("SELECT count() FROM http_log")[0]
                print(f"{told - begun:5.0f} s  {kill + 1} kills, {rows} rows stored", flush=True)
        print(f"{time.monotonic() - begun:5.0f} s  {self.kills} kills", flush=True)

    def live(self, alone=ALONE, beside=BESIDE, **environment):
        interval = {"SPOOLHOUSE_UPLOAD__INTERVAL": self.random.choice(INTERVALS)}
        self.person.step_aside()
        if self.random.random() < alone:
            self.person.ask_alone(interval)
        self.start_owner(**interval, **environment)
        if self.random.random() < beside:
            self.person.ask_beside(interval)

    def kill_at_random(self):
        self.live()
        time.sleep(self.random.uniform(*RANDOM_MOMENT_SECONDS))
        self.check_owner()
        self.kill_owner()
        self.at_random += 1

    def kill_at(self, step):
        # A step that was missed before gets the best chance.
        hit = 1 if self.missed[step] else self.random.choice(HITS)
        self.live(FAILPOINT=f"{step}:{hit}")
        try:
            status = self.owner_process.wait(FAILPOINT_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill_owner()
            self.missed[step] += 1
            return
        if status != -9:
            raise Failure(f"spoolhouse left by itself, exit status {status}:\n{self.tail(self.owner)}")
        self.struck[step] += 1

    def drain(self):
        """One last life, undisturbed, until the spool is empty."""
        self.live(alone=0, beside=0)
        self.producer.terminate()
        self.producer_done()
        if not self.wait_committed(DRAIN_SECONDS_MAX):
            raise Failure(f"not everything in Kafka was read within {DRAIN_SECONDS_MAX} s:\n{self.tail(self.owner)}")
        stored, since = None, time.monotonic()
        while any(listing(self.spool)[room][0] for room in UNSENT):
            self.check_owner()
            now = self.clickhouse.numbers("SELECT count() FROM http_log")[0]
            if now != stored:
                stored, since = now, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS_MAX:
                raise Failure(f"nothing was stored for {STALL_SECONDS_MAX} s:\n{self.tail(self.owner)}")
            time.sleep(TICK_SECONDS)
        self.stop_owner()
        self.person.leave()

    def stop_all(self):
        self.person.leave()
        super().stop_all()

    def reckon(self):
        result = self.reconcile()
        bad = self.sent["bad"]
        if result.in_spool:
            result.problems.append(f"{result.in_spool} rows are still in the spool: {result.waiting}")
        lines = proxy_log.read(self.access_log)
        refused = Counter(line.status for line in lines if line.status != 200)
        print(
            f"proxy: {len(lines)} requests, {sum(line.admitted for line in lines)} inserts admitted, "
            f"{refused[503]} refused by the limiter, {refused[413]} as too large"
        )
        missed = sum(self.missed.values())
        print(
            f"kills: {self.at_random + missed} with kill -9 ({missed} of them since a fail point was not come to), "
            f"{sum(self.struck.values())} at fail points, how often at which:"
        )
        for step in self.failpoints:
            note = f", missed {self.missed[step]}" if self.missed[step] else ""
            print(f"  {self.struck[step]:4}  {step}{note}")
        by_hand = ", ".join(f"{count} {end}" for end, count in sorted(self.person.ends.items()))
        print(f"by hand: {sum(self.person.ends.values())} commands: {by_hand or 'none'}")
        result.problems += [f"a command by hand ended with {end}" for end in self.person.unexpected()]
        reconcile.report(result)
        print(f"bad messages: produced {bad}, kept in undecodable/ {result.undecodable}")
        print(
            f"kills {self.kills}, produced {result.produced - bad}, stored {result.stored}, "
            f"lost {result.lost}, duplicated {result.duplicated}",
            flush=True,
        )
        return result.ok()


def main():
    given = arguments()
    trial = FullSpool(given.seed) if given.full_spool else Torture(given)
    return carry_out("ops/torture", trial, trial.steps, given.keep)


if __name__ == "__main__":
    sys.exit(main())
