"""The dashboard of the traffic: every panel asks http_log_totals and nothing else.

Job: requests, bandwidth, hit ratio, errors and times by resource, status, cache
status and address, filtered by any of them.

Invariant: a query filters and groups by plain columns, sums plain columns and
reads no column that it does not show, so that the projections of the table can
answer it (sql/README.md). A ratio is therefore taken over sums, never summed.
"""

from grafana_foundation_sdk.models import dashboard as dashboards

from charts.grafana import (
    CLICKHOUSE,
    ORANGE,
    RED,
    choice,
    lay_out,
    listing,
    number,
    series,
    several,
    source,
    sql_series,
    sql_table,
)

UID = "spoolhouse-traffic"
VALUES_MAX = 1000  # that a variable lists; any other can be typed

# Variable, column of the totals, what a person calls it.
DIMENSIONS = {
    "resource": ("resource_id", "Resource"),
    "status": ("response_status", "Status"),
    "cache": ("cache_status", "Cache status"),
    "address": ("remote_addr", "Address"),
}

# Of these there are too many for one chart: the first $top by $by are shown.
RANKED = ("resource", "address")

# Of nginx's cache states, those in which the cache answered.
HITS = "('HIT', 'STALE', 'UPDATING', 'REVALIDATED')"

CHOSEN = "".join(
    f"\n  AND $__conditionalAll({column} IN (${{{name}:singlequote}}), ${name})"
    for name, (column, _) in DIMENSIONS.items()
)
IN_RANGE = f"WHERE $__timeFilter(minute){CHOSEN}"

# The days that lie wholly in the range are asked by day, which projections of
# their own can answer; the minutes of the two other days by minute.
FIRST_DAY, LAST_DAY = "toDate($__fromTime, 'UTC')", "toDate($__toTime, 'UTC')"


def by_days_and_edges(name, columns, group, chosen=CHOSEN):
    """The rows of a subquery over the range that need not tell one minute from another.

    Where the other of resource and address is chosen, no projection by day has
    it: then all is asked by minute, and the projections of that one are read.
    """
    other = "resource" if name == "address" else "address"
    by_day = f"$__conditionalAll(1=0, ${other})" if chosen else "1=1"
    parts = (
        f"day > {FIRST_DAY} AND day < {LAST_DAY} AND {by_day}",
        f"$__timeFilter(minute) AND (toDate(minute) IN ({FIRST_DAY}, {LAST_DAY}) OR NOT ({by_day}))",
    )
    return "\nUNION ALL\n".join(
        f"SELECT {columns}\nFROM http_log_totals\nWHERE {condition}{chosen}\nGROUP BY {group}" for condition in parts
    )


def top(name):
    """A condition: only the first $top values of the dimension by $by."""
    column, _ = DIMENSIONS[name]
    rows = by_days_and_edges(name, f"{column}, sum($by) AS amount", column)
    return (
        f"  AND {column} IN (\nSELECT {column} FROM (\n{rows}\n)\n"
        f"GROUP BY {column} ORDER BY sum(amount) DESC, {column} LIMIT $top)"
    )


def over_time(value, alias):
    return (
        f'SELECT $__timeInterval(minute) AS time, {value} AS "{alias}"\nFROM http_log_totals\n'
        f"{IN_RANGE}\nGROUP BY time ORDER BY time"
    )


def over_time_by(name, value, alias):
    """One line per value of a dimension; a label has to be text."""
    column, _ = DIMENSIONS[name]
    limit = f"\n{top(name)}" if name in RANKED else ""
    return (
        f'SELECT $__timeInterval(minute) AS time, toString({column}) AS {name}, {value} AS "{alias}"\n'
        f"FROM http_log_totals\n{IN_RANGE}{limit}\n"
        f"GROUP BY time, {column} ORDER BY time, {column}"
    )


def share_over_time(column, *shares):
    """Shares of requests, each (condition on the column, alias): over sums by that column."""
    shown = ", ".join(f'sumIf(amount, {condition}) / sum(amount) AS "{alias}"' for condition, alias in shares)
    return (
        f"SELECT time, {shown}\nFROM (\n"
        f"SELECT $__timeInterval(minute) AS time, {column}, sum(requests) AS amount\nFROM http_log_totals\n"
        f"{IN_RANGE}\nGROUP BY time, {column}\n)\nGROUP BY time ORDER BY time"
    )


def share(column, condition, alias):
    return (
        f'SELECT sumIf(amount, {condition}) / sum(amount) AS "{alias}"\nFROM (\n'
        f"SELECT {column}, sum(requests) AS amount\nFROM http_log_totals\n{IN_RANGE}\nGROUP BY {column}\n)"
    )


def figure(value, alias):
    return f'SELECT {value} AS "{alias}"\nFROM http_log_totals\n{IN_RANGE}'


def ranking(name):
    column, label = DIMENSIONS[name]
    rows = by_days_and_edges(
        name,
        f"{column}, cache_status, sum($by) AS amount, sum(requests) AS asked, sum(bytes_sent) AS sent, "
        "sum(request_time_milli) AS took",
        f"{column}, cache_status",
    )
    # As text, so that an id is not written like a quantity.
    return (
        f'SELECT toString({column}) AS "{label}", sum(asked) AS "Requests", sum(sent) AS "Bytes sent",\n'
        f'  sumIf(asked, cache_status IN {HITS}) / sum(asked) AS "Hit ratio",\n'
        f'  sum(took) / sum(asked) AS "Mean request time"\nFROM (\n{rows}\n)\n'
        f"GROUP BY {column} ORDER BY sum(amount) DESC, {column} LIMIT $top"
    )


