"""How many rows fit into a request, against other ways to send the same rows?

Synthetic traffic goes through ingest's window into a real spool directory and
is packed there by the outlet, as `spoolhouse run` does it (tests/bench/pack.rs),
without a broker or a server. The ClickHouse engine reads every batch back; count
and sum of row hashes must be those of the rows made again from the seed. The
other ways get the rows of the first batch in the order in which they arrived,
and are written by the ClickHouse engine itself or, for parquet-rs's defaults, by
that crate.

The bound of the uniform rows is what their values hold if each is as likely as
any other and rows stand in a fixed order; a batch may sort its rows, which is
worth up to log2(n!)/n bits more.

Packing CPU is what the thread took per slot of the stock proxy: at --rate, when a
slot finds what has arrived since the last one; and with a backlog, when all
batches are full and orders and encodings are tried now and then.
"""

import json
import math

import pyarrow

from bench import base
from bench.base import BINARY
from stack.parts import SLOT_SECONDS
from totals.engine import query
from totals.traffic import produced
from trial import arguments
from trial.run import Failure, output_of, say
from trial.traffic import START_SECONDS, Traffic

HELP = "bytes per row of a batch, against other formats and the bound; packing CPU"
SLOTS = 12  # of which the packing is measured at --rate
MIB = 1 << 20
FULL = 0.97
BPR_GOAL, ROWS_GOAL, BOUND_GOAL, SNAPPY_GOAL, COMPATIBLE_GOAL, CPU_GOAL = 23.3, 45_000, 1.10, 2.5, 27.0, 0.02
# Values per column of the uniform traffic (src/traffic); a
# masked address keeps 24 bits, a file's name has 64.
UNIFORM_VALUES = (10**9, 5_000_000, 60_000, 8, 7, 2, 2**24, 9, 2**64)
COLUMNS = (
    "timestamp UInt32, resource_id UInt64, bytes_sent UInt64, request_time_milli UInt64, response_status UInt16, "
    "cache_status String, method String, remote_addr String, url String"
)
NAMES = ", ".join(column.split()[0] for column in COLUMNS.split(", "))


def add_arguments(parser):
    arguments.number(parser, "--count", 400_000, "rows of each kind of traffic")
    arguments.number(parser, "--rate", 200, "of the traffic, rows per second")
    arguments.number(parser, "--seed", 1, "of the traffic")


def run(given):
    return base.run(Bench(given, "payload"))


class Bench(base.Bench):
    def steps(self):
        self.empty()
        uniform = Packed(self, "uniform")
        realistic = Packed(self, "realistic")
        compatible = Packed(self, "uniform", compatible=True)
        packed = (uniform, realistic, compatible)
        for each in packed:
            each.read_back()
        self.show(*packed)
        snappy = realistic.others["ClickHouse's Parquet, snappy"] / realistic.bytes_per_row
        backlog = max(uniform.cpu_seconds, realistic.cpu_seconds) / SLOT_SECONDS
        share = max(map(self.cpu_seconds_at_rate, ("uniform", "realistic"))) / SLOT_SECONDS
        rate = self.given.rate
        say(f"packing, parts of one core: {share:.2%} at {rate} rows a second, {backlog:.2%} with a backlog")
        self.result = {
            "uniform_bytes_per_row": round(uniform.bytes_per_row, 3),
            "uniform_rows_per_mib": round(MIB / uniform.bytes_per_row),
            "realistic_bytes_per_row": round(realistic.bytes_per_row, 3),
            "realistic_ratio_clickhouse_snappy": round(snappy, 3),
            "compatible_bytes_per_row": round(compatible.bytes_per_row, 3),
            "pack_cpu_share": round(share, 4),
            "pack_cpu_share_backlog": round(backlog, 4),
        }
        size, least = uniform.bytes_per_row, min(batch["fill"] for each in packed for batch in each.full)
        against_bound = size / uniform.bound()
        cpu_goal = f"packing at most {CPU_GOAL:.0%} of a core"
        return base.verdict(
            (f"uniform at most {BPR_GOAL} B/row", size <= BPR_GOAL),
            (f"uniform at least {ROWS_GOAL} rows/MiB", MIB / size >= ROWS_GOAL),
            (f"uniform at most {BOUND_GOAL} x the bound ({against_bound:.3f})", against_bound <= BOUND_GOAL),
            (
                f"realistic at least {SNAPPY_GOAL} x smaller than ClickHouse's snappy Parquet ({snappy:.2f})",
                snappy >= SNAPPY_GOAL,
            ),
            (f"compatible at most {COMPATIBLE_GOAL} B/row", compatible.bytes_per_row <= COMPATIBLE_GOAL),
            (f"every batch but the last at least {FULL:.0%} full ({least:.1%})", least >= FULL),
            (f"{cpu_goal} at {rate} rows a second ({share:.1%})", share <= CPU_GOAL),
            (f"{cpu_goal} with a backlog ({backlog:.1%})", backlog <= CPU_GOAL),
        )

    @staticmethod
    def show(uniform, realistic, compatible):
        print(f"{'uniform B/row':>13} {'rows/MiB':>9} {'realistic B/row':>16} {'rows/MiB':>9}")
        for name in uniform.others:
            line(name, uniform.others[name], realistic.others[name])
        line("packed, compatible", compatible.bytes_per_row, None)
        line("packed", uniform.bytes_per_row, realistic.bytes_per_row)
        line("information bound", uniform.bound(), None)
        for each in (uniform, realistic, compatible):
            fills = sorted(batch["fill"] for batch in each.full)
            say(
                f"{each.name}: {len(each.full)} full batches, {fills[0]:.1%} to {fills[-1]:.1%} full, "
                f"{each.rows_of_first} rows in the first, {each.cpu_seconds:.2f} s of CPU each; "
                "read back by ClickHouse, equal content"
            )

    def pack(self, profile, directory, count, *options):
        """What tests/bench/pack.rs says of each batch."""
        given = self.given
        traffic = ("--profile", profile, "--count", count, "--rate", given.rate, "--seed", given.seed)
        command = [base.program("pack"), "--dir", directory, *traffic, "--start-milli", START_SECONDS * 1000, *options]
        return [json.loads(text) for text in output_of(command, "packing").splitlines()]

    def cpu_seconds_at_rate(self, profile):
        """CPU time per slot when each slot finds what arrived since the last one."""
        rows = round(self.given.rate * SLOT_SECONDS)
        batches = self.pack(profile, self.dir / f"{profile}-at-rate", rows * SLOTS, "--rows-per-slot", rows)
        return sum(batch["cpu_seconds"] for batch in batches) / SLOTS


