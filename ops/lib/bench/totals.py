"""How long do charts take to ask, on a month of totals, and what do they cost on disk?

A month of realistic totals and one of uniform ones is made in the ClickHouse
engine (totals_traffic.py; first its distinct keys per minute are held against
those of `spoolhouse produce`), in the tables of sql/: in bulk, but for the last
day, which comes in batches as the uploader sends them. Then every way to leave
alone, filter or group by the four dimensions is timed over the last hour, day
and 30 days: once cold (the engine's caches and the kernel's emptied), then warm,
with values that are frequent, middling and rare. At a tenth of the rows the same
queries go to the totals, to a plain SummingMergeTree and to the raw log, and
their answers must be equal.

Writes the tables and the picture to --out. A run that was interrupted goes on
where it was; one that ends removes its data unless told to --keep it.
"""

import itertools
import os
import statistics
import subprocess
from pathlib import Path

from stack.parts import ROOT
from totals import report
from totals.engine import Engine
from totals.load import END, Load, realistic, sizes, uniform
from totals.queries import DIMENSIONS, MANY, SECONDS, Combination, Range, chart_of_top, combinations
from totals.report import SOURCES, Times
from totals.traffic import Traffic, agreement, distinct_keys
from trial.base import START, Failure, carry_out

HELP = "times of every kind of chart on a month of totals, bytes per row, what inserts cost"
DIR = ROOT / "target/bench-totals"
RELEASE = ROOT / "target/release/spoolhouse"
AGREEMENT_GOAL = 0.03
CHART_MS_GOAL, TOP_ADDRESS_MS_GOAL, MONTH_MS_GOAL, MONTH_TOP_MS_GOAL = 250, 1000, 1000, 3000
PRODUCED = "timestamp UInt32, resource_id UInt64, response_status UInt16, cache_status String, remote_addr String"
# Frequent, middling and rare: the place among the resources and addresses, and a status and cache status.
VALUES = ((0, 200, "HIT"), (50, 404, "MISS"), (2000, 502, "STALE"))
SECONDS_MAX = 5  # of the warm runs of one query and value; one is always made
MINUTES_BEFORE_END = 37  # so that no range ends with a whole day


