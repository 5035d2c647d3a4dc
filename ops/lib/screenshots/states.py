"""Made-up states of a Spoolhouse, in the shape of /status.json: for the pictures
and the tests of its page. Every figure is invented, and the same each time.

Invariant: a state has every key that the server sends; tests/status_page.py
compares them with the answer of a real one.
"""

import math
import random

from stack.parts import SLOT_SECONDS
from trial.spool import DIRECTORIES, UNSENT

NOW_MS = 1_795_000_000_000
BODY_BYTES = 1_048_576
DIRECTORIES_SHOWN = [*DIRECTORIES, "inbox"]
REFUSAL = "404, code 60: Unknown table expression identifier 'default.http_log'"
# What a server may answer, too: none of it may become a part of the page.
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script> & \u202e" + "x" * 300


def room(files=0, size=0, rows=0, oldest=None):
    return {"files": files, "bytes": size, "rows": rows, "unreadable": 0, "oldest_s": oldest}


def attempt(
    ago_s, outcome="stored", rows=45_000, fill=0.985, count=1, took=0.9, message=None, latency=(34.0, 66.0, 97.0)
):
    ages = dict(zip(("least_s", "median_s", "most_s"), latency, strict=True))
    return {
        "at_ms": NOW_MS - int(ago_s * 1000),
        "outcome": outcome,
        "batch": f"batch-{int(9_000 - ago_s):010}-{'5b' * 32}.parquet",
        "attempt": count,
        "rows": rows,
        "bytes": int(BODY_BYTES * fill),
        "fill": fill,
        "took_s": took,
        "message": message,
        "latency": ages if outcome == "stored" else None,
    }


def history(waiting, latency, hours=6):
    """Samples over the last hours; both functions take the hours gone by, `latency` gives (median, most) or None."""
    draw = random.Random(5)
    samples = []
    for place in range(hours * 120):
        gone = place / 120
        rows = max(0, int(waiting(gone) * (1 + 0.04 * draw.random())))
        ages = latency(gone)
        samples.append(
            {
                "at_ms": NOW_MS - int((hours - gone) * 3_600_000) + 30_000,
                "spool_bytes": rows * 24,
                "waiting_rows": rows,
                "lag": int(300 * draw.random()),
                "read_per_s": 300.0 + 60 * draw.random(),
                "latency_s": [age * (1 + 0.1 * draw.random()) for age in ages] if ages else None,
            }
        )
    return {"every_s": 30, "samples_max": 720, "samples": samples}


def state(rooms, attempts, past, live=None, **more):
    rooms = {name: room() for name in DIRECTORIES_SHOWN} | rooms
    unsent = [rooms[name] for name in UNSENT]
    rows = sum(room["rows"] for room in unsent)
    batches = math.ceil(rows / 45_000)
    oldest = [room["oldest_s"] for room in unsent if room["oldest_s"] is not None]
    return {
        "dir": "/var/lib/spoolhouse",
        "owner": 4242,
        "bytes": sum(room["bytes"] for room in rooms.values()),
        "bytes_max": 10 * 2**30,
        "free_bytes": 42 * 2**30,
        "free_bytes_min": 256 * 2**20,
        "rooms": rooms,
        "slot": {
            "wait_s": 41.0,
            "interval_s": SLOT_SECONDS,
            "body_bytes_max": BODY_BYTES,
            "full_batch": {"rows": 45_000, "bytes": 1_033_000},
        },
        "drain": {
            "rows_per_batch": 45_000,
            "basis": "achieved",
            "batches": batches,
            "seconds": 41.0 + max(0, batches - 1) * SLOT_SECONDS if batches else 0.0,
        },
        "refusal": None,
        "concerns": [],
        "next_slot_ms": NOW_MS + 41_000,
        "oldest_unsent_s": max(oldest, default=None),
        "live": {
            "at_ms": NOW_MS,
            "started_ms": NOW_MS - 400_000_000,
            "version": "0.1.0",
            "partitions": 6,
            "paused": False,
            "lag": 0,
            "lag_max": 0,
            "unsealed_s": 2.4,
            "retention_s": 60.0,
            "read_per_s": 0.0,
            "since_success": 0,
        }
        | (live or {}),
        "attempts": attempts,
        "history": past,
        "ready": True,
        "held": None,
    } | more


