"""How long does a start take, and how much memory, when very many files wait?

A spool of small segments and some frozen batches is made by the project's own
encoders (tests/bench/spool.rs). Then in turns: a plain loop that lists it and
reads the last 8 KiB of every file; `spoolhouse run` until its status page
answers, which it does once the spool is open; `spoolhouse verify`. At the end
what a running process does all the time: giving out a frozen batch, packing
one, counting the rooms.

There is no broker and no proxy: neither is asked before the spool is open.
"""

import json
import os
import statistics
import subprocess
import time

from bench import base
from bench.base import BINARY, CLOSED_PORT
from stack.parts import Settings, listening
from trial import arguments
from trial.configuration import sections, toml
from trial.run import Failure, output_of, say

HELP = "seconds and memory until a spool of very many files is open and verified, against a plain loop"
START_SECONDS_MAX = 300
OPEN_SECONDS_GOAL, PEAK_MIB_GOAL = 5, 200


def add_arguments(parser):
    arguments.number(parser, "--files", 100_000, "segments that wait")
    arguments.number(parser, "--batches", 2_000, "frozen batches")
    arguments.number(parser, "--rounds", 3, "of each kind, taken in turns")


def run(given):
    return base.run(Bench(given, "startup"))


class Bench(base.Bench):
    def __init__(self, given, name):
        super().__init__(given, name)
        self.port = Settings.from_environment().metrics_port
        self.spool, self.config = self.dir / "spool", self.dir / "spoolhouse.toml"

    def steps(self):
        self.empty()
        self.config.write_text(toml(sections(self.spool, CLOSED_PORT, CLOSED_PORT, self.port)))
        made = self.ask("fill", self.given.files, self.given.batches)
        print(f"{made['files']} files made in {made['seconds']:.0f} s", flush=True)
        self.ask("plain")  # the first one fills the caches
        print(
            f"{'round':>5} {'plain s':>8} {'open s':>7} {'ratio':>6} {'MiB':>5} {'verify s':>9} {'ratio':>6} {'MiB':>5}"
        )
        rounds = []
        for number in range(1, self.given.rounds + 1):
            plain, opened, verified = self.ask("plain")["seconds"], self.open(), self.verify()
            rounds.append((plain, *opened, *verified))
            print(
                f"{number:5} {plain:8.2f} {opened[0]:7.2f} {opened[0] / plain:6.2f} {opened[1]:5.0f} "
                f"{verified[0]:9.2f} {verified[0] / plain:6.2f} {verified[1]:5.0f}",
                flush=True,
            )
        plain, opened, open_peak, verified, verify_peak = zip(*rounds, strict=True)
        steady = self.ask("look")
        print(
            f"with all of them waiting: a frozen batch {steady['frozen_seconds'] * 1000:.0f} ms, "
            f"a packed one {steady['packed_seconds'] * 1000:.0f} ms, "
            f"counting the rooms {steady['holdings_seconds'] * 1000:.0f} ms"
        )
        median = statistics.median
        self.result = {
            "files": made["files"],
            "plain_seconds": round(median(plain), 3),
            "open_seconds": round(median(opened), 3),
            "open_ratio": round(median(o / p for o, p in zip(opened, plain, strict=True)), 2),
            "open_peak_mib": round(max(open_peak), 1),
            "verify_seconds": round(median(verified), 3),
            "verify_ratio": round(median(v / p for v, p in zip(verified, plain, strict=True)), 2),
            "verify_peak_mib": round(max(verify_peak), 1),
            **{f"{name}_ms": round(steady[f"{name}_seconds"] * 1000, 1) for name in ("frozen", "packed", "holdings")},
        }
        good = self.result["open_seconds"] <= OPEN_SECONDS_GOAL and self.result["open_peak_mib"] <= PEAK_MIB_GOAL
        say(f"goal: open within {OPEN_SECONDS_GOAL} s and {PEAK_MIB_GOAL} MiB: {'reached' if good else 'missed'}")
        return good

    def ask(self, mode, *more):
        return json.loads(output_of([base.program("spool"), mode, self.spool, *more], mode))

    def open(self):
        """Seconds until it answers, and the most MiB it took up to a second after."""
        if listening(self.port):
            raise Failure(f"port {self.port} is taken; METRICS_PORT chooses another one")
        with open(self.dir / "spoolhouse.log", "wb") as log:
            begun = time.monotonic()
            process = subprocess.Popen(
                [BINARY, "run", "--config", self.config], cwd=self.dir, stdin=subprocess.DEVNULL, stderr=log
            )
        try:
            while b" started " not in (self.dir / "spoolhouse.log").read_bytes():
                if process.poll() is not None or time.monotonic() - begun > START_SECONDS_MAX:
                    raise Failure("it did not start: spoolhouse.log tells why")
                time.sleep(0.005)
            took = time.monotonic() - begun
            time.sleep(1)
        finally:
            process.kill()
            peak = os.wait4(process.pid, 0)[2].ru_maxrss / 1024
        return took, peak

    def verify(self):
        with open(self.dir / "verify.log", "wb") as log:
            begun = time.monotonic()
            process = subprocess.Popen(
                [BINARY, "verify", "--json", "--config", self.config],
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise Failure(f"verify found faults, or failed (status {status}): verify.log tells which")
        return time.monotonic() - begun, usage.ru_maxrss / 1024
