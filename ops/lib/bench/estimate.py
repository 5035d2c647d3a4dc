"""Is what `spoolhouse estimate` says what the tables take?

A day of each kind of traffic is loaded into the tables of sql/ in the ClickHouse
engine and merged: both profiles of `spoolhouse produce` at three rates, traffic that
is flatter, and traffic that is steeper. The smallest goes as the uploader sends it,
an insert per slot through the view; the others as so many batches leave it once they
are merged. Then rows and bytes of the log, the totals and their projections are
compared with `spoolhouse estimate --json`.

The costs in src/estimate/costs.rs were fitted to all data sets but the
steeper one, by --fit, which prints them; the steeper one was never used for that.

Each data set's figures are kept as soon as they are there, so that a run can be
taken up again, or made in parts with --only and --keep.
"""

import json
from dataclasses import dataclass

from bench import base
from totals import fit
from totals.one_day import in_batches, in_chunks
from totals.traffic import EngineTraffic
from trial.run import output_of, say

HELP = "what the estimate says of disk and rows, against the tables of the engine"
ERROR_GOAL = 0.15
LOG = "http_log"


@dataclass(frozen=True)
class DataSet:
    name: str
    traffic: EngineTraffic
    held_out: bool = False
    batches: bool = False  # insert by insert

    def estimated(self):
        """What the command says of it."""
        traffic = self.traffic
        words = ["--rate", f"{traffic.rate}/s", "--retention", "30d", "--profile", traffic.profile]
        if traffic.profile != "uniform":
            words += ["--resources", traffic.resources, "--networks", traffic.networks, "--skew", traffic.skew]
        return json.loads(output_of([base.BINARY, "estimate", *words, "--json"], f"the estimate of {self.name}"))


SETS = (
    DataSet("realistic-10", EngineTraffic("realistic", 10), batches=True),
    DataSet("realistic-50", EngineTraffic("realistic", 50)),
    DataSet("realistic-200", EngineTraffic("realistic", 200)),
    DataSet("uniform-10", EngineTraffic("uniform", 10)),
    DataSet("uniform-50", EngineTraffic("uniform", 50)),
    DataSet("uniform-200", EngineTraffic("uniform", 200)),
    DataSet("flatter-50", EngineTraffic("realistic", 50, 20_000, 200_000, 0.7)),
    DataSet("steeper-100", EngineTraffic("realistic", 100, 3_000, 20_000, 1.2), held_out=True),
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
    return base.run(Bench(given, "estimate"), given.keep)


class Bench(base.EngineBench):
    def steps(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        wanted = [each for each in SETS if not self.given.only or each.name in self.given.only]
        found = [(each, self.measured(each), each.estimated()) for each in wanted]
        if self.given.fit:
            fitted = [(each.traffic.profile, sizes, told) for each, sizes, told in found if not each.held_out]
            say(fit.constants(fitted))
        return self.judge(found)

    def measured(self, each):
        """{table or projection: (rows, bytes)}, merged."""
        file = self.dir / f"{each.name}.json"
        if file.exists():
            return json.loads(file.read_text())
        self.open_engine()
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
                fit.in_sql(part): part_said["rows"] / sizes[fit.in_sql(part)][0] - 1
                for part, part_said in said["parts"].items()
            }
            worst = max(rows, key=lambda name: abs(rows[name]))
            off = {"log": said["log_bytes"] / log - 1, "totals": said["totals_bytes"] / totals - 1}
            errors[each.name] = {name: round(share, 4) for name, share in off.items()}
            say(
                f"{each.name:15}{log / 2**20:9.1f}{said['log_bytes'] / 2**20:9.1f}{off['log']:8.1%}"
                f"{totals / 2**20:9.1f}{said['totals_bytes'] / 2**20:9.1f}{off['totals']:8.1%}"
                f"   {rows[worst]:.2%} {worst}{'; held out' if each.held_out else ''}"
            )
        most = max(abs(share) for off in errors.values() for share in off.values())
        held_out = [each.name for each, _, _ in found if each.held_out]
        self.result = {"errors": errors, "error_max": most, "held_out": held_out}
        say(f"off by at most {ERROR_GOAL:.0%}: {'met' if most <= ERROR_GOAL else 'MISSED'} ({most:.1%})")
        return most <= ERROR_GOAL