def idle():
    attempts = [
        attempt(
            600 + SLOT_SECONDS * place,
            rows=900 + 37 * place,
            fill=0.03 + place / 400,
            took=0.2,
            latency=(5.0, 21.0, 38.0),
        )
        for place in range(12, 0, -1)
    ]
    past = history(
        lambda gone: 22_000 * max(0, math.sin(gone)) if gone < 5.7 else 0, lambda gone: (34, 68) if gone < 5.8 else None
    )
    return state({}, attempts, past, {"unsealed_s": 0.0}, next_slot_ms=NOW_MS - 500_000)


def busy():
    attempts = [
        attempt(
            21 + SLOT_SECONDS * place,
            fill=0.975 + (place % 4) / 200,
            took=0.7 + (place % 3) / 5,
            latency=(2_460.0, 2_490.0, 2_530.0),
        )
        for place in range(14, 0, -1)
    ]
    attempts += [
        attempt(22, "throttled", took=0.004),
        attempt(21, took=1.1, count=2, latency=(2_470.0, 2_500.0, 2_541.0)),
    ]
    rooms = {
        "sealed": room(1, 41_000, 1_620, 1),
        "ready": room(412, 17_400_000, 668_000, 2_510),
        "batches": room(1, 1_033_000, 45_020, 18),
        "undecodable": room(2, 20_480, 31, 86_000),
    }
    past = history(
        lambda gone: 20_000 + 14_000 * gone if gone < 3.5 else 69_000 + 260_000 * (gone - 3.5),
        lambda gone: (40 + 300 * max(0, gone - 3.5) ** 2, 95 + 420 * max(0, gone - 3.5) ** 2),
    )
    return state(rooms, attempts, past, {"lag": 212, "lag_max": 61, "read_per_s": 801.3})


def broken():
    attempts = [attempt(900 - 60 * place, rows=45_000) for place in range(3)]
    attempts += [attempt(600, "unknown", message="502 Bad Gateway", count=1)]
    attempts += [attempt(540 - 120 * place, "refused_operator", message=REFUSAL, count=2 + place) for place in range(4)]
    concerns = [
        {"file": "rejected/batch-0000000039-5b5b.parquet", "why": "400, code 53: Type mismatch in column url"},
        {"file": "doubtful/seg-0000000012.parquet", "why": "another member of the group committed past it"},
    ]
    rooms = {
        "sealed": room(1, 41_000, 1_620, 9),
        "ready": room(120, 5_400_000, 212_000, 640),
        "batches": room(1, 1_033_000, 45_020, 600),
        "rejected": room(1, 990_000, 44_000, 7_000),
        "doubtful": room(1, 40_000, 1_500, 9_000),
        "undecodable": room(2, 20_480, 31, 86_000),
    }
    past = history(
        lambda gone: 24_000 if gone < 5.8 else 24_000 + 1_100_000 * (gone - 5.8),
        lambda gone: (36, 70) if gone < 5.8 else None,
    )
    held = "consumption is paused: the spool or its disk is full, or the disk fails"
    live = {"since_success": 5, "paused": True, "lag": 91_500, "lag_max": 15_400, "unsealed_s": 41.0}
    return state(rooms, attempts, past, live, refusal=REFUSAL, concerns=concerns, ready=False, held=held)


def crowded():
    """Very many files, and very large figures."""
    attempts = [attempt(10 * place, "throttled", message=HOSTILE, count=1_000 - place) for place in range(50, 0, -1)]
    rooms = {
        name: room(files, files * 41_000, files * 1_620, 9_000_000)
        for name, files in {
            "sealed": 12_345,
            "ready": 103_456,
            "batches": 2_345,
            "sending": 1,
            "rejected": 12_345,
            "doubtful": 100_000,
            "undecodable": 99_999,
        }.items()
    }
    concerns = [{"file": f"rejected/batch-{place:010}-{'5b' * 32}.parquet", "why": HOSTILE} for place in range(100)]
    live = {
        "lag": 1_234_567_890,
        "lag_max": 987_654_321,
        "read_per_s": 123_456.7,
        "unsealed_s": 5_000_000.0,
        "since_success": 1_000,
    }
    return state(rooms, attempts, history(lambda gone: 1e9 * gone, lambda _gone: (1e5, 1e6)), live, concerns=concerns)


def empty():
    """Just started: nothing was ever read or sent."""
    past = {"every_s": 30, "samples_max": 720, "samples": []}
    live = {"partitions": 0, "lag": None, "lag_max": None, "unsealed_s": 0.0, "retention_s": None}
    return state({}, [], past, live, ready=False, held="no partitions are assigned", next_slot_ms=0)


STATES = {"idle": idle, "busy": busy, "broken": broken, "crowded": crowded, "empty": empty}
