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
import shutil
import subprocess

import chdb
import pyarrow

from stack.parts import ROOT
from trial.base import START, Failure, carry_out

HELP = "bytes per row of a batch, against other formats and the bound; packing CPU"
DIR = ROOT / "target/bench-payload"
RELEASE = ROOT / "target/release"
START_MILLI = 1_767_323_045_000  # START
SLOT_SECONDS = 62.5  # what nginx makes of 1r/m
SLOTS = 12  # of which the packing is measured at --rate
MIB = 1 << 20
FULL = 0.97
BPR_GOAL, ROWS_GOAL, BOUND_GOAL, SNAPPY_GOAL, COMPATIBLE_GOAL, CPU_GOAL = 23.3, 45_000, 1.10, 2.5, 27.0, 0.02
# Values per column of the uniform traffic (src/commands/produce/traffic.rs); a
# masked address keeps 24 bits, a file's name has 64.
UNIFORM_VALUES = (10**9, 5_000_000, 60_000, 8, 7, 2, 2**24, 9, 2**64)
COLUMNS = (
    "timestamp UInt32, resource_id UInt64, bytes_sent UInt64, request_time_milli UInt64, response_status UInt16, "
    "cache_status String, method String, remote_addr String, url String"
)
NAMES = ", ".join(column.split()[0] for column in COLUMNS.split(", "))


def add_arguments(parser):
    parser.add_argument("--count", type=int, default=400_000, metavar="N", help="rows of each kind of traffic [400000]")
    parser.add_argument("--rate", type=int, default=200, metavar="N", help="of the traffic, rows per second [200]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the traffic [1]")


def run(given):
    bench = Bench(given)
    status = carry_out("ops/bench", bench, bench.steps)
    return bench.result, status


