"""Is what `spoolhouse estimate` says what the tables take?

A day of each kind of traffic is loaded into the tables of sql/ in the ClickHouse
engine and merged: both profiles of `spoolhouse produce` at three rates, traffic that
is flatter, and traffic that is steeper. The smallest goes as the uploader sends it,
an insert per slot through the view; the others as so many batches leave it once they
are merged. Then rows and bytes of the log, the totals and their projections are
compared with `spoolhouse estimate --json`.

The costs in src/commands/estimate/costs.rs were fitted to all data sets but the
steeper one, by --fit, which prints them; the steeper one was never used for that.

Each data set's figures are kept as soon as they are there, so that a run can be
taken up again, or made in parts with --only and --keep.
"""

import json
import subprocess
from dataclasses import dataclass

from stack.parts import ROOT
from totals import fit as estimate_fit
from totals.engine import Engine
from totals.one_day import in_batches, in_chunks
from totals.traffic import Traffic
from trial.base import Failure, carry_out

HELP = "what the estimate says of disk and rows, against the tables of the engine"
DIR = ROOT / "target/bench-estimate"
RELEASE = ROOT / "target/release/spoolhouse"
ERROR_GOAL = 0.15
LOG = "http_log"


@dataclass(frozen=True)
class DataSet:
    name: str
    traffic: Traffic
    held_out: bool = False
    batches: bool = False  # insert by insert

    def arguments(self):
        given = self.traffic
        chosen = (
            []
            if given.profile == "uniform"
            else ["--resources", given.resources, "--networks", given.networks, "--skew", given.skew]
        )
        return [
            str(word)
            for word in ("--rate", f"{given.rate}/s", "--retention", "30d", "--profile", given.profile, *chosen)
        ]


SETS = (
    DataSet("realistic-10", Traffic("realistic", 10), batches=True),
    DataSet("realistic-50", Traffic("realistic", 50)),
    DataSet("realistic-200", Traffic("realistic", 200)),
    DataSet("uniform-10", Traffic("uniform", 10)),
    DataSet("uniform-50", Traffic("uniform", 50)),
    DataSet("uniform-200", Traffic("uniform", 200)),
    DataSet("flatter-50", Traffic("realistic", 50, 20_000, 200_000, 0.7)),
    DataSet("steeper-100", Traffic("realistic", 100, 3_000, 20_000, 1.2), held_out=True),
)


def add_arguments(parser):
    parser.add_argument(
        "--only", action="append", choices=[each.name for each in SETS], help="this data set, and others so named [all]"
    )
    parser.add_argument(
        "--fit", action="store_true", help="fit the costs to what was measured, and print them as they are in costs.rs"
    )
    parser.add_argument("--keep", action="store_true", help="keep what was measured, to go on with it")


def run(given):
    bench = Bench(given)
    status = carry_out("ops/bench", bench, bench.steps, given.keep)
    return bench.result, status


def say(text):
    print(text, flush=True)


class Bench:
    def __init__(self, given):
        self.given, self.dir, self.engine, self.result = given, DIR, None, None

    def stop_all(self):
        if self.engine:
            self.engine.close()

    def steps(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        wanted = [each for each in SETS if not self.given.only or each.name in self.given.only]
        found = [(each, self.measured(each), estimated(each)) for each in wanted]
        if self.given.fit:
            say(
                estimate_fit.constants(
                    [(each.traffic.profile, sizes, told) for each, sizes, told in found if not each.held_out]
                )
            )
        return self.judge(found)

    def measured(self, each):
        """{table or projection: (rows, bytes)}, merged."""
        file = self.dir / f"{each.name}.json"
        if file.exists():
            return json.loads(file.read_text())
        self.engine = self.engine or Engine(self.dir / "clickhouse")
        database = each.name.replace("-", "_")
        self.engine.ask(f"DROP DATABASE IF EXISTS {database} SYNC")
        sizes = (in_batches if each.batches else in_chunks)(self.engine, database, each.traffic, say)
        self.engine.ask(f"DROP DATABASE {database} SYNC")
        sizes = {name.removeprefix("http_log_totals."): size for name, size in sizes.items() if name.startswith(LOG)}
        file.write_text(json.dumps(sizes))
        return sizes

    def judge(self, found):
        errors = {}
        say(f"{'':15}{'log MiB':>9}{'said':>9}{'off':>8}{'totals':>9}{'said':>9}{'off':>8}   rows at most off")
        for each, sizes, told in found:
            log = sizes[LOG][1]
            totals = sum(size for name, (_, size) in sizes.items() if name != LOG)
            said = told["per_day"]
            rows = {
                part_name(part): part_said["rows"] / sizes[part_name(part)][0] - 1
                for part, part_said in said["parts"].items()
            }
            worst = max(rows, key=lambda name: abs(rows[name]))
            off = {"log": said["log_bytes"] / log - 1, "totals": said["totals_bytes"] / totals - 1}
            errors[each.name] = {name: round(share, 4) for name, share in off.items()}
            say(
                f"{each.name:15}{log / 2**20:9.1f}{said['log_bytes'] / 2**20:9.1f}{off['log']:8.1%}"
                f"{totals / 2**20:9.1f}{said['totals_bytes'] / 2**20:9.1f}{off['totals']:8.1%}   {rows[worst]:.2%} {worst}"
                f"{'; held out' if each.held_out else ''}"
            )
        most = max(abs(share) for off in errors.values() for share in off.values())
        held_out = [each.name for each, _, _ in found if each.held_out]
        self.result = {"errors": errors, "error_max": most, "held_out": held_out}
        say(f"off by at most {ERROR_GOAL:.0%}: {'met' if most <= ERROR_GOAL else 'MISSED'} ({most:.1%})")
        return most <= ERROR_GOAL


def part_name(part):
    """As sql/ has it."""
    return {"log": LOG, "totals": "http_log_totals"}.get(part, part)


def estimated(each):
    done = subprocess.run(
        [RELEASE, "estimate", *each.arguments(), "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise Failure(f"the estimate of {each.name} failed:\n{done.stderr}")
    return json.loads(done.stdout)
