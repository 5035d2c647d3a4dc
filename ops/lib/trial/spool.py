"""Looks into a spool directory from outside, as `ls` would.

Invariant: looking changes nothing, and a file that moves on meanwhile is no error.
"""

import contextlib
from pathlib import Path

UNSENT = ("sealed", "ready", "batches", "sending")
DIRECTORIES = ("open", *UNSENT, "rejected", "undecodable", "doubtful")


def parquet_files(spool, *directories):
    """The Parquet files in these directories, in the order of their names."""
    return [path for name in directories for path in sorted((Path(spool) / name).glob("*.parquet"))]


def listing(spool):
    """{directory: (files, bytes)} of everything that is there."""
    found = {}
    for name in DIRECTORIES:
        files = size = 0
        with contextlib.suppress(FileNotFoundError):  # the directory is not made yet
            for path in (Path(spool) / name).iterdir():
                with contextlib.suppress(FileNotFoundError):  # moved away just now
                    size += path.stat().st_size
                    files += 1
        found[name] = (files, size)
    return found


def human(size):
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def unsent(spool):
    """How many files wait to be sent."""
    found = listing(spool)
    return sum(found[name][0] for name in UNSENT)
