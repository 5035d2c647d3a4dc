"""What `ops/bench totals` found, as Markdown and as a picture.

Invariant: nothing is computed here but the layout; every figure comes from the
measurements that it is given.
"""

import itertools
import os
import statistics
from dataclasses import dataclass

import matplotlib

from totals.traffic import KEYS

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "spoolhouse"  # the same figures, the same file
from matplotlib import pyplot  # noqa: E402
from matplotlib.colors import LogNorm  # noqa: E402

USES = ("", "filter", "group")
SOURCES = {"http_log_totals": "the totals", "summing": "SummingMergeTree", "raw": "the raw log"}


@dataclass(frozen=True)
class Times:
    """Of one query over one range; milliseconds."""

    time_range: str
    combination: object
    cold: float
    warm: tuple
    rows: int  # read, of the run that read most
    bytes_read: int
    read_from: tuple

    def p50(self):
        return statistics.median(self.warm)

    def p95(self):
        ordered = sorted(self.warm)
        return ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]

    def max(self):
        return max(self.warm)


def use(combination, dimension):
    return "filter" if dimension in combination.filters else "group" if dimension in combination.groups else ""


def place(combination):
    """(row, column) of a 9 × 9 table: resource and address down, status and cache across."""
    resource, status, cache, address = (
        USES.index(use(combination, d)) for d in ("resource_id", "response_status", "cache_status", "remote_addr")
    )
    return resource * 3 + address, status * 3 + cache


def labels(first, second):
    named = {"": "", "filter": " =", "group": " by"}
    texts = ([f"{first}{named[a]}" if a else "", f"{second}{named[b]}" if b else ""] for a in USES for b in USES)
    return [", ".join(filter(None, text)) or "–" for text in texts]