def line(name, uniform, realistic):
    shown = "".join(
        f"{value:{wide}.2f} {MIB / value:9.0f}" if value else " " * (wide + 10)
        for wide, value in ((13, uniform), (17, realistic))
    )
    print(f"{shown}   {name}")


class Packed:
    """One kind of traffic, packed, and the same rows in other formats."""

    def __init__(self, bench, profile, compatible=False):
        given = bench.given
        self.traffic = Traffic(given.rate, given.count, given.seed, profile=profile)
        self.name = f"{profile}, compatible" if compatible else profile
        self.dir = bench.dir / self.name.replace(", ", "-")
        batches = bench.pack(profile, self.dir, given.count, *(["--compatible"] if compatible else []))
        self.full = batches[:-1]  # the last holds what is left
        if not self.full:
            raise Failure(f"{given.count} rows fill no batch: a larger --count")
        self.rows_of_first = self.full[0]["rows"]
        self.bytes_per_row = sum(batch["bytes"] for batch in self.full) / sum(batch["rows"] for batch in self.full)
        self.cpu_seconds = sum(batch["cpu_seconds"] for batch in self.full) / len(self.full)
        self.others = {}

    def read_back(self):
        """Compares with the rows made again from the seed, and writes those in other formats."""
        expected = self.dir / "expected.ndjson"
        self.traffic.expected(BINARY, expected)
        made = f"({produced(expected, COLUMNS)})"
        packed = f"file('{self.dir}/kept/*.parquet', Parquet, '{COLUMNS}')"
        content = "SELECT count(), sum(cityHash64({0})), groupBitXor(sipHash64({0})) FROM {1}"
        held, due = (query(content.format(NAMES, rows), "CSV") for rows in (packed, made))
        if held != due:
            raise Failure(f"{self.name}: ClickHouse reads {held} out of the batches, and {due} were made")
        first = f"SELECT {NAMES} FROM {made} LIMIT {self.rows_of_first} SETTINGS max_threads = 1"
        snappy = f"{first}, output_format_parquet_compression_method = 'snappy'"
        rows = self.rows_of_first
        self.others = {
            "JSONEachRow": len(query(first, "JSONEachRow")) / rows,
            "RowBinary": len(query(first, "RowBinary")) / rows,
            "parquet-rs's defaults, zstd(1)": (self.dir / "defaults.parquet").stat().st_size / rows,
            "ClickHouse's Parquet, snappy": len(query(snappy, "Parquet")) / rows,
            "ClickHouse's Native, zstd(1)": len(
                pyarrow.Codec("zstd", compression_level=1).compress(query(first, "Native"))
            )
            / rows,
        }

    def bound(self):
        seconds = self.rows_of_first / self.traffic.rate
        return (sum(map(math.log2, UNIFORM_VALUES)) + math.log2(seconds)) / 8
