"""The dashboard of the pipeline: is everything on its way, and is anything lost?

Job: the metrics of `/metrics` from Kafka to ClickHouse, in the order in which a
record meets them.

Invariant: every expression names a metric that src/observe/metrics/table.rs exports.
What happens rarely is shown as it was counted since the start, not as a rate: a
counter that appears with its first event has no rate then.
"""

from grafana_foundation_sdk.models import dashboard as dashboards

from charts.grafana import GREEN, ORANGE, PROMETHEUS, RED, lay_out, number, promql, series, several, source

UID = "spoolhouse-health"
ME = '{instance=~"$instance"}'
RECENT = "[$__rate_interval]"
# Several of the proxy's slots: an upload is one burst a minute.
SLOTS = "[10m]"

LOST = ((None, GREEN), (1, RED))
LOOK = ((None, GREEN), (1, ORANGE))


def total(name):
    """A count since the start; 0 before there was any."""
    return f"sum(spoolhouse_{name}{ME}) or vector(0)"


def rate(name, over=RECENT, by="instance"):
    return f"sum by ({by}) (rate(spoolhouse_{name}{ME}{over}))"


def figures():
    return [
        number(
            "Operator needed",
            "1 while uploads wait for somebody to mend something; the log says what",
            "none",
            promql(("", f"max(spoolhouse_operator_needed{ME})"), instant=True),
            steps=LOST,
            mapping={"0": ("no", GREEN), "1": ("yes", RED)},
        ),
        number(
            "Lost upstream",
            "Offsets that Kafka deleted before they were read, since the start",
            "short",
            promql(("", total("offsets_lost_total")), instant=True),
            steps=LOST,
        ),
        number(
            "Rejected batches",
            "Batches in rejected/, since the start",
            "short",
            promql(("", total("batches_rejected_total")), instant=True),
            steps=LOOK,
        ),
        number(
            "Set aside",
            "Files moved to doubtful/, since the start",
            "short",
            promql(("", total("files_set_aside_total")), instant=True),
            steps=LOOK,
        ),
        number(
            "Undecodable",
            "Messages that are no record, since the start",
            "short",
            promql(("", total("undecodable_total")), instant=True),
            steps=LOOK,
        ),
        number(
            "Proxy in use",
            "Bytes stored of the bytes that the proxy's slots can take, the busiest instance",
            "percentunit",
            promql(("", f"max({capacity_used()})"), instant=True),
            steps=((None, GREEN), (0.8, ORANGE), (0.95, RED)),
        ),
    ]


def capacity_used():
    stored = rate("stored_bytes_total", SLOTS)
    return (
        f"{stored} * on (instance) spoolhouse_slot_interval_seconds{ME} / on (instance) spoolhouse_body_bytes_max{ME}"
    )


def ingest():
    return [
        series(
            "Records",
            "Decoded and taken in, against rows that ClickHouse confirmed (over ten minutes)",
            "cps",
            promql(
                ("taken in, {{instance}}", rate("records_total")),
                ("stored, {{instance}}", rate("rows_stored_total", SLOTS)),
            ),
        ),
        series("Segments sealed", "", "cps", promql(("{{instance}}", rate("segments_sealed_total")))),
        series(
            "Kafka",
            "Messages that came again and were passed over, commits not acknowledged, since the start",
            "short",
            promql(
                ("came again", total("redelivered_total")),
                ("commits not acknowledged", total("commit_failures_total")),
                ("offsets lost, partition {{partition}}", f"sum by (partition) (spoolhouse_offsets_lost_total{ME})"),
            ),
        ),
        series(
            "Messages that are no record",
            "By reason, and what was dropped of them, since the start",
            "short",
            promql(
                ("{{reason}}", f"sum by (reason) (spoolhouse_undecodable_total{ME})"),
                ("bytes dropped, {{reason}}", f"sum by (reason) (spoolhouse_undecodable_payloads_dropped_total{ME})"),
                ("only a line left", total("undecodable_forgotten_total")),
                ("limits not kept", total("undecodable_tidy_failures_total")),
                ("texts mended", total("texts_replaced_total")),
            ),
        ),
    ]


def spool():
    return [
        series(
            "Spool",
            "Size of all files; grows while there is more than the proxy takes",
            "decbytes",
            promql(
                ("all, {{instance}}", f"sum by (instance) (spoolhouse_spool_bytes{ME})"),
                ("undecodable, {{instance}}", f"sum by (instance) (spoolhouse_undecodable_bytes{ME})"),
            ),
        ),
        series(
            "Disk",
            "Since the start",
            "short",
            promql(
                ("operations that failed", total("disk_errors_total")),
                ("pauses of consumption", total("pauses_total")),
                ("files set aside", total("files_set_aside_total")),
            ),
        ),
    ]


def upload():
    return [
        series(
            "Requests to the proxy",
            "Per minute, by outcome",
            "short",
            promql(("{{outcome}}", f"sum by (outcome) (rate(spoolhouse_requests_total{ME}[5m])) * 60")),
            stacked=True,
        ),
        series(
            "Time of a request",
            "From sending it to the end of its answer",
            "s",
            promql(
                *(
                    (f"{share:.0%}", f"histogram_quantile({share}, {rate('request_seconds_bucket', SLOTS, 'le')})")
                    for share in (0.5, 0.95)
                )
            ),
        ),
        series(
            "Proxy in use over time",
            "Bytes stored of the bytes that the slots can take, over ten minutes",
            "percentunit",
            promql(("{{instance}}", capacity_used())),
        ),
        series(
            "Slot interval",
            "Between two requests that the proxy admits, as configured or learned",
            "s",
            promql(("{{instance}}", f"sum by (instance) (spoolhouse_slot_interval_seconds{ME})")),
        ),
        series(
            "Bytes per stored row",
            "Over ten minutes",
            "decbytes",
            promql(("{{instance}}", f"{rate('stored_bytes_total', SLOTS)} / {rate('rows_stored_total', SLOTS)}")),
        ),
        series(
            "Rejected",
            "Batches whose data ClickHouse refused, and 1 while an operator is needed",
            "short",
            promql(
                ("batches in rejected/", total("batches_rejected_total")),
                ("operator needed, {{instance}}", f"sum by (instance) (spoolhouse_operator_needed{ME})"),
            ),
        ),
    ]


def instances():
    query = "label_values(spoolhouse_spool_bytes, instance)"
    asked = {"qryType": 1, "query": query, "refId": "instance"}
    variable = several("instance", "Instance", PROMETHEUS, asked, query).all_value(".*")
    return variable.sort(dashboards.VariableSort.ALPHABETICAL_ASC)


def board():
    return lay_out(
        "Spoolhouse: pipeline",
        UID,
        "From the metrics that every instance serves under /metrics.",
        "now-6h",
        "30s",
        [source("prometheus", "Prometheus", PROMETHEUS.type_val, "spoolhouse-prometheus"), instances()],
        [(None, figures()), ("Kafka to spool", ingest()), ("Spool", spool()), ("Spool to ClickHouse", upload())],
    )
