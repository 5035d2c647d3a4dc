"""Reads the dashboards' files as Grafana would, knowing nothing of the code that wrote them.

Invariant: every query of a file is found: of panels, of panels within rows, of
variables; one that is neither SQL nor PromQL is an error.
"""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Query:
    dashboard: str  # its uid
    title: str  # of the panel, or the variable's name
    sql: str | None
    promql: str | None
    panel: dict | None  # None for a variable
    legend: str = ""


def panels(board):
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def read(directory):
    """All dashboards of a directory."""
    return [json.loads(file.read_text()) for file in sorted(directory.glob("*.json"))]


def queries(board):
    found = []
    for panel in panels(board):
        for target in panel["targets"]:
            sql, promql = target.get("rawSql"), target.get("expr")
            if (sql is None) == (promql is None):
                raise ValueError(f"{panel['title']}: a query of which kind? {target}")
            found.append(Query(board["uid"], panel["title"], sql, promql, panel, target.get("legendFormat", "")))
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            query = variable["query"]
            found.append(Query(board["uid"], variable["name"], query.get("rawSql"), query.get("query"), None))
    return found