class Bench:
    def __init__(self, given):
        self.given, self.dir, self.result = given, DIR, None

    def stop_all(self):
        """Nothing of it runs on."""

    def steps(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        uniform = Packed(self.given, "uniform")
        realistic = Packed(self.given, "realistic")
        compatible = Packed(self.given, "uniform", compatible=True)
        packed = (uniform, realistic, compatible)
        for each in packed:
            each.read_back()
        bound = uniform.bound()
        print(f"{'uniform B/row':>13} {'rows/MiB':>9} {'realistic B/row':>16} {'rows/MiB':>9}")
        for name in uniform.others:
            line(name, uniform.others[name], realistic.others[name])
        line("packed, compatible", compatible.bytes_per_row, None)
        line("packed", uniform.bytes_per_row, realistic.bytes_per_row)
        line("information bound", bound, None)
        for each in packed:
            fills = sorted(batch["fill"] for batch in each.full)
            print(
                f"{each.name}: {len(each.full)} full batches, {fills[0]:.1%} to {fills[-1]:.1%} full, "
                f"{each.rows_of_first} rows in the first, {each.cpu_seconds:.2f} s of CPU each; "
                "read back by ClickHouse, equal content"
            )
        snappy = realistic.others["ClickHouse's Parquet, snappy"] / realistic.bytes_per_row
        backlog = max(uniform.cpu_seconds, realistic.cpu_seconds) / SLOT_SECONDS
        share = max(map(self.cpu_seconds_at_rate, ("uniform", "realistic"))) / SLOT_SECONDS
        print(
            f"packing, parts of one core: {share:.2%} at {self.given.rate} rows a second, {backlog:.2%} with a backlog"
        )
        self.result = {
            "uniform_bytes_per_row": round(uniform.bytes_per_row, 3),
            "uniform_rows_per_mib": round(MIB / uniform.bytes_per_row),
            "realistic_bytes_per_row": round(realistic.bytes_per_row, 3),
            "realistic_ratio_clickhouse_snappy": round(snappy, 3),
            "compatible_bytes_per_row": round(compatible.bytes_per_row, 3),
            "pack_cpu_share": round(share, 4),
            "pack_cpu_share_backlog": round(backlog, 4),
        }
        least = min(batch["fill"] for each in packed for batch in each.full)
        goals = (
            (f"uniform at most {BPR_GOAL} B/row", uniform.bytes_per_row <= BPR_GOAL),
            (f"uniform at least {ROWS_GOAL} rows/MiB", MIB / uniform.bytes_per_row >= ROWS_GOAL),
            (
                f"uniform at most {BOUND_GOAL} x the bound ({uniform.bytes_per_row / bound:.3f})",
                uniform.bytes_per_row <= BOUND_GOAL * bound,
            ),
            (
                f"realistic at least {SNAPPY_GOAL} x smaller than ClickHouse's snappy Parquet ({snappy:.2f})",
                snappy >= SNAPPY_GOAL,
            ),
            (f"compatible at most {COMPATIBLE_GOAL} B/row", compatible.bytes_per_row <= COMPATIBLE_GOAL),
            (f"every batch but the last at least {FULL:.0%} full ({least:.1%})", least >= FULL),
            (
                f"packing at most {CPU_GOAL:.0%} of a core at {self.given.rate} rows a second ({share:.1%})",
                share <= CPU_GOAL,
            ),
            (f"packing at most {CPU_GOAL:.0%} of a core with a backlog ({backlog:.1%})", backlog <= CPU_GOAL),
        )
        for goal, met in goals:
            print(f"{goal}: {'met' if met else 'MISSED'}")
        return all(met for _, met in goals)

    def cpu_seconds_at_rate(self, profile):
        """CPU time per slot when each slot finds what arrived since the last one."""
        rows = round(self.given.rate * SLOT_SECONDS)
        batches = pack(self.given, profile, DIR / f"{profile}-at-rate", rows * SLOTS, "--rows-per-slot", rows)
        return sum(batch["cpu_seconds"] for batch in batches) / SLOTS


def line(name, uniform, realistic):
    shown = "".join(
        f"{value:{wide}.2f} {MIB / value:9.0f}" if value else " " * (wide + 10)
        for wide, value in ((13, uniform), (17, realistic))
    )
    print(f"{shown}   {name}")


class Packed:
    """One kind of traffic, packed, and the same rows in other formats."""

    def __init__(self, given, profile, compatible=False):
        self.given, self.profile = given, profile
        self.name = f"{profile}, compatible" if compatible else profile
        self.dir = DIR / self.name.replace(", ", "-")
        batches = pack(given, profile, self.dir, given.count, *(["--compatible"] if compatible else []))
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
        call(
            [
                RELEASE / "spoolhouse",
                "produce",
                "--dry-run",
                "--expect",
                expected,
                "--profile",
                self.profile,
                "--count",
                self.given.count,
                "--rate",
                self.given.rate,
                "--seed",
                self.given.seed,
                "--start",
                START,
            ]
        )
        made = (
            f"(SELECT * REPLACE (replaceRegexpOne(remote_addr, '[0-9]+$', 'X') AS remote_addr) "
            f"FROM file('{expected}', JSONEachRow, '{COLUMNS}'))"
        )
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
        seconds = self.rows_of_first / self.given.rate
        return (sum(map(math.log2, UNIFORM_VALUES)) + math.log2(seconds)) / 8


def pack(given, profile, directory, count, *options):
    """What tests/bench/pack.rs says of each batch."""
    # Cargo names the file after a hash; the newest is the one just built.
    programs = [file for file in (RELEASE / "deps").glob("pack-*") if not file.suffix]
    program = max(programs, key=lambda file: file.stat().st_mtime)
    said = call(
        [
            program,
            "--dir",
            directory,
            "--profile",
            profile,
            "--count",
            count,
            "--rate",
            given.rate,
            "--seed",
            given.seed,
            "--start-milli",
            START_MILLI,
            *options,
        ]
    )
    return [json.loads(text) for text in said.splitlines()]


def query(sql, kind):
    return chdb.query(sql, kind).bytes()


def call(command):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout
