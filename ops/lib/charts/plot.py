"""Draws both dashboards with real data: their own queries, answered by real servers.

The traffic: a day of synthetic, realistic records (`spoolhouse produce`), masked,
in hourly batches through http_log and its view into the ClickHouse engine. The
pipeline: Kafka, spoolhouse, nginx at one request a minute and ClickHouse, watched
by Prometheus. Both in a directory of their own, on ports of their own.

Invariant: a picture shows what the queries in the dashboards' files answered;
every row that was produced is in the totals before anything is asked.
"""

import json
import os
import shutil
import time
import urllib.parse
import urllib.request

import duckdb

from charts import draw, expand, read
from charts.draw import Line
from stack.parts import ROOT
from stack.process import Daemon
from trial.base import Trial
from trial.run import TICK_SECONDS, Failure, carry_out
from trial.traffic import START_SECONDS, Traffic

DIR = ROOT / "target/charts"
PICTURES = ROOT / "ops/grafana"
DAY, HOUR = 86400, 3600
SCRAPE_SECONDS = 5
ALL = [expand.ALL]


def add_arguments(parser):
    parser.add_argument("name", choices=["traffic", "pipeline"], help="which dashboard")
    parser.add_argument("--rate", type=int, help="messages per second [traffic 10, pipeline 900]")
    parser.add_argument("--minutes", type=int, default=10, help="how long the pipeline runs [10]")
    parser.add_argument("--seed", type=int, default=1, help="of the messages [1]")


def run(given):
    plot = {"traffic": TrafficPlot, "pipeline": PipelinePlot}[given.name](given)
    return carry_out("ops/charts", plot)


def board(uid):
    return next(board for board in read.read(PICTURES / "provisioning/dashboards") if board["uid"] == uid)


