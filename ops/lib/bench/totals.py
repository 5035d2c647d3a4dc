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
from pathlib import Path

from bench import base
from totals import limits, report
from totals.load import END, Load, realistic, sizes, uniform
from totals.queries import DIMENSIONS, MANY, SECONDS, Combination, Range, chart_of_top, combinations
from totals.report import SOURCES, Times
from totals.traffic import EngineTraffic, agreement, distinct_keys, produced
from trial import arguments
from trial.run import Failure, say
from trial.traffic import START, Traffic

HELP = "times of every kind of chart on a month of totals, bytes per row, what inserts cost"
AGREEMENT_GOAL = 0.03
MIDNIGHT = f"{START[:10]}T00:00:00Z"
PRODUCED = "timestamp UInt32, resource_id UInt64, response_status UInt16, cache_status String, remote_addr String"
# Frequent, middling and rare: the place among the resources and addresses, and a status and cache status.
VALUES = ((0, 200, "HIT"), (50, 404, "MISS"), (2000, 502, "STALE"))
SECONDS_MAX = 5  # of the warm runs of one query and value; one is always made
MINUTES_BEFORE_END = 37  # so that no range ends with a whole day


def add_arguments(parser):
    arguments.number(parser, "--rows", 100_000_000, "of realistic totals")
    parser.add_argument("--uniform-rows", type=int, metavar="N", help="of uniform totals [a fifth]")
    parser.add_argument("--compare-rows", type=int, metavar="N", help="of each table side by side [a tenth]")
    arguments.number(parser, "--rounds", 5, "warm runs of each query and value, fewer of those that take a second")
    parser.add_argument(
        "--out",
        type=Path,
        default=base.directory("totals-report"),
        metavar="DIR",
        help="where measured.md and measured.svg go [target/bench-totals-report]",
    )
    parser.add_argument("--keep", action="store_true", help="keep the data, to take other times from it")


def run(given):
    return base.run(Bench(given, "totals"), given.keep)


class Bench(base.EngineBench):
    def steps(self):
        rows = self.given.rows
        self.dir.mkdir(parents=True, exist_ok=True)
        self.open_engine()
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
            count = int(rate * 3600 * hours * 0.6)  # the first hour has 60 %
            file = self.dir / "produced.ndjson"
            Traffic(rate, count, seed=1, profile="realistic", start=MIDNIGHT).expected(base.BINARY, file)
            made = EngineTraffic("realistic", rate).rows(END, 0, count), produced(file, PRODUCED)
            counts = [[float(value) for value in self.engine.rows(distinct_keys(rows))[0]] for rows in made]
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
            charts += [
                self.time(name, Combination((), (dimension,)), [chart_of_top(dimension, time_range, by_day)])
                for dimension in MANY
            ]
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
            most.bytes_read,
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
        slowest = {month["profile"]: limits.slowest(month["measured"]) for month in months}
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
        verdicts = [limits.judge(profile, found) for profile, found in slowest.items()]
        return all(verdicts)


def worth_asking(found):
    """The dimensions whose sums by day are at most half as many as the rows."""
    rows = found["http_log_totals"][0]
    by_day = {"resource_id": "resource_by_day", "remote_addr": "address_by_day"}
    return tuple(d for d in MANY if 2 * found[f"http_log_totals.{by_day[d]}"][0] <= rows)
