"""Synthetic traffic, as `spoolhouse produce` makes it.

Invariant: the rows follow from `Traffic` alone, so they can be made again to be
compared with what arrived.
"""

import datetime
import json
from dataclasses import dataclass

from trial.run import output_of

START = "2026-01-02T03:04:05Z"  # of the synthetic timestamps: the same seed, the same rows
START_SECONDS = int(datetime.datetime.fromisoformat(START).timestamp())


@dataclass(frozen=True)
class Traffic:
    """What the producer is asked for; it may be stopped before it has sent `count`."""

    rate: int
    count: int
    seed: int
    bad_percent: float = 0.0
    profile: str = "uniform"
    start: str | None = START  # None: the moment of the start, for latencies

    def command(self, binary, *more, count=None):
        """`count`: only so many of the first messages."""
        return [
            str(word)
            for word in (
                *(binary, "produce", "--rate", self.rate, "--count", self.count if count is None else count),
                *("--seed", self.seed, "--bad-percent", self.bad_percent, "--profile", self.profile),
                *(("--start", self.start) if self.start else ()),
                *more,
            )
        ]

    def expected(self, binary, file, count=None):
        """Writes the rows of the good messages, unmasked, as NDJSON; what the producer says of them."""
        command = self.command(binary, "--dry-run", "--expect", file, count=count)
        return json.loads(output_of(command, "making the expected rows").splitlines()[-1])
