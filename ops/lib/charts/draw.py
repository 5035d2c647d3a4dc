"""Draws a dashboard from its file, panel by panel, where Grafana would put it.

Job: pictures for people who have no Grafana at hand. It is not Grafana: colours
and layout are like it, the figures are those of the panels' own queries.

Invariant: nothing is drawn but what a query answered; a panel without an answer
says so.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import matplotlib

matplotlib.use("Agg")
from matplotlib import dates, pyplot, ticker

# Grafana's classic palette.
COLOURS = ["#7EB26D", "#EAB839", "#6ED0E0", "#EF843C", "#E24D42", "#1F78C1", "#BA43A9", "#705DA0", "#508642", "#CCA300"]
NAMED = {"green": "#37872D", "orange": "#FA6400", "red": "#C4162A"}
COLUMNS, UNIT_WIDTH, UNIT_HEIGHT = 24, 0.56, 0.33  # of Grafana's grid, inches
LEGEND_MAX = 10

TIMES_1000 = ("", " K", " Mil", " Bil", " Tri")
SUFFIXES = {
    "short": TIMES_1000,
    "none": TIMES_1000,
    "reqps": (" req/s", " K req/s", " M req/s"),
    "cps": (" /s", " K/s", " M/s"),
    "bps": (" b/s", " kb/s", " Mb/s", " Gb/s", " Tb/s"),
    "decbytes": (" B", " kB", " MB", " GB", " TB"),
}


@dataclass(frozen=True)
class Line:
    name: str
    times: list  # seconds since 1970
    values: list


def shown(value, unit):
    """A figure with its unit, as a person reads it."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "ms":
        return f"{value / 1000:.3g} s" if value >= 1000 else f"{value:.3g} ms"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"
    names, place = SUFFIXES[unit], 0
    while abs(value) >= 1000 and place < len(names) - 1:
        value, place = value / 1000, place + 1
    return f"{value:.4g}{names[place]}" if abs(value) < 1000 else f"{value:.0f}{names[place]}"


def dashboard(board, answer, title, file):
    """`answer(panel)` gives lines, (columns, rows) or one figure, by the panel's type."""
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) + 1
    figure = pyplot.figure(figsize=(COLUMNS * UNIT_WIDTH, height * UNIT_HEIGHT), facecolor="#F4F5F5")
    figure.text(0.008, 1 - 0.75 / height, title, fontsize=11, weight="bold", va="center")
    for panel in board["panels"]:
        place = panel["gridPos"]
        top = 1 - (place["y"] + 1) / height
        if panel["type"] == "row":
            figure.text(0.008, top - 0.5 / height, panel["title"], fontsize=10, weight="bold", va="center")
            continue
        box = (
            place["x"] / COLUMNS + 0.003,
            top - (place["h"] - 0.15) / height,
            place["w"] / COLUMNS - 0.006,
            (place["h"] - 0.3) / height,
        )
        frame = figure.add_axes(box)
        frame.set(xticks=[], yticks=[], facecolor="white")
        for spine in frame.spines.values():
            spine.set_color("#D8D9DA")
        frame.text(0.5 / place["w"] / 2, 1 - 0.7 / place["h"], answer.title(panel), fontsize=8, va="center")
        DRAW[panel["type"]](figure, frame, box, panel, answer(panel), height)
    figure.savefig(file, dpi=80)
    pyplot.close(figure)
    shrink(file)


def shrink(file):
    """128 colours are enough for flat areas, and half of the bytes."""
    from PIL import Image

    Image.open(file).convert("RGB").quantize(128).save(file, optimize=True)


def draw_figure(_figure, frame, _box, panel, value, _height):
    defaults = panel["fieldConfig"]["defaults"]
    if value is None:
        frame.text(0.5, 0.42, "No data", ha="center", va="center", fontsize=11, color="gray")
        return
    colour = [
        step["color"] for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]
    ][-1]
    text = shown(value, defaults["unit"])
    for mapping in defaults.get("mappings") or []:
        found = mapping["options"].get(f"{value:g}")
        text = found["text"] if found else text
    frame.text(0.5, 0.42, text, ha="center", va="center", fontsize=17, weight="bold", color=NAMED[colour])


def draw_lines(figure, frame, box, panel, lines, height):
    defaults = panel["fieldConfig"]["defaults"]
    if not lines:
        frame.text(0.5, 0.45, "No data", ha="center", va="center", fontsize=11, color="gray")
        return
    rows = min(2, 1 + (min(len(lines), LEGEND_MAX) - 1) // 5)
    left, bottom = 0.05, (1.3 + 0.6 * rows) / height
    axes = figure.add_axes((box[0] + left, box[1] + bottom, box[2] - left - 0.008, box[3] - bottom - 1.2 / height))
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(lines))]
    if defaults["custom"].get("stacking", {}).get("mode") == "normal":
        times = sorted({time for line in lines for time in line.times})
        columns = [dict(zip(line.times, line.values, strict=True)) for line in lines]
        values = [[column.get(time) or 0 for time in times] for column in columns]
        axes.stackplot(
            list(map(moment, times)),
            values,
            colors=colours,
            alpha=0.75,
            linewidth=0,
            labels=[line.name for line in lines],
        )
    else:
        for line, colour in zip(lines, colours, strict=True):
            times = list(map(moment, line.times))
            axes.plot(times, line.values, color=colour, linewidth=1, label=line.name)
            axes.fill_between(times, line.values, color=colour, alpha=0.12, linewidth=0)
    nothing = not any(value for line in lines for value in line.values)
    axes.set_ylim(bottom=defaults.get("min"), top=1 if nothing else defaults.get("max"))
    axes.margins(x=0)
    axes.grid(color="#E9EDF2", linewidth=0.6)
    axes.tick_params(labelsize=7, length=0)
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(maxticks=9))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, defaults["unit"]))
    for spine in axes.spines.values():
        spine.set_visible(False)
    handles, names = axes.get_legend_handles_labels()
    frame.legend(
        handles[:LEGEND_MAX],
        names[:LEGEND_MAX],
        loc="lower left",
        ncols=5,
        fontsize=6.5,
        frameon=False,
        handlelength=1,
        columnspacing=1,
        borderaxespad=0.3,
    )


def draw_table(_figure, frame, _box, panel, answer, _height):
    columns, rows = answer
    units = {
        override["matcher"]["options"]: each["value"]
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "unit"
    }
    step = 1 / (len(rows) + 2.6)
    for place, column in enumerate(columns):
        left = 0.01 + place / len(columns)
        frame.text(left, 1 - 1.9 * step, column, fontsize=7.5, weight="bold", color="#1F60C4", va="center")
        for line, row in enumerate(rows):
            text = shown(row[place], units[column]) if column in units else str(row[place])
            frame.text(left, 1 - (2.9 + line) * step, text, fontsize=7.5, va="center")


DRAW = {"stat": draw_figure, "timeseries": draw_lines, "table": draw_table}


def moment(seconds):
    return datetime.fromtimestamp(seconds, UTC)