SECONDS = "greatest($__toTime - $__fromTime, 1)"
PER_SECOND, BITS, MILLISECONDS, PERCENT, COUNT, BYTES = "reqps", "bps", "ms", "percentunit", "short", "decbytes"
RATE = "sum(requests) / $__interval_s"
BANDWIDTH = "sum(bytes_sent) * 8 / $__interval_s"
MEAN_TIME = "sum(request_time_milli) / sum(requests)"
HIT_NOTE = "Requests that the cache answered (HIT, STALE, UPDATING, REVALIDATED) of all requests"
COLUMN_UNITS = {"Requests": COUNT, "Bytes sent": BYTES, "Hit ratio": PERCENT, "Mean request time": MILLISECONDS}


def figures():
    return [
        number("Requests", "In the time range", COUNT, sql_table(figure("sum(requests)", "Requests"))),
        number(
            "Mean rate",
            "Requests per second over the time range",
            PER_SECOND,
            sql_table(figure(f"sum(requests) / {SECONDS}", "Requests per second")),
        ),
        number(
            "Mean bandwidth",
            "Bits sent per second over the time range",
            BITS,
            sql_table(figure(f"sum(bytes_sent) * 8 / {SECONDS}", "Bandwidth")),
        ),
        number(
            "Hit ratio", HIT_NOTE, PERCENT, sql_table(share("cache_status", f"cache_status IN {HITS}", "Hit ratio"))
        ),
        number(
            "Server errors",
            "Requests answered with 500 to 599 of all requests",
            PERCENT,
            sql_table(share("response_status", "response_status BETWEEN 500 AND 599", "Server errors")),
            steps=((None, "green"), (0.01, ORANGE), (0.05, RED)),
        ),
        number(
            "Mean request time",
            "Time from the request to the end of its answer",
            MILLISECONDS,
            sql_table(figure(MEAN_TIME, "Mean request time")),
        ),
    ]


def all_traffic():
    return [
        series("Requests per second", "", PER_SECOND, sql_series(over_time(RATE, "Requests"))),
        series("Bandwidth", "Bits sent per second", BITS, sql_series(over_time(BANDWIDTH, "Bandwidth"))),
        series(
            "Hit ratio over time",
            HIT_NOTE,
            PERCENT,
            sql_series(share_over_time("cache_status", (f"cache_status IN {HITS}", "Hit ratio"))),
            width=8,
            share=True,
        ),
        series(
            "Errors",
            "Requests answered with 400 to 499 and with 500 to 599 of all requests",
            PERCENT,
            sql_series(
                share_over_time(
                    "response_status",
                    ("response_status BETWEEN 400 AND 499", "4xx"),
                    ("response_status BETWEEN 500 AND 599", "5xx"),
                )
            ),
            width=8,
        ),
        series(
            "Mean request time over time",
            "",
            MILLISECONDS,
            sql_series(over_time(MEAN_TIME, "Mean request time")),
            width=8,
        ),
    ]


def by(name):
    _, label = DIMENSIONS[name]
    kind = label.lower() + (", the first $top by $by" if name in RANKED else "")
    return [
        series(
            f"Requests per second by {kind}",
            "",
            PER_SECOND,
            sql_series(over_time_by(name, RATE, "Requests")),
            stacked=True,
            name=name,
        ),
        series(
            f"Bandwidth by {kind}",
            "Bits sent per second",
            BITS,
            sql_series(over_time_by(name, BANDWIDTH, "Bandwidth")),
            stacked=True,
            name=name,
        ),
    ]


def first(name):
    _, label = DIMENSIONS[name]
    link = f"/d/{UID}?${{__url_time_range}}&var-{name}=${{__value.raw}}"
    return listing(
        f"{label}: the first $top by $by",
        "The sums are those of the whole time range",
        ranking(name),
        COLUMN_UNITS,
        {label: (f"Only this {label.lower()}", link)},
    )


def filter_variable(name):
    """Multi-value, with All: then its condition vanishes."""
    column, label = DIMENSIONS[name]
    # As text, like everything that is chosen; the most asked first, for one can't list all addresses.
    columns = f"{column}, sum(requests) AS amount"
    if name in RANKED:
        rows = by_days_and_edges(name, columns, column, chosen="")
    else:
        rows = f"SELECT {columns}\nFROM http_log_totals\nWHERE $__timeFilter(minute)\nGROUP BY {column}"
    query = (
        f"SELECT toString({column}) FROM (\n{rows}\n)\n"
        f"GROUP BY {column} ORDER BY sum(amount) DESC, {column} LIMIT {VALUES_MAX}"
    )
    asked = {"editorType": "sql", "format": 1, "rawSql": query, "refId": name}
    variable = several(name, label, CLICKHOUSE, asked, query).allow_custom_value(True)
    variable = variable.description(f"The {VALUES_MAX} most requested of the time range; others can be typed")
    return variable.sort(dashboards.VariableSort.DISABLED)


def board():
    ranks = [("requests", "requests"), ("bytes sent", "bytes_sent"), ("request time", "request_time_milli")]
    return lay_out(
        "Spoolhouse: traffic",
        UID,
        "From the ready-made totals; the last minutes fill up as batches arrive.",
        "now-24h",
        "1m",
        [
            source("clickhouse", "ClickHouse", CLICKHOUSE.type_val, "spoolhouse-clickhouse"),
            *map(filter_variable, DIMENSIONS),
            choice(
                "top",
                "First",
                [(n, n) for n in ("10", "5", "20", "50", "100")],
                "How many resources and addresses are shown",
            ),
            choice("by", "Ranked by", ranks, "By which sum resources and addresses are ranked"),
        ],
        [
            (None, figures()),
            ("All traffic", all_traffic()),
            ("By status", by("status")),
            ("By cache status", by("cache")),
            ("By resource", [*by("resource"), first("resource")]),
            ("By address", [*by("address"), first("address")]),
        ],
    )
