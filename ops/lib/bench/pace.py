"""Does the upload use every slot of the proxy, and ask for hardly one twice?

Two parts, each against the real nginx, a backlog that never ends, and nginx's
own log as the witness:
- stock: one request a minute (which nginx rounds to 62.5 s) and 1 MiB, for
  --minutes, with spoolhouse's configuration as it comes;
- fast: the same arithmetic at 200 requests a minute and 32 KiB, with a rate that
  changes to three quarters and back while it runs, for --slots.

A slot is offered whenever a client that is always early would be admitted.
"""

import statistics
import time

from bench import base
from stack.parts import interval
from stack.proxy_log import read
from trial import arguments
from trial.run import Failure, say
from trial.spool import parquet_files
from trial.traffic import Traffic

HELP = "slots of the real proxy that are used, and requests that it refuses"
READ_SECONDS_MAX = 600
ROWS_PER_MIB = 46_000  # more than fit, so that the backlog lasts
STOCK_RATE, STOCK_BODY = "1r/m", 1 << 20
FAST_RATES = ("200r/m", "150r/m", "200r/m")
FAST_INTERVAL, FAST_BODY, FAST_BODY_TEXT = "300ms", 32 << 10, "32k"
USED_GOAL, REFUSED_GOAL, FILL_GOAL = 0.97, 0.01, 0.97


def add_arguments(parser):
    arguments.number(parser, "--minutes", 12, "of the stock proxy; 0 leaves it out", kind=float)
    arguments.number(parser, "--slots", 2400, "of the fast proxy, about; 0 leaves it out")


def run(given):
    result = {}
    for name, wanted, kind in (("stock", given.minutes, Stock), ("fast", given.slots, Fast)):
        if not wanted:
            continue
        say(f"--- {name}")
        result[name], status = base.run(kind(given, wanted))
        if status:
            return None, status
    # The stock proxy is the reference; the fast one's figures stand beside it.
    return {**result.get("stock", {}), **{f"fast_{key}": value for key, value in result.get("fast", {}).items()}}, 0


class Pace(base.StackBench):
    def __init__(self, given, rows, rate, body, body_text):
        traffic = Traffic(rate=0, count=rows, seed=3)
        super().__init__(given, "pace", traffic, proxy_rate=rate, proxy_body=body_text)
        self.body = body

    def fill(self, **changes):
        """A stack with all messages in Kafka; spoolhouse is yet to start."""
        self.prepare(**changes)
        self.produce(READ_SECONDS_MAX)

    def backlog_lasts(self):
        if not parquet_files(self.spool, "ready"):
            raise Failure("the backlog was used up: the figures would say nothing")

    def inserts(self, since=0):
        return [line for line in read(self.access_log) if line.is_insert and line.time - line.seconds >= since]

    def reckon(self, offered):
        inserts = self.inserts()
        admitted = [line for line in inserts if line.admitted]
        refused = [line for line in inserts if line.status == 503]
        others = len(inserts) - len(admitted) - len(refused)
        if others:
            raise Failure(f"{others} inserts were neither admitted nor throttled; see {self.access_log}")
        fill = statistics.median(line.content_length for line in admitted) / self.body
        late = [line for line in refused if len(admitted) > 1 and line.time > admitted[1].time]
        self.result = {
            "slots_offered": offered,
            "slots_used": len(admitted),
            "refusals": len(refused),
            "refusals_after_second": len(late),
            "fill_median": round(fill, 4),
            "interval_learned_s": round(self.metric("spoolhouse_slot_interval_seconds"), 3),
        }
        print(
            f"offered {offered}, used {len(admitted)} ({len(admitted) / offered:.1%}), refused {len(refused)} "
            f"({len(late)} after the second slot), median fill {fill:.1%}, "
            f"learned {self.result['interval_learned_s']} s",
            flush=True,
        )
        return admitted, refused, late, fill

    @staticmethod
    def verdict(met):
        print("goal met" if met else "goal MISSED", flush=True)
        return True


class Stock(Pace):
    def __init__(self, given, minutes):
        self.seconds = minutes * 60
        slots = int(self.seconds / interval(STOCK_RATE)) + 2
        super().__init__(given, (slots + 2) * ROWS_PER_MIB, STOCK_RATE, STOCK_BODY, "")

    def steps(self):
        self.fill()
        self.start_owner()
        while not (first := [line for line in self.inserts() if line.admitted]):
            self.check_owner()
            time.sleep(1)
        begun = first[0].time - first[0].seconds
        while time.time() < begun + self.seconds:
            self.check_owner()
            time.sleep(1)
        # One that is under way is answered within a moment.
        time.sleep(2)
        self.backlog_lasts()
        offered = 1 + int((time.time() - 2 - begun) / interval(STOCK_RATE))
        admitted, _, late, fill = self.reckon(offered)
        return self.verdict(len(admitted) >= offered and not late and fill >= FILL_GOAL)


class Fast(Pace):
    def __init__(self, given, slots):
        self.slots = slots // len(FAST_RATES)
        rows = int(slots * 1.2 * FAST_BODY / STOCK_BODY * ROWS_PER_MIB)
        super().__init__(given, rows, FAST_RATES[0], FAST_BODY, FAST_BODY_TEXT)

    def steps(self):
        # Small segments, or each small batch would rewrite the rest of a large one.
        self.fill(
            spool={"roll_bytes": "64KiB", "max_bytes": "4GiB"},
            upload={"interval": FAST_INTERVAL, "max_body": f"{FAST_BODY}B"},
        )
        self.start_owner()
        # Reading is not what is tried here.
        self.wait_committed(READ_SECONDS_MAX)
        self.access_log.write_text("")
        offered = 0
        for rate in FAST_RATES:
            self.part("proxy").reload(rate)
            begun = time.time()
            while time.time() < begun + self.slots * interval(rate):
                self.check_owner()
                time.sleep(0.1)
            offered += (time.time() - begun) / interval(rate)
            print(f"{rate}: {len([line for line in self.inserts(begun) if line.admitted])} used", flush=True)
        self.backlog_lasts()
        admitted, refused, _, fill = self.reckon(round(offered))
        return self.verdict(
            len(admitted) >= USED_GOAL * offered and len(refused) <= REFUSED_GOAL * offered and fill >= FILL_GOAL
        )
