"""The words that both dashboards are written in, over Grafana's foundation SDK.

Job: panels, queries and rows with this project's defaults; the SDK checks names
and types as they are set, and a dashboard read back from its JSON must be equal.

Invariant: the JSON follows from the code alone: ids are counted, nothing is
random, nothing is taken from a running Grafana.
"""

import json

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models import dashboard as dashboards

CLICKHOUSE = models.DataSourceRef(type_val="grafana-clickhouse-datasource", uid="${clickhouse}")
PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${prometheus}")
COLUMNS = 24  # of Grafana's grid
RED, ORANGE, GREEN = "red", "orange", "green"

register_default_plugins()


class ClickHouseQuery(Dataquery):
    """A query in the ClickHouse plugin's form (4.x), which the SDK does not know."""

    TIME_SERIES, TABLE = 0, 1  # the plugin's own numbers

    def __init__(self, sql, answer):
        self.data = {
            "refId": "A",
            "datasource": CLICKHOUSE,
            "editorType": "sql",
            "queryType": "timeseries" if answer == self.TIME_SERIES else "table",
            "format": answer,
            "rawSql": sql,
        }

    def to_json(self):
        return self.data


class Ready(Builder):
    """A thing that is built already, where the SDK wants a builder."""

    def __init__(self, thing):
        self.thing = thing

    def build(self):
        return self.thing


def sql_series(sql):
    return [Ready(ClickHouseQuery(sql, ClickHouseQuery.TIME_SERIES))]


def sql_table(sql):
    return [Ready(ClickHouseQuery(sql, ClickHouseQuery.TABLE))]


def promql(*legends_and_expressions, instant=False):
    """One target per (legend, expression)."""
    targets = []
    for place, (legend, expression) in enumerate(legends_and_expressions):
        target = prometheus.Dataquery().ref_id(chr(ord("A") + place)).datasource(PROMETHEUS)
        target = target.expr(expression).legend_format(legend)
        targets.append(target.instant() if instant else target.range())
    return targets


def asked(targets):
    """The data source of a panel's queries."""
    return targets[0].build().to_json()["datasource"]


def series(title, description, unit, targets, width=12, stacked=False, name=None, share=False):
    """A chart over time; `name` is the label whose value names a line, `share` a scale from 0 to 1."""
    panel = timeseries.Panel().title(title).description(description).unit(unit).targets(targets)
    panel = panel.datasource(asked(targets)).span(width).height(8)
    if asked(targets) is CLICKHOUSE:
        panel = panel.interval("1m")  # the finest that the totals know: finer buckets would be empty
    panel = panel.min(0).line_width(1).fill_opacity(60 if stacked else 15)
    panel = panel.show_points(models.VisibilityMode.AUTO).tooltip(
        common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI).sort(models.SortOrder.DESCENDING)
    )
    legend = common.VizLegendOptions().show_legend(True).display_mode(models.LegendDisplayMode.LIST)
    panel = panel.legend(legend.placement(models.LegendPlacement.BOTTOM).calcs([]))
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(models.StackingMode.NORMAL).group("A"))
    if share:
        panel = panel.max(1)
    return panel.display_name("${__field.labels." + name + "}") if name else panel


def number(title, description, unit, targets, width=4, steps=((None, GREEN),), mapping=None):
    """One figure; `steps` are (from, colour), the first from nothing on."""
    panel = stat.Panel().title(title).description(description).unit(unit).targets(targets)
    panel = panel.datasource(asked(targets)).span(width).height(4)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel = panel.graph_mode(models.BigValueGraphMode.NONE).color_mode(models.BigValueColorMode.VALUE)
    panel = panel.thresholds(
        dashboard.ThresholdsConfig()
        .mode(dashboards.ThresholdsMode.ABSOLUTE)
        .steps([dashboards.Threshold(value, color) for value, color in steps])
    )
    if mapping:
        texts = {value: dashboards.ValueMappingResult(text, color) for value, (text, color) in mapping.items()}
        panel = panel.mappings([dashboards.ValueMap(options=texts)])
    return panel


def listing(title, description, sql, units, links, width=24):
    """A table; `units` and `links` are by column."""
    panel = table.Panel().title(title).description(description).targets(sql_table(sql))
    panel = panel.datasource(CLICKHOUSE).span(width).height(8).show_header(True)
    for column, unit in units.items():
        panel = panel.override_by_name(column, [dashboards.DynamicConfigValue("unit", unit)])
    for column, (text, url) in links.items():
        panel = panel.override_by_name(column, [dashboards.DynamicConfigValue("links", [{"title": text, "url": url}])])
    return panel


def lay_out(title, uid, description, start, refresh, variables, rows):
    """A dashboard: its variables, then (heading or None, panels) in order, each panel with the next id."""
    board = dashboard.Dashboard(title).uid(uid).tags(["spoolhouse"]).timezone("browser").description(description)
    board = board.time(start, "now").refresh(refresh).tooltip(dashboards.DashboardCursorSync.CROSSHAIR)
    for variable in variables:
        board.with_variable(variable)
    identity = 0
    for heading, panels in rows:
        if heading is not None:
            identity += 1
            board.with_row(dashboard.Row(heading).id(identity))
        for panel in panels:
            identity += 1
            board.with_panel(panel.id(identity))
    return board


def choice(name, label, values, description):
    """A variable with fixed values, [(text, value)], the first of them chosen at first."""
    options = [dashboards.VariableOption(place == 0, text, value) for place, (text, value) in enumerate(values)]
    query = ", ".join(text if text == value else f"{text} : {value}" for text, value in values)
    variable = dashboard.CustomVariable(name).label(label).description(description).values(query)
    return variable.options(options).current(options[0]).multi(False).include_all(False)


def several(name, label, data_source, query, text):
    """A variable whose values a query gives: any number of them can be chosen, at first all."""
    variable = dashboard.QueryVariable(name).label(label).datasource(data_source).query(query).definition(text)
    variable = variable.multi(True).include_all(True).current(dashboards.VariableOption(True, ["All"], ["$__all"]))
    # Not at every change of the time range: that would be at every refresh.
    return variable.refresh(dashboards.VariableRefresh.ON_DASHBOARD_LOAD)


def source(name, label, plugin, uid):
    """A variable that says which data source of a kind is asked; at first the provisioned one."""
    variable = dashboard.DatasourceVariable(name).label(label).type(plugin).multi(False).include_all(False)
    return variable.current(dashboards.VariableOption(True, uid, uid))


def to_json(board):
    """The file's text; an error if the SDK, reading it back, understands something else."""
    text = json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
    assert_understood(text)
    return text


def assert_understood(text):
    """Fails for keys and values that the schema of a dashboard or a panel does not have."""
    read = dashboards.Dashboard.from_json(json.loads(text))
    again = json.dumps(read, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
    if again != text:
        differing = [
            f"{mine.strip()} became {theirs.strip()}"
            for mine, theirs in zip(text.splitlines(), again.splitlines(), strict=False)
            if mine != theirs
        ]
        raise ValueError(f"the schema reads it otherwise: {differing[:3]}")
