"""What a panel's query becomes on its way to the server: variables and macros.

Job: the part of Grafana and of its ClickHouse plugin (4.x) between a dashboard's
file and the query that is run, for exactly the macros that the dashboards use.

Invariant: whatever is not known here is an error; nothing is passed on as it is.
The order is the plugin's: first $__conditionalAll, then variables, then the
macros of its backend. tests/dashboards.py holds all of them to the examples of
the plugin's documentation.
"""

import re
from dataclasses import dataclass, field

ALL = "$__all"
VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(?!__)(\w+)")
MACRO = re.compile(r"\$__(\w+)")
CONDITIONAL = "$__conditionalAll("


class Unknown(Exception):
    """A variable, format or macro that no one has taught this module."""


@dataclass(frozen=True)
class View:
    """What a person looks at: a time range, an interval, and what is chosen."""

    start: int  # seconds since 1970, like the end
    end: int
    interval: int  # seconds
    chosen: dict = field(default_factory=dict)  # by variable: ALL, a list (multi-value) or a text


def sql(text, view):
    """A query to ClickHouse as the server gets it."""
    return macros(variables(conditions(text, view), view), view)


def conditions(text, view):
    """A condition on a variable that is set to All vanishes."""
    while (at := text.rfind(CONDITIONAL)) >= 0:
        condition, variable, end = arguments(text, at + len(CONDITIONAL))
        name = re.fullmatch(r"\$(\w+)|\$\{(\w+)\}", variable.strip())
        if name is None:
            raise Unknown(variable)
        value = choice(name[1] or name[2], view)
        text = text[:at] + ("1=1" if value in (ALL, "", [ALL]) else condition) + text[end:]
    return text


def arguments(text, start):
    """Two arguments and the place behind their parenthesis; commas within parentheses separate nothing."""
    depth, comma = 0, None
    for at in range(start, len(text)):
        if text[at] == "," and depth == 0 and comma is None:
            comma = at
        elif text[at] == "(":
            depth += 1
        elif text[at] == ")":
            if depth == 0 and comma is not None:
                return text[start:comma], text[comma + 1 : at], at + 1
            depth -= 1
    raise Unknown(text[start:])


def choice(name, view):
    if name not in view.chosen:
        raise Unknown(f"variable {name}")
    return view.chosen[name]


def variables(text, view):
    def value(found):
        chosen, how = choice(found[1] or found[3], view), found[2]
        if chosen in (ALL, [ALL]):
            raise Unknown(f"{found[0]} is set to All outside of $__conditionalAll")
        if how == "singlequote":
            values = chosen if isinstance(chosen, list) else [chosen]
            return ",".join("'" + each.replace("'", "\\'") + "'" for each in values)
        if how is None and isinstance(chosen, str):
            return chosen
        raise Unknown(found[0])

    return VARIABLE.sub(value, text)


def macros(text, view):
    """The macros of the plugin's backend."""
    while found := MACRO.search(text):
        name, end, column = found[1], found.end(), None
        if text[end : end + 1] == "(":
            closing = text.index(")", end)  # the dashboards give them plain columns
            column, end = text[end + 1 : closing], closing + 1
        text = text[: found.start()] + macro(name, column, view) + text[end:]
    return text


def macro(name, column, view):
    start, end = f"toDateTime({view.start})", f"toDateTime({view.end})"
    match name, column:
        case "timeFilter", str():
            return f"{column} >= {start} AND {column} <= {end}"
        case "timeInterval", str():
            return f"toStartOfInterval(toDateTime({column}), INTERVAL {view.interval} second)"
        case "fromTime", None:
            return start
        case "toTime", None:
            return end
        case "interval_s", None:
            return str(view.interval)
    raise Unknown(f"$__{name}({column})")


def promql(text, view):
    """An expression to Prometheus as the server gets it."""
    rate_interval = max(4 * 15, view.interval + 15)  # 15 s: the scrape interval
    text = text.replace("$__rate_interval", f"{rate_interval}s")

    def value(found):
        chosen = choice(found[3] or found[1], view)
        return ".*" if chosen in (ALL, [ALL]) else "(" + "|".join(map(re.escape, chosen)) + ")"

    text = VARIABLE.sub(value, text)
    if "$" in text:
        raise Unknown(text)
    return text
