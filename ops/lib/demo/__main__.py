"""The demo: the whole path on real parts, ended by a reckoning of every row.

Invariant: it exits 0 only if nothing was lost or doubled, the totals agree, and
the proxy admitted what the time allows.
"""

import random
import sys
import time

from demo.view import View
from stack import proxy_log
from stack.parts import ROOT, SLOT_SECONDS
from trial import arguments, reconcile
from trial.base import Trial
from trial.run import TICK_SECONDS, carry_out
from trial.traffic import Traffic

DIR = ROOT / "target/demo"
FIRST_INSERT_SECONDS_MAX = 20  # until the first segment is sealed, packed and sent
DRAIN_SECONDS_MAX = 30  # for reading what Kafka still has; the spool need not empty


def given_arguments():
    parser = arguments.parser(
        "ops/demo",
        "Runs the whole path on real parts: synthetic traffic into Kafka, spoolhouse, nginx at one\n"
        "request a minute, ClickHouse. Shows what is where meanwhile, and at the end accounts for\n"
        "every row by content. Starts a stack of its own in target/demo/, emptied first, on the ports\n"
        "that `ops/stack --help` names; they must be free.\n\n"
        "Ctrl-C ends it early: it stops producing and reckons all the same.",
    )
    number = arguments.number
    number(parser, "--seconds", 150, "how long to produce")
    number(parser, "--rate", 400, "messages per second")
    number(parser, "--kill", 0, "kill -9 spoolhouse N times at random moments and start it again at once")
    number(parser, "--seed", 1, "of the traffic and the kills")
    number(parser, "--bad-percent", 0.5, "share of messages that are no record", kind=float, letter="P")
    arguments.keep(parser, "target/demo")
    return arguments.parse(parser, "seconds", "rate")


class Demo(Trial):
    def __init__(self, given):
        traffic = Traffic(given.rate, given.rate * given.seconds, given.seed, given.bad_percent)
        super().__init__(DIR, traffic)
        self.view = self.begun = None
        random_moments = random.Random(given.seed)
        margin = min(5, given.seconds / 4)
        self.kills = sorted(random_moments.uniform(margin, given.seconds - margin) for _ in range(given.kill))

    def steps(self):
        self.prepare()
        self.run()
        return self.reckon()

    def show(self, state, now=False):
        self.view.show(time.monotonic() - self.begun, state, now)

    def run(self):
        """Produce and watch until the producer is done or the user has enough."""
        self.begun = time.monotonic()
        self.view = View(self.kafka, self.spool, self.clickhouse, self.access_log)
        self.start_owner()
        self.start_producer()
        try:
            while self.producer_process.poll() is None:
                if self.kills and time.monotonic() - self.begun >= self.kills[0]:
                    self.kills.pop(0)
                    self.kill_and_restart()
                self.check_owner()
                self.show("producing")
                time.sleep(TICK_SECONDS)
        except KeyboardInterrupt:
            self.view.say("stopping; the rows produced so far are accounted for")
            self.producer.terminate()
        self.producer_done()
        self.inserts = sum(line.is_insert and line.admitted for line in proxy_log.read(self.access_log))
        if not self.committed_within(DRAIN_SECONDS_MAX, lambda: self.show("draining")):
            self.view.say(f"not everything was read within {DRAIN_SECONDS_MAX} s; it will show as lost")
        self.stop_owner()
        self.show("stopped", now=True)

    def kill_and_restart(self):
        self.kill_owner()
        self.start_owner()
        elapsed = time.monotonic() - self.begun
        self.view.say(f"{elapsed:5.0f} s  spoolhouse killed (-9) and started again, pid {self.owner_process.pid}")

    def reckon(self):
        result = self.reconcile()
        due = max(0, int((self.sent["seconds"] - FIRST_INSERT_SECONDS_MAX) // SLOT_SECONDS))
        if self.inserts < due:
            result.problems.append(f"the proxy admitted {self.inserts} inserts while producing; {due} were possible")
        lines = proxy_log.read(self.access_log)
        refused = sum(line.status == 503 for line in lines)
        print(f"proxy: {self.inserts} inserts admitted while producing, {refused} of {len(lines)} requests refused")
        reconcile.report(result)
        return result.ok()


def main():
    given = given_arguments()
    return carry_out("ops/demo", Demo(given), given.keep)


if __name__ == "__main__":
    sys.exit(main())
