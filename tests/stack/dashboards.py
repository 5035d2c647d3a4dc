"""Are the dashboards right? Driven by dashboards.rs; prints what is wrong and exits with 1.

  macros                     what the expander makes of the examples of the plugin's documentation
  traffic PORT DATABASE      every SQL query of every dashboard's file, run against
                             tables that get rows here, compared with a plain sum
                             over those rows
  health FILE                every PromQL expression against what /metrics answered

Invariant: a panel or variable without an expectation here is a failure, and so
is an expectation without a panel.
"""

import argparse
import contextlib
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import promql_parser

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ops/lib"))

from charts import expand  # noqa: E402
from charts import read as charts_read  # noqa: E402
from charts.expand import ALL, View  # noqa: E402
from stack.clickhouse import ClickHouse  # noqa: E402

DASHBOARDS = ROOT / "ops/grafana/provisioning/dashboards"
COLUMN = {"resource": "resource_id", "status": "response_status", "cache": "cache_status", "address": "remote_addr"}
DAY = 86400
FIRST_DAY = 1_767_312_000  # 2026-01-02, midnight UTC
DAYS = 4
PROBLEMS_MAX = 20
HIT = {"HIT", "STALE", "UPDATING", "REVALIDATED"}


# --- macros ---------------------------------------------------------------

# What the plugin's documentation says that a macro becomes.
EXAMPLES = [
    ("$__timeFilter(time)", "time >= toDateTime(1415792726) AND time <= toDateTime(1447328726)"),
    ("$__fromTime", "toDateTime(1415792726)"),
    ("$__toTime", "toDateTime(1447328726)"),
    ("$__interval_s", "20"),
    ("$__timeInterval(column)", "toStartOfInterval(toDateTime(column), INTERVAL 20 second)"),
    (
        "SELECT count() FROM system.tables WHERE $__conditionalAll(database IN (${database:singlequote}), $database)",
        "SELECT count() FROM system.tables WHERE database IN ('db1','db2')",
    ),
    (
        "SELECT count() FROM system.tables WHERE $__conditionalAll(database IN (${every:singlequote}), $every)",
        "SELECT count() FROM system.tables WHERE 1=1",
    ),
    (
        "SELECT stuff WHERE $__conditionalAll(a in (${database:singlequote}), $database) and $__conditionalAll(b in ($b), $every);",
        "SELECT stuff WHERE a in ('db1','db2') and 1=1;",
    ),
    ("name = ${quoted:singlequote}", r"name = 'it\'s'"),
]
REFUSED = ["$__dateFilter(time)", "$nobody", "${database:csv}", "$every", "$__timeFilter", "$__conditionalAll(a, b)"]


def check_macros():
    view = View(1415792726, 1447328726, 20, {"database": ["db1", "db2"], "every": [ALL], "quoted": "it's"})
    for text, wanted in EXAMPLES:
        if (got := expand.sql(text, view)) != wanted:
            yield f"{text} becomes {got}, not {wanted}"
    for text in REFUSED:
        with contextlib.suppress(expand.Unknown):
            yield f"{text} is not refused, it becomes {expand.sql(text, view)}"


# --- traffic --------------------------------------------------------------


def rows(count=20_000):
    """A log of some days in which a few resources and networks get most requests."""
    draw = random.Random(7)
    resources = [draw.randrange(10**9) for _ in range(60)]
    networks = [f"{draw.randrange(1, 224)}.{draw.randrange(256)}.{draw.randrange(256)}.X" for _ in range(200)]
    return pd.DataFrame(
        {
            "timestamp": [FIRST_DAY + draw.randrange(DAYS * DAY) for _ in range(count)],
            "resource_id": [resources[int(60 * draw.random() ** 3)] for _ in range(count)],
            "bytes_sent": [draw.randrange(5_000_000) for _ in range(count)],
            "request_time_milli": [draw.randrange(60_000) for _ in range(count)],
            "response_status": draw.choices([200, 206, 304, 404, 500, 503], [80, 5, 5, 5, 3, 2], k=count),
            "cache_status": draw.choices(["HIT", "MISS", "EXPIRED", "STALE", "it's"], [60, 20, 10, 5, 5], k=count),
            "method": ["GET"] * count,
            "remote_addr": [networks[int(200 * draw.random() ** 3)] for _ in range(count)],
            "url": [f"/{place}" for place in range(count)],
        }
    )