def matrix(measured, time_range):
    """Markdown of the p95, cold times in brackets."""
    cells = [[""] * 9 for _ in range(9)]
    for times in measured:
        if times.time_range == time_range:
            row, column = place(times.combination)
            cells[row][column] = f"{times.p95():.0f} ({times.cold:.0f})"
    lines = [f"| {time_range} | " + " | ".join(labels("status", "cache")) + " |", "|" + "---|" * 10]
    for label, row in zip(labels("resource", "address"), cells, strict=True):
        lines.append(f"| {label} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def full(measured):
    lines = [
        "| range | filter → group | p50 | p95 | max | cold | rows read | MB read | from |",
        "|---|---|" + "---:|" * 6 + "---|",
    ]
    lines += [
        f"| {times.time_range} | {times.combination.name()} | "
        f"{times.p50():.0f} | {times.p95():.0f} | {times.max():.0f} | "
        f"{times.cold:.0f} | {times.rows:,} | {times.bytes_read / 1e6:,.1f} | {', '.join(times.read_from)} |"
        for times in measured
    ]
    return "\n".join(lines)


def comparison(compared):
    """`compared`: {(range, name of combination): {source: p50 ms}}."""
    header = " | ".join(SOURCES.values())
    lines = [f"| range | filter → group | {header} |", "|---|---|" + "---:|" * len(SOURCES)]
    for (time_range, name), found in compared.items():
        lines.append(f"| {time_range} | {name} | " + " | ".join(f"{found[source]:.0f}" for source in SOURCES) + " |")
    return "\n".join(lines)


def sizes(found, per):
    """`found` as totals_load.sizes gives it; `per` is the number of rows that bytes are shared among."""
    lines = ["| table or projection | rows | bytes per row of its own | per row of totals |", "|---|---:|---:|---:|"]
    for name, (rows, size) in found.items():
        if name == "loaded":  # the bench's own
            continue
        lines.append(f"| {name} | {rows:,} | {size / max(rows, 1):.2f} | {size / per:.2f} |")
    return "\n".join(lines)


def cost(month):
    """One paragraph on what the batches of the last day cost."""
    found = month["cost"]
    return (
        f"The last day came in {found.batches} batches of 62.5 s, {found.rows / found.batches:,.0f} records each on "
        f"average. An insert took {found.milliseconds:.0f} ms (median); {found.bare_milliseconds:.0f} ms into a log "
        f"without a view, {found.plain_milliseconds:.0f} ms with totals that have no projections. With all merges "
        f"{found.written_bytes / 1e6:,.0f} MB were written for the {found.kept_bytes / 1e6:,.0f} MB that log and "
        f"totals take in the end, {found.written_bytes / found.kept_bytes:.1f} times as much, and merging took "
        f"{found.merge_seconds:.0f} s. Log and totals then lay in {found.parts} parts."
    )


def document(months, compared, agreed, command):
    """The whole of measured.md."""
    parts = [
        "# Measured times",
        f"Made by `{command}` on {os.cpu_count()} cores; do not edit. [README.md](../README.md) says what it means.",
        TERMS,
    ]
    for month in months:
        profile, traffic = month["profile"], month["traffic"]
        parts += [
            f"## {month['rows']:,} rows of {profile} totals",
            f"30 days at {traffic.rate} messages a second. Milliseconds, the 95th percentile warm (cold).",
            f"![Times as a heat map]({profile}.svg)",
        ]
        parts += [
            matrix(month["measured"], name) for name in dict.fromkeys(times.time_range for times in month["measured"])
        ]
        parts += [
            "The ten with most requests over time, ranked and then charted in one query:",
            full(month["charts"]),
            sizes(month["sizes"], month["rows"]),
            cost(month),
            "<details><summary>Every query: median, 95th percentile, maximum, cold, what it read</summary>",
            full(month["measured"]),
            "</details>",
        ]
    rows = compared["sizes"]
    log, totals, summing = (rows[table][0] for table in ("http_log", "http_log_totals", "summing"))
    parts += [
        "## Side by side",
        (
            f"{log:,} records of realistic traffic in the log, {totals:,} rows in the totals, {summing:,} in a plain "
            "SummingMergeTree; medians of three, warm, milliseconds. The answers were equal."
        ),
        "![Times side by side](side-by-side.svg)",
        comparison(compared["medians"]),
        sizes(rows, totals),
        "## Is the traffic that of `spoolhouse produce`?",
        agreement(agreed),
    ]
    return "\n\n".join(parts) + "\n"


TERMS = (
    "Down: how resource and address are used; across: status and cache status. `=` filters by one value, `by` groups. "
    "A query that groups by resource or address gives the ten with most requests, any other a point per minute, "
    "five minutes or hour. Over 30 days a top ten asks the whole days by `day` and both ends by `minute`, or all by "
    "`minute` where the sums by day are more than half as many as the rows; then, and of pairs of resource and "
    "address, one of several groups ranks their hashes and names the first. Warm: files in the kernel's cache, but "
    "every row read anew; filters take a frequent, a middling and a rare value in turns. Cold: the engine's caches "
    "and the kernel's emptied."
)


def agreement(lines):
    header = ["| messages a second | made by | " + " | ".join(KEYS) + " |", "|---|---|" + "---:|" * len(KEYS)]
    for rate, here, produced, _ in lines:
        for by, counts in (("the bench", here), ("`spoolhouse produce`", produced)):
            header.append(f"| {rate} | {by} | " + " | ".join(f"{count:,.1f}" for count in counts) + " |")
    return "Distinct keys per minute, on average:\n\n" + "\n".join(header)


def heat_maps(measured, title, file):
    """The 95th percentiles, a square for each of the 81 uses of the dimensions."""
    ranges = list(dict.fromkeys(times.time_range for times in measured))
    figure, all_axes = pyplot.subplots(1, len(ranges), figsize=(18, 7), layout="constrained")
    for axes, time_range in zip(all_axes, ranges, strict=True):
        values = [[float("nan")] * 9 for _ in range(9)]
        for times in measured:
            if times.time_range == time_range:
                row, column = place(times.combination)
                values[row][column] = times.p95()
        image = axes.imshow(values, norm=LogNorm(vmin=5, vmax=5000), cmap="YlOrRd")
        for row, column in itertools.product(range(9), repeat=2):
            axes.text(column, row, f"{values[row][column]:.0f}", ha="center", va="center", fontsize=9)
        axes.set_xticks(range(9), labels("status", "cache"), rotation=60, ha="right")
        axes.set_yticks(range(9), labels("resource", "address") if axes is all_axes[0] else [""] * 9)
        axes.set_title(time_range)
    figure.colorbar(image, ax=all_axes, shrink=0.7, label="ms, 95th percentile, warm")
    figure.suptitle(title)
    save(figure, file)


def bars(compared, file):
    """The three tables side by side."""
    figure, axes = pyplot.subplots(figsize=(18, 6), layout="constrained")
    places = range(len(compared))
    for number, (source, label) in enumerate(SOURCES.items()):
        heights = [found[source] for found in compared.values()]
        axes.bar([place + number * 0.28 for place in places], heights, 0.28, label=label)
    axes.set_yscale("log")
    axes.set_ylabel("ms, median, warm")
    names = [f"{time_range}: {name}" for time_range, name in compared]
    axes.set_xticks([place + 0.28 for place in places], names, rotation=90, fontsize=6)
    axes.legend()
    save(figure, file)


def save(figure, file):
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
