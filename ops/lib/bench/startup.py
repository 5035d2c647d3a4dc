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
import shutil
import statistics
import subprocess
import time

from bench.ingest import RELEASE
from stack.parts import ROOT, Settings, listening
from trial.base import Failure, toml

HELP = "seconds and memory until a spool of very many files is open and verified, against a plain loop"
DIR = ROOT / "target/bench-startup"
CLOSED_PORT = 1
START_SECONDS_MAX = 300
OPEN_SECONDS_GOAL, PEAK_MIB_GOAL = 5, 200


def add_arguments(parser):
    parser.add_argument("--files", type=int, default=100_000, metavar="N", help="segments that wait [100000]")
    parser.add_argument("--batches", type=int, default=2_000, metavar="N", help="frozen batches [2000]")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each kind, taken in turns [3]")


def run(given):
    bench = Bench(given)
    try:
        result = bench.steps()
    except Failure as failure:
        print(f"ops/bench: {failure}; kept: {DIR}")
        return None, 1
    shutil.rmtree(DIR)
    good = result["open_seconds"] <= OPEN_SECONDS_GOAL and result["open_peak_mib"] <= PEAK_MIB_GOAL
    print(f"goal: open within {OPEN_SECONDS_GOAL} s and {PEAK_MIB_GOAL} MiB: {'reached' if good else 'missed'}")
    return result, 0 if good else 1


class Bench:
    def __init__(self, given):
        self.given, self.port = given, Settings.from_environment().metrics_port
        self.spool, self.config = DIR / "spool", DIR / "spoolhouse.toml"
        found = (file for file in (RELEASE / "deps").glob("spool-*") if not file.suffix)
        self.program = max(found, key=lambda file: file.stat().st_mtime)

    def steps(self):
        shutil.rmtree(DIR, ignore_errors=True)
        DIR.mkdir(parents=True)
        self.config.write_text(
            toml(
                {
                    "kafka": {"brokers": f"127.0.0.1:{CLOSED_PORT}"},
                    "spool": {"dir": str(self.spool)},
                    "upload": {"url": f"http://127.0.0.1:{CLOSED_PORT}"},
                    "observe": {"listen": f"127.0.0.1:{self.port}"},
                }
            )
        )
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
        plain, opened, open_peak, verified, verify_peak = zip(*rounds)
        steady = self.ask("look")
        print(
            f"with all of them waiting: a frozen batch {steady['frozen_seconds'] * 1000:.0f} ms, "
            f"a packed one {steady['packed_seconds'] * 1000:.0f} ms, "
            f"counting the rooms {steady['holdings_seconds'] * 1000:.0f} ms"
        )
        median = statistics.median
        return {
            "files": made["files"],
            "plain_seconds": round(median(plain), 3),
            "open_seconds": round(median(opened), 3),
            "open_ratio": round(median(o / p for o, p in zip(opened, plain)), 2),
            "open_peak_mib": round(max(open_peak), 1),
            "verify_seconds": round(median(verified), 3),
            "verify_ratio": round(median(v / p for v, p in zip(verified, plain)), 2),
            "verify_peak_mib": round(max(verify_peak), 1),
            **{f"{name}_ms": round(steady[f"{name}_seconds"] * 1000, 1) for name in ("frozen", "packed", "holdings")},
        }

    def ask(self, mode, *more):
        command = [self.program, mode, self.spool, *map(str, more)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"{mode} failed: {done.stderr}")
        return json.loads(done.stdout)

    def open(self):
        """Seconds until it answers, and the most MiB it took up to a second after."""
        if listening(self.port):
            raise Failure(f"port {self.port} is taken; METRICS_PORT chooses another one")
        with open(DIR / "spoolhouse.log", "wb") as log:
            begun = time.monotonic()
            process = subprocess.Popen(
                [RELEASE / "spoolhouse", "run", "--config", self.config], cwd=DIR, stdin=subprocess.DEVNULL, stderr=log
            )
        try:
            while b" started " not in (DIR / "spoolhouse.log").read_bytes():
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
        with open(DIR / "verify.log", "wb") as log:
            begun = time.monotonic()
            process = subprocess.Popen(
                [RELEASE / "spoolhouse", "verify", "--json", "--config", self.config],
                cwd=DIR,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise Failure(f"verify found faults, or failed (status {status}): verify.log tells which")
        return time.monotonic() - begun, usage.ru_maxrss / 1024