def insert(server, log):
    """In batches whose keys overlap; one is sent twice, as after an unknown outcome."""
    for place in range(4):
        batch = log.iloc[place::4]
        body = "\n".join(json.dumps(row) for row in batch.to_dict("records"))
        for _ in range(1 + (place == 2)):
            server.query(
                f"INSERT INTO http_log SETTINGS insert_deduplication_token = 'batch {place}', async_insert = 0, "
                f"deduplicate_blocks_in_dependent_materialized_views = 1 FORMAT JSONEachRow\n{body}"
            )


class Log:
    """The raw rows as a view shows them; every figure a plain sum over them."""

    def __init__(self, log, view):
        minute = log["timestamp"] // 60 * 60
        seen = (minute >= view.start) & (minute <= view.end)
        for variable, column in COLUMN.items():
            if view.chosen[variable] != [ALL]:
                seen &= log[column].astype(str).isin(view.chosen[variable])
        self.rows = log[seen].assign(time=minute[seen] // view.interval * view.interval)
        self.view = view

    def top(self, column):
        by = self.view.chosen["by"]
        groups = self.rows.groupby(column)
        amount = groups.size() if by == "requests" else groups[by].sum()
        ranked = sorted(amount.items(), key=lambda item: (-item[1], item[0]))
        return [value for value, _ in ranked[: int(self.view.chosen["top"])]]

    def over_time(self, *measures):
        return {
            (self.clock(time),): [measure(part, self.view.interval) for measure in measures]
            for time, part in self.rows.groupby("time")
        }

    def over_time_by(self, measure, variable, limited=False):
        column = COLUMN[variable]
        kept = self.rows[self.rows[column].isin(self.top(column))] if limited else self.rows
        return {
            (self.clock(time), str(value)): [measure(part, self.view.interval)]
            for (time, value), part in kept.groupby(["time", column])
        }

    def figure(self, measure):
        return {(): [measure(self.rows, self.view.end - self.view.start)]}

    def ranking(self, variable):
        column = COLUMN[variable]
        return {
            (str(value),): [len(part), part["bytes_sent"].sum(), hits(part, 0), mean_time(part, 0)]
            for value in self.top(column)
            for part in [self.rows[self.rows[column] == value]]
        }

    @staticmethod
    def clock(seconds):
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def requests(part, _):
    return len(part)


def rate(part, seconds):
    return len(part) / seconds


def bandwidth(part, seconds):
    return part["bytes_sent"].sum() * 8 / seconds


def hits(part, _):
    return part["cache_status"].isin(HIT).mean()


def answered(hundreds):
    return lambda part, _: (part["response_status"] // 100 == hundreds).mean()


def mean_time(part, _):
    return part["request_time_milli"].mean()


EXPECTED = {
    "Requests": lambda log: log.figure(requests),
    "Mean rate": lambda log: log.figure(rate),
    "Mean bandwidth": lambda log: log.figure(bandwidth),
    "Hit ratio": lambda log: log.figure(hits),
    "Server errors": lambda log: log.figure(answered(5)),
    "Mean request time": lambda log: log.figure(mean_time),
    "Requests per second": lambda log: log.over_time(rate),
    "Bandwidth": lambda log: log.over_time(bandwidth),
    "Hit ratio over time": lambda log: log.over_time(hits),
    "Errors": lambda log: log.over_time(answered(4), answered(5)),
    "Mean request time over time": lambda log: log.over_time(mean_time),
    "Requests per second by status": lambda log: log.over_time_by(rate, "status"),
    "Bandwidth by status": lambda log: log.over_time_by(bandwidth, "status"),
    "Requests per second by cache status": lambda log: log.over_time_by(rate, "cache"),
    "Bandwidth by cache status": lambda log: log.over_time_by(bandwidth, "cache"),
    "Requests per second by resource, the first $top by $by": lambda log: log.over_time_by(rate, "resource", True),
    "Bandwidth by resource, the first $top by $by": lambda log: log.over_time_by(bandwidth, "resource", True),
    "Resource: the first $top by $by": lambda log: log.ranking("resource"),
    "Requests per second by address, the first $top by $by": lambda log: log.over_time_by(rate, "address", True),
    "Bandwidth by address, the first $top by $by": lambda log: log.over_time_by(bandwidth, "address", True),
    "Address: the first $top by $by": lambda log: log.ranking("address"),
}
RANKED = {"Resource: the first $top by $by", "Address: the first $top by $by"}


def views(log):
    """Time ranges within a day, over midnight and over whole days, with all and with chosen values."""
    noon = FIRST_DAY + DAY + DAY // 2
    ranges = [
        (noon + 17, noon + 3 * 3600 + 5, 60),
        (FIRST_DAY + DAY - 5000, FIRST_DAY + DAY + 5000, 120),
        (FIRST_DAY + 40_000, FIRST_DAY + 3 * DAY + 40_059, 1800),
    ]
    frequent = {
        variable: [str(value) for value in log[column].value_counts().index[:3]] for variable, column in COLUMN.items()
    }
    everything = {variable: [ALL] for variable in COLUMN}
    choices = [everything, everything | {"cache": ["it's"]}, everything | {"status": ["200", "500"], "cache": ["HIT"]}]
    for place, (variable, values) in enumerate(frequent.items()):
        choices.append(everything | {variable: values[: 1 + place % 3]})
    choices.append(dict(frequent))
    for start, end, interval in ranges:
        # Everything that can be chosen where there are days and edges, a part of it elsewhere.
        for place, choice in enumerate(choices if end - start > DAY else choices[::3]):
            by = ("requests", "bytes_sent", "request_time_milli")[place % 3]
            yield View(start, end, interval, choice | {"top": "5" if place % 2 else "10", "by": by})


def everything_chosen(view):
    return all(view.chosen[variable] == [ALL] for variable in COLUMN)


def ask(server, text):
    """Columns and rows; numbers as floats, whatever ClickHouse quotes."""
    answer = json.loads(
        server.query(text + "\nSETTINGS output_format_json_quote_64bit_integers = 0 FORMAT JSONCompact")
    )
    return answer["meta"], answer["data"]


def differences(query, meta, got, wanted):
    """What an answer has wrong: its form, as Grafana needs it, and its figures."""
    types = [column["type"] for column in meta]
    keys = len(next(iter(wanted)))
    timed = query.panel["type"] == "timeseries"
    if timed and (meta[0]["name"] != "time" or not types[0].startswith("DateTime")):
        yield f"the first column is no time: {meta[0]}"
    if timed and [row[0] for row in got] != sorted(row[0] for row in got):
        yield "times are not in order"
    # A label that is no text would be drawn as a value.
    if any("String" not in kind for kind in types[timed:keys]) or any("String" in kind for kind in types[keys:]):
        yield f"labels and values: {types}"
    found = {tuple(row[:keys]): row[keys:] for row in got}
    if len(found) != len(got):
        yield "a key comes twice"
    if query.title in RANKED and list(found) != list(wanted):
        yield f"ranked {list(found)}, not {list(wanted)}"
    if found.keys() != wanted.keys():
        yield f"{len(found)} keys, not {len(wanted)}; for example {sorted(found.keys() ^ wanted.keys())[:3]}"
    for key in found.keys() & wanted.keys():
        if any(abs(one - other) > 1e-9 * abs(other) for one, other in zip(found[key], wanted[key], strict=True)):
            yield f"{key}: {found[key]}, not {wanted[key]}"
            break


def check_traffic(port, database):
    server = ClickHouse(port, database)
    log = rows()
    insert(server, log)
    asked = [query for board in charts_read.read(DASHBOARDS) for query in charts_read.queries(board) if query.sql]
    titles = {query.title for query in asked if query.panel}
    for title in titles ^ EXPECTED.keys():
        yield f"{title}: {'nothing is expected of it' if title in titles else 'there is no such panel'}"
    runs = 0
    for view in views(log):
        shown = Log(log, view)
        for query in asked:
            where = f"{query.title}, {view}"
            if "http_log_totals" not in query.sql or re.search(r"\bFROM (?!http_log_totals\b|\()", query.sql):
                yield f"{where}: asks something else than http_log_totals"
            if query.panel is None and everything_chosen(view):
                yield from (f"{where}: {problem}" for problem in wrong_options(server, query, log, view))
            elif query.title in EXPECTED and query.panel:
                meta, got = ask(server, expand.sql(query.sql, view))
                wanted = EXPECTED[query.title](shown)
                if not got or not wanted:
                    yield f"{where}: empty"
                else:
                    yield from (f"{where}: {problem}" for problem in differences(query, meta, got, wanted))
            else:
                continue
            runs += 1
    print(f"{runs} runs of {len(asked)} queries over {len(log)} rows")


def wrong_options(server, query, log, view):
    """A variable lists every value of the time range, the most requested first."""
    every = View(view.start, view.end, view.interval, view.chosen | {"top": "1000", "by": "requests"})
    _, got = ask(server, expand.sql(query.sql, view))
    wanted = [str(value) for value in Log(log, every).top(COLUMN[query.title])]
    if [row[0] for row in got] != wanted:
        yield f"lists {got[:3]}, not {wanted[:3]}"


# --- health ---------------------------------------------------------------

OF_PROMETHEUS = {"instance", "job", "le"}  # labels that it adds, or a histogram has
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? \S+$")


def exported(text):
    """Labels by name of every series that /metrics showed."""
    names = {}
    for line in text.splitlines():
        if found := SAMPLE.match(line):
            names.setdefault(found[1], set()).update(re.findall(r'(\w+)="', found[2] or ""))
    return names


def check_health(file):
    names = exported(Path(file).read_text())
    view = View(0, 3600, 60, {"instance": [ALL]})
    asked = [query for board in charts_read.read(DASHBOARDS) for query in charts_read.queries(board) if query.promql]
    expressions = []
    for query in asked:
        text = expand.promql(query.promql, view)
        if query.panel is None:
            text = re.fullmatch(r"label_values\((\w+), \w+\)", text)[1]
        try:
            promql_parser.parse(text)
        except ValueError as error:
            yield f"{query.title}: {text}: {error}"
            continue
        expressions.append(text)
        metrics = set(re.findall(r"\bspoolhouse_\w+", text))
        if not metrics:
            yield f"{query.title}: {text} names no metric"
        for name in sorted(metrics - names.keys()):
            yield f"{query.title}: /metrics has no {name}"
        known = OF_PROMETHEUS.union(*(names.get(name, ()) for name in metrics))
        used = set(re.findall(r"\b(\w+)=~?\"", text)) | set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        for group in re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", text):
            used |= {label.strip() for label in group.split(",")}
        for label in sorted(used - known):
            yield f"{query.title}: {text}: no series of it has the label {label}"
    yield from refused_by_promtool(expressions)
    print(f"{len(expressions)} expressions, {len(names)} metrics")


def refused_by_promtool(expressions):
    """Prometheus's own parser, where it is installed."""
    if not shutil.which("promtool"):
        return
    with tempfile.NamedTemporaryFile("w", suffix=".json") as rules:
        group = {
            "name": "panels",
            "rules": [{"record": f"p:{place}", "expr": expression} for place, expression in enumerate(expressions)],
        }
        json.dump({"groups": [group]}, rules)  # JSON is YAML
        rules.flush()
        done = subprocess.run(["promtool", "check", "rules", rules.name], capture_output=True, text=True, check=False)
        if done.returncode:
            yield done.stdout + done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("macros")
    traffic = commands.add_parser("traffic")
    traffic.add_argument("port", type=int)
    traffic.add_argument("database")
    commands.add_parser("health").add_argument("file")
    given = vars(parser.parse_args())
    check = {"macros": check_macros, "traffic": check_traffic, "health": check_health}[given.pop("command")]
    problems = list(itertools.islice(check(**given), PROBLEMS_MAX))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
