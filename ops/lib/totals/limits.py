"""How long the queries of `ops/bench totals` may take, by the kind of query.

Invariant: every query has exactly one kind in each range.
"""

from trial.run import say

CHART_MS_GOAL, TOP_ADDRESS_MS_GOAL, MONTH_MS_GOAL, MONTH_TOP_MS_GOAL = 250, 1000, 1000, 3000
KINDS = {
    "chart": "filters and groups",
    "address": "top by address",
    "top": "top by resource or address alone",
    "more": "top by either, with status or cache status",
    "pairs": "top by resource and address",
}
LIMITS = {
    ("1h", "chart"): CHART_MS_GOAL,
    ("1h", "address"): TOP_ADDRESS_MS_GOAL,
    ("24h", "chart"): CHART_MS_GOAL,
    ("24h", "address"): TOP_ADDRESS_MS_GOAL,
    ("30d", "chart"): MONTH_MS_GOAL,
    ("30d", "top"): MONTH_TOP_MS_GOAL,
    ("30d", "more"): MONTH_TOP_MS_GOAL,
    ("30d", "pairs"): None,
}


def slowest(measured):
    """{(range, kind): the largest p95 in milliseconds}."""
    return {key: worst(measured, *key) for key in LIMITS}


def judge(profile, found):
    """Prints how `slowest` stands to the limits; whether all are kept."""
    good = True
    for (name, kind), limit in LIMITS.items():
        reached = limit is None or found[name, kind] <= limit
        good &= reached
        against = "reported only" if limit is None else f"at most {limit}: {'met' if reached else 'MISSED'}"
        say(f"{profile}, {name}, {KINDS[kind]}: {found[name, kind]} ms, {against}")
    return good


def kind_of(name, combination):
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
    found = (
        times.p95() for times in measured if times.time_range == name and kind_of(name, times.combination) == wanted
    )
    return round(max(found), 1)
