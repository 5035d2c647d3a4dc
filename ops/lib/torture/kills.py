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

import random
import subprocess
import time
from collections import Counter

from stack import proxy_log
from stack.parts import ROOT
from torture.by_hand import Person
from trial import reconcile
from trial.base import Trial
from trial.run import TICK_SECONDS, Failure, say
from trial.spool import unsent
from trial.traffic import Traffic

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


class Torture(Trial):
    def __init__(self, given):
        # Bad messages may be a million bytes long: enough of them, and no more.
        traffic = Traffic(given.rate, PRODUCE_MAX, given.seed, bad_percent=0.2)
        super().__init__(DIR, traffic, proxy_rate=PROXY_RATE, proxy_body=PROXY_BODY)
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
        command, env = [self.binary, "run"], {"FAILPOINT": "?"}
        asked = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
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
                rows = self.stored()
                say(f"{told - begun:5.0f} s  {kill + 1} kills, {rows} rows stored")
        say(f"{time.monotonic() - begun:5.0f} s  {self.kills} kills")

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
        self.wait_committed(DRAIN_SECONDS_MAX)
        stored, since = None, time.monotonic()
        while unsent(self.spool):
            self.check_owner()
            now = self.stored()
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