class TrafficPlot(Trial):
    def __init__(self, given):
        rate = given.rate or 10
        super().__init__(DIR, Traffic(rate, rate * DAY, given.seed, profile="realistic"), parts=("clickhouse",))

    def watch(self, group):
        """No Kafka here."""

    def steps(self):
        self.prepare()
        rows = self.dir / "expected.ndjson"
        self.traffic.expected(self.binary, rows)
        self.load(rows)
        first = START_SECONDS // HOUR * HOUR + HOUR
        view = expand.View(
            first,
            first + DAY - 2 * HOUR,
            600,
            dict.fromkeys(("resource", "status", "cache", "address"), ALL) | {"top": "10", "by": "requests"},
        )
        title = f"Spoolhouse: traffic    ({self.traffic.count:,} synthetic records of one day)"
        file = PICTURES / "traffic.png"
        draw.dashboard(board("spoolhouse-traffic"), FromClickHouse(self.clickhouse, view), title, file)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size} bytes")
        return True

    def load(self, file):
        db = duckdb.connect()
        db.execute(
            r"CREATE TABLE log AS SELECT * REPLACE (regexp_replace(remote_addr, '\d+$', 'X') AS remote_addr, "
            "timestamp::UINTEGER AS timestamp) FROM read_json(?, format='newline_delimited')",
            [str(file)],
        )
        batch = self.dir / "batch.parquet"
        last = db.execute("SELECT max(timestamp) FROM log").fetchone()[0]
        for begin in range(START_SECONDS // HOUR * HOUR, last + 1, HOUR):
            db.execute(
                f"COPY (SELECT * FROM log WHERE timestamp BETWEEN {begin} AND {begin + HOUR - 1}) "
                f"TO '{batch}' (FORMAT parquet)"
            )
            self.clickhouse.query(f"INSERT INTO http_log SELECT * FROM file('{batch}', Parquet)")
        counted = self.clickhouse.numbers("SELECT sum(requests) FROM http_log_totals")[0]
        if counted != self.traffic.count:
            raise Failure(f"{self.traffic.count} records were produced, the totals have {counted}")


class FromClickHouse:
    """What the panels' SQL answers."""

    def __init__(self, server, view):
        self.server, self.view = server, view

    def title(self, panel):
        return expand.variables(panel["title"], self.view)

    def __call__(self, panel):
        text = expand.sql(panel["targets"][0]["rawSql"], self.view)
        answer = json.loads(
            self.server.query(
                text
                + "\nSETTINGS output_format_json_quote_64bit_integers = 0, date_time_output_format = 'unix_timestamp' "
                "FORMAT JSONCompact"
            )
        )
        columns, rows = [column["name"] for column in answer["meta"]], answer["data"]
        if panel["type"] == "stat":
            return rows[0][0]
        if panel["type"] == "table":
            return columns, rows
        labelled = "String" in answer["meta"][1]["type"]
        lines = {}
        for moment, *values in rows:
            named = [(values[0], values[1])] if labelled else zip(columns[1:], values, strict=True)
            for name, value in named:
                times, amounts = lines.setdefault(name, ([], []))
                times.append(int(moment))
                amounts.append(value)
        return [Line(name, *both) for name, both in lines.items()]


class PipelinePlot(Trial):
    def __init__(self, given):
        rate = given.rate or 900
        super().__init__(DIR, Traffic(rate, rate * given.minutes * 60, given.seed, 0.02, "realistic"))
        self.minutes = given.minutes
        self.prometheus = Daemon("prometheus", DIR)
        self.prometheus_port = int(os.environ.get("PROMETHEUS_PORT") or 30126)

    def steps(self):
        program = shutil.which("prometheus")
        if not program:
            raise Failure("there is no Prometheus here: ops/setup --with-prometheus")
        self.prepare()
        self.start_owner()
        self.start_prometheus(program)
        begun = time.time()
        self.start_producer()
        # A busy machine may not produce as fast as it was asked to.
        while self.producer_process.poll() is None and time.time() < begun + self.minutes * 60:
            self.check_owner()
            time.sleep(TICK_SECONDS)
        self.producer.terminate()
        self.producer_done()
        draw_pipeline(self.prometheus_port, int(begun), int(time.time()), self.sent["messages"])
        return True

    def start_prometheus(self, program):
        config = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s"},
            "scrape_configs": [
                {"job_name": "spoolhouse", "static_configs": [{"targets": [f"127.0.0.1:{self.settings.metrics_port}"]}]}
            ],
        }
        file = self.dir / "prometheus.json"
        file.write_text(json.dumps(config))  # JSON is YAML
        self.prometheus.start(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={self.dir / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
            ],
            cwd=self.dir,
        )

    def stop_all(self):
        self.prometheus.terminate()
        self.prometheus.wait_stopped()
        super().stop_all()


def draw_pipeline(port, begun, end, messages):
    view = expand.View(begun, end, 15, {"instance": ALL})
    title = f"Spoolhouse: pipeline    ({messages:,} records in {(end - begun) / 60:.0f} minutes, one request a minute)"
    file = PICTURES / "pipeline.png"
    draw.dashboard(board("spoolhouse-health"), FromPrometheus(port, view), title, file)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size} bytes")


class FromPrometheus:
    """What the panels' PromQL answers."""

    def __init__(self, port, view):
        self.base, self.view = f"http://127.0.0.1:{port}/api/v1/", view

    def title(self, panel):
        return panel["title"]

    def ask(self, path, **parameters):
        with urllib.request.urlopen(f"{self.base}{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:
            return json.load(answer)["data"]["result"]

    def __call__(self, panel):
        lines = []
        for target in panel["targets"]:
            text = expand.promql(target["expr"], self.view)
            if panel["type"] == "stat":
                found = self.ask("query", query=text, time=self.view.end)
                return float(found[0]["value"][1]) if found else None
            for series in self.ask(
                "query_range", query=text, start=self.view.start, end=self.view.end, step=self.view.interval
            ):
                name = target["legendFormat"]
                for label, value in series["metric"].items():
                    name = name.replace("{{" + label + "}}", value)
                times, values = zip(*((moment, float(value)) for moment, value in series["values"]), strict=True)
                lines.append(Line(name, list(times), list(values)))
        return lines
