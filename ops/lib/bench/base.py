"""What the benches have in common: where they work, what they measure, what they hand back.

Invariant: a bench has a `result` only once what it measured was counted back;
every bench works in a directory of its own, below target/.
"""

import shutil

from stack.parts import PARTS, ROOT
from totals.engine import Engine
from trial.base import Trial
from trial.run import Failure, carry_out, say

RELEASE = ROOT / "target/release"
BINARY = RELEASE / "spoolhouse"
RETENTION_MS = 24 * 3600 * 1000  # nothing may go while a bench reads it again, or late
CLOSED_PORT = 1  # nobody listens there


def directory(name):
    return ROOT / f"target/bench-{name}"


def program(name):
    """A program of tests/bench, built for release."""
    # Cargo names the file after a hash; the newest is the one just built.
    found = [file for file in (RELEASE / "deps").glob(f"{name}-*") if not file.suffix]
    if not found:
        raise Failure(f"{name} is not built; ops/bench builds it")
    return max(found, key=lambda file: file.stat().st_mtime)


def run(bench, keep=False):
    """(result, exit status) of a bench."""
    status = carry_out("ops/bench", bench, keep)
    return bench.result, status


def verdict(*goals):
    """Prints which of [(goal, whether it is met)] are; whether all are."""
    for goal, met in goals:
        say(f"{goal}: {'met' if met else 'MISSED'}")
    return all(met for _, met in goals)


class Bench:
    """One that needs no stack."""

    def __init__(self, given, name):
        self.given, self.dir, self.result = given, directory(name), None

    def empty(self):
        """Its directory, with nothing of an earlier run in it."""
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)

    def stop_all(self):
        """Nothing of it runs on."""


class EngineBench(Bench):
    """One that asks the ClickHouse engine in this process."""

    def __init__(self, given, name):
        super().__init__(given, name)
        self.engine = None

    def open_engine(self):
        self.engine = self.engine or Engine(self.dir / "clickhouse")

    def stop_all(self):
        if self.engine:
            self.engine.close()


class StackBench(Trial):
    """One on a stack of its own, with the release build."""

    def __init__(self, given, name, traffic, parts=tuple(PARTS), **settings):
        super().__init__(directory(name), traffic, BINARY, parts, **{"retention_ms": RETENTION_MS} | settings)
        self.given, self.result = given, None