def add_arguments(parser):
    parser.add_argument("--rows", type=int, default=100_000_000, metavar="N", help="of realistic totals [100000000]")
    parser.add_argument("--uniform-rows", type=int, metavar="N", help="of uniform totals [a fifth]")
    parser.add_argument("--compare-rows", type=int, metavar="N", help="of each table side by side [a tenth]")
    parser.add_argument(
        "--rounds",
        type=int,
        default=5,
        metavar="N",
        help="warm runs of each query and value, fewer of those that take a second [5]",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=DIR.with_name("bench-totals-report"),
        metavar="DIR",
        help="where measured.md and measured.svg go [target/bench-totals-report]",
    )
    parser.add_argument("--keep", action="store_true", help="keep the data, to take other times from it")


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
        rows = self.given.rows
        self.dir.mkdir(parents=True, exist_ok=True)
        self.engine = Engine(self.dir / "clickhouse")
        agreed = self.compare_traffic()
        months = [
            self.month("realistic", realistic(rows)),
            self.month("uniform", uniform(self.given.uniform_rows or rows // 5)),
        ]
        compared = self.compare_tables(realistic(self.given.compare_rows or rows // 10))
        self.write(months, compared, agreed)
        return self.judge(months)

    def compare_traffic(self):
        """The rows made here must have as many distinct keys per minute as those of the producer."""
        lines = []
        for rate, hours in ((41, 1), (1000, 0.1)):
            traffic, count = Traffic("realistic", rate), int(rate * 3600 * hours * 0.6)  # the first hour has 60 %
            file = self.dir / "produced.ndjson"
            done = subprocess.run(
                [
                    RELEASE,
                    "produce",
                    "--dry-run",
                    "--expect",
                    file,
                    "--profile",
                    "realistic",
                    "--count",
                    str(count),
                    "--rate",
                    str(rate),
                    "--seed",
                    "1",
                    "--start",
                    f"{START[:10]}T00:00:00Z",
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise Failure(f"producing for comparison failed:\n{done.stderr}")
            produced = (
                f"SELECT * REPLACE (replaceRegexpOne(remote_addr, '[0-9]+$', 'X') AS remote_addr) "
                f"FROM file('{file}', JSONEachRow, '{PRODUCED}')"
            )
            counts = [
                [float(value) for value in self.engine.rows(distinct_keys(rows))[0]]
                for rows in (traffic.rows(END, 0, count), produced)
            ]
            file.unlink()
            off = agreement(*counts)
            lines.append((rate, *counts, off))
            say(f"{rate} messages a second, distinct keys per minute: here {counts[0]}, by the producer {counts[1]}")
            if off > AGREEMENT_GOAL:
                raise Failure(f"the traffic is not the producer's: {off:.1%} apart")
        return lines

    def month(self, profile, traffic):
        load = Load(self.engine, profile, traffic, say)
        load.bulk()
        cost = load.batches()
        found = sizes(self.engine, profile)
        rows = found["http_log_totals"][0]
        say(f"{profile}: {rows} rows of totals at {traffic.rate} messages a second; {cost}")
        measured, charts = self.measure(profile, worth_asking(found))
        return {
            "profile": profile,
            "traffic": traffic,
            "cost": cost,
            "sizes": found,
            "rows": rows,
            "measured": measured,
            "charts": charts,
        }

    def values(self):
        """What to filter by, from frequent to rare."""
        found = []
        for place, status, cache in VALUES:
            ranked = {
                d: self.engine.ask(
                    f"SELECT {d} FROM http_log_totals GROUP BY {d} "
                    f"ORDER BY sum(requests) DESC, {d} LIMIT 1 OFFSET {place}"
                )
                for d in MANY
            }
            found.append(
                {
                    "resource_id": int(ranked["resource_id"]),
                    "remote_addr": ranked["remote_addr"],
                    "response_status": status,
                    "cache_status": cache,
                }
            )
        return found

    def measure(self, profile, by_day):
        values, measured, charts = self.values(), [], []
        for name in SECONDS:
            time_range = Range.until(name, END - MINUTES_BEFORE_END * 60)
            for combination in combinations():
                queries = [
                    combination.sql(time_range, value, by_day=by_day)
                    for value in (values if combination.filters else values[:1])
                ]
                measured.append(self.time(name, combination, queries))
            for dimension in MANY:
                charts.append(
                    self.time(name, Combination((), (dimension,)), [chart_of_top(dimension, time_range, by_day)])
                )
            done = [times for times in measured if times.time_range == name]
            say(
                f"{profile}, {name}: {len(done)} kinds of query, the slowest: "
                + ", ".join(
                    f"{times.combination.name()} {times.p95():.0f} ms" for times in sorted(done, key=Times.p95)[:-6:-1]
                )
            )
        return measured, charts

    def time(self, name, combination, queries):
        self.engine.forget()
        cold, warm = self.engine.run(queries[0]), []
        for sql in queries:
            first = self.engine.run(sql)  # only warms it up, unless it takes too long to be run again
            rounds = min(self.given.rounds, int(SECONDS_MAX / first.seconds))
            warm += [self.engine.run(sql) for _ in range(rounds)] or [first]
        most = max(warm, key=lambda run: run.rows)
        return Times(
            name,
            combination,
            cold.seconds * 1000,
            tuple(run.seconds * 1000 for run in warm),
            most.rows,
            most.bytes,
            tuple(self.engine.read_from(queries[0])),
        )

    def compare_tables(self, traffic):
        """Filters alone and groups alone, of the same rows in three tables; equal answers, medians."""
        load = Load(self.engine, "compared", traffic, say)
        load.side_by_side()
        values, found = self.values()[0], {}
        subsets = [subset for size in range(5) for subset in itertools.combinations(DIMENSIONS, size)]
        kinds = [Combination(subset, ()) for subset in subsets] + [Combination((), subset) for subset in subsets[1:]]
        for name in SECONDS:
            time_range = Range.until(name, END - MINUTES_BEFORE_END * 60)
            for combination in kinds:
                answers, medians = {}, {}
                for source in SOURCES:
                    sql = combination.sql(
                        time_range, values, source, by_day=MANY if source == "http_log_totals" else None
                    )
                    runs = [self.engine.run(sql) for _ in range(4)]
                    answers[source] = runs[0].answer
                    medians[source] = statistics.median(run.seconds * 1000 for run in runs[1:])
                if len(set(answers.values())) > 1:
                    raise Failure(f"{name}, {combination.name()}: the tables do not agree")
                found[name, combination.name()] = medians
            say(f"side by side, {name}: {len(kinds)} kinds of query, equal answers")
        return {"traffic": traffic, "sizes": sizes(self.engine, "compared"), "medians": found}

    def write(self, months, compared, agreed):
        self.given.out.mkdir(parents=True, exist_ok=True)
        (self.given.out / "measured.md").write_text(report.document(months, compared, agreed, self.command()))
        for month in months:
            title = f"{month['rows']:,} rows of {month['profile']} totals over 30 days, {os.cpu_count()} cores"
            report.heat_maps(month["measured"], title, self.given.out / f"{month['profile']}.svg")
        report.bars(compared["medians"], self.given.out / "side-by-side.svg")
        say(f"written: {self.given.out}")

    def command(self):
        given = self.given
        said = [
            f"--{name.replace('_', '-')} {getattr(given, name)}"
            for name in ("rows", "uniform_rows", "compare_rows", "rounds")
            if getattr(given, name)
        ]
        return " ".join(("ops/bench totals", *said))

    def judge(self, months):
        realistic_month, uniform_month = months
        slowest = {month["profile"]: {key: worst(month["measured"], *key) for key in WORST} for month in months}
        rows, size = realistic_month["sizes"]["http_log"]
        total = sum(size for name, (_, size) in realistic_month["sizes"].items() if name.startswith("http_log_totals"))
        mine = slowest["realistic"]
        self.result = {
            "rows": realistic_month["rows"],
            "max_ms_1h": mine["1h", "chart"],
            "max_ms_1h_top_address": mine["1h", "address"],
            "max_ms_24h": mine["24h", "chart"],
            "max_ms_24h_top_address": mine["24h", "address"],
            "max_ms_30d": mine["30d", "chart"],
            "max_ms_30d_topn": mine["30d", "top"],
            "max_ms_30d_more": mine["30d", "more"],
            "max_ms_30d_pairs": mine["30d", "pairs"],
            "log_bytes_per_row": round(size / rows, 2),
            "totals_bytes_per_row": round(total / realistic_month["rows"], 2),
            "uniform_rows": uniform_month["rows"],
            "uniform_max_ms_30d": slowest["uniform"]["30d", "chart"],
            "uniform_max_ms_30d_topn": slowest["uniform"]["30d", "top"],
        }
        good = True
        for profile, found in slowest.items():
            for (name, kind), limit in WORST.items():
                reached = limit is None or found[name, kind] <= limit
                good &= reached
                against = "reported only" if limit is None else f"at most {limit}: {'met' if reached else 'MISSED'}"
                say(f"{profile}, {name}, {KINDS[kind]}: {found[name, kind]} ms, {against}")
        return good


KINDS = {
    "chart": "filters and groups",
    "address": "top by address",
    "top": "top by resource or address alone",
    "more": "top by either, with status or cache status",
    "pairs": "top by resource and address",
}
WORST = {
    ("1h", "chart"): CHART_MS_GOAL,
    ("1h", "address"): TOP_ADDRESS_MS_GOAL,
    ("24h", "chart"): CHART_MS_GOAL,
    ("24h", "address"): TOP_ADDRESS_MS_GOAL,
    ("30d", "chart"): MONTH_MS_GOAL,
    ("30d", "top"): MONTH_TOP_MS_GOAL,
    ("30d", "more"): MONTH_TOP_MS_GOAL,
    ("30d", "pairs"): None,
}


def worth_asking(found):
    """The dimensions whose sums by day are at most half as many as the rows."""
    rows = found["http_log_totals"][0]
    by_day = {"resource_id": "resource_by_day", "remote_addr": "address_by_day"}
    return tuple(d for d in MANY if 2 * found[f"http_log_totals.{by_day[d]}"][0] <= rows)


def kind(name, combination):
    """Which limit a query has."""
    if name != "30d":
        return "address" if "remote_addr" in combination.groups else "chart"
    if combination.ranks_pairs():
        return "pairs"
    if not (combination.is_top() and combination.has_sums_by_day()):
        return "chart"
    return "top" if len(combination.groups) == 1 else "more"


def worst(measured, name, wanted):
    """The largest p95 of a range's queries of this kind, in milliseconds."""
    found = (times.p95() for times in measured if times.time_range == name and kind(name, times.combination) == wanted)
    return round(max(found), 1)
