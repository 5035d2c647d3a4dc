"""The queries whose times `ops/bench totals` takes: every way to use the four dimensions.

Job: each dimension is left alone, filtered by or grouped by: 81 combinations.
One that groups by resource or address is a top ten, the others a chart over
time. Written as sql/004_queries.sql shows it.
Invariant: the same text asks the totals, the raw log and a summing table; only
the table's name differs, and `by_day`: the dimensions that have sums by day worth
asking, which are at most half as many as the rows; None of a table without any.
"""

import datetime
import itertools
from dataclasses import dataclass

DIMENSIONS = ("resource_id", "response_status", "cache_status", "remote_addr")
SHORT = dict(zip(DIMENSIONS, ("resource", "status", "cache", "address"), strict=True))
MANY = ("resource_id", "remote_addr")  # too many values for a chart
BUCKET = {"1h": "toStartOfMinute(minute)", "24h": "toStartOfFiveMinutes(minute)", "30d": "toStartOfHour(minute)"}
SUMS = "sum(requests) AS r, sum(bytes_sent) AS b"
HOUR = 3600
SECONDS = {"1h": HOUR, "24h": 24 * HOUR, "30d": 30 * 24 * HOUR}
# Of many days, where sums by day are no fewer than rows, or there are none: plain
# columns of the table are read faster than the sums of a projection.
ROWS = "SETTINGS optimize_use_projections = 0"
HASHES = 1000  # ranked to find ten: so many may be equal in requests and are still put in order by name


@dataclass(frozen=True)
class Range:
    name: str
    begin: int
    end: int

    @classmethod
    def until(cls, name, end):
        return cls(name, end - SECONDS[name], end)

    def minutes(self):
        return f"minute >= {moment(self.begin)} AND minute < {moment(self.end)}"

    def whole_days(self):
        """(condition on day, condition on minute for what is left at both ends)."""
        first, last = -(-self.begin // 86_400), self.end // 86_400
        days = f"day >= {iso_date(first)} AND day < {iso_date(last)}"
        rest = (
            f"(minute >= {moment(self.begin)} AND minute < {moment(first * 86_400)} "
            f"OR minute >= {moment(last * 86_400)} AND minute < {moment(self.end)})"
        )
        return days, rest


def moment(seconds):
    return f"toDateTime('{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S}', 'UTC')"


def iso_date(days):
    """A day since 1970, quoted."""
    return f"'{datetime.datetime.fromtimestamp(days * 86_400, datetime.UTC):%Y-%m-%d}'"


@dataclass(frozen=True)
class Combination:
    filters: tuple
    groups: tuple

    def name(self):
        return f"{short(self.filters) or '–'} → {short(self.groups) or 'total'}"

    def is_top(self):
        return any(dimension in MANY for dimension in self.groups)

    def ranks_pairs(self):
        """Whether it groups by resource and address, of which there are as many pairs as nothing else."""
        return all(dimension in self.groups for dimension in MANY)

    def sql(self, time_range, values, table="http_log_totals", by_day=MANY):
        """`values`: what to filter each dimension by."""
        conditions = [f"{dimension} = {values[dimension]!r}" for dimension in self.filters]
        keys = ", ".join(self.groups)

        def rows(*when):
            return f"FROM {table} WHERE {' AND '.join((*when, *conditions))}"

        def sums(*when):
            return f"SELECT {keys}, {SUMS} {rows(*when)} GROUP BY {keys}"

        minutes = time_range.minutes()
        if not self.is_top():
            keys = ", ".join(("t", *self.groups))
            shown = ", ".join((f"{BUCKET[time_range.name]} AS t", *self.groups))
            return f"SELECT {shown}, {SUMS} {rows(minutes)} GROUP BY {keys} ORDER BY {keys}"
        top = f"ORDER BY r DESC, {keys} LIMIT 10"
        if time_range.name != "30d" or not (self.has_sums_by_day() or self.ranks_pairs()):
            return f"{sums(minutes)} {top}"
        if self.has_sums_by_day() and set(by_day or ()) & set(self.groups):
            parts = " UNION ALL ".join(sums(when) for when in time_range.whole_days())
            return f"SELECT {keys}, sum(r) AS r, sum(b) AS b FROM ({parts}) GROUP BY {keys} {top}"
        if len(self.groups) > 1 and (by_day is not None or self.ranks_pairs()):
            # Millions of groups, most of a row or two: their hashes are ranked in less
            # time than their names, and in less than half the memory.
            ranked = (
                f"SELECT cityHash64({keys}) AS hash {rows(minutes)} "
                f"GROUP BY hash ORDER BY sum(requests) DESC, hash LIMIT {HASHES}"
            )
            return f"{sums(minutes, f'cityHash64({keys}) IN ({ranked})')} {top} {ROWS}"
        return f"{sums(minutes)} {top} {ROWS}"

    def has_sums_by_day(self):
        return sum(dimension in MANY for dimension in (*self.filters, *self.groups)) == 1


def short(dimensions):
    return ", ".join(SHORT[dimension] for dimension in dimensions)


def combinations():
    for uses in itertools.product(("", "filter", "group"), repeat=len(DIMENSIONS)):
        used = list(zip(DIMENSIONS, uses, strict=True))
        yield Combination(*(tuple(d for d, use in used if use == wanted) for wanted in ("filter", "group")))


def chart_of_top(dimension, time_range, by_day):
    """The ten of this dimension that had most requests, over time: what a panel of the top ten asks."""
    ranking = Combination((), (dimension,)).sql(time_range, {}, by_day=by_day)
    return (
        f"SELECT {BUCKET[time_range.name]} AS t, {dimension}, {SUMS} FROM http_log_totals "
        f"WHERE {time_range.minutes()} AND {dimension} IN (SELECT {dimension} FROM ({ranking})) "
        f"GROUP BY t, {dimension} ORDER BY t, {dimension}"
    )
