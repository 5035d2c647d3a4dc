"""How a trial is run: its steps, and the programs that are called within them.

Invariant: whatever happens, what a trial started is stopped; what it wrote is
kept unless everything was in order.
"""

import shutil
import signal
import subprocess
import sys
import time

from confluent_kafka import KafkaException

from stack.clickhouse import ClickHouseError
from stack.parts import StackError

TICK_SECONDS = 0.2


class Failure(Exception):
    """The trial can't go on; what to look at is in the text."""


def say(text):
    print(text, flush=True)


def output_of(command, what, **options):
    """What a program printed; Failure with its own words if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise Failure(f"{what} failed:\n{done.stderr}")
    return done.stdout


def wait_until(holds, seconds_max, every=TICK_SECONDS, meanwhile=lambda: None):
    """Whether it came to hold in time."""
    deadline = time.monotonic() + seconds_max
    while not holds():
        if time.monotonic() > deadline:
            return False
        meanwhile()
        time.sleep(every)
    return True


def carry_out(name, trial, keep=False):
    """Runs the trial's `steps`, which say whether all was in order; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{name}: stopped by a signal"))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    good = False
    try:
        good = trial.steps()
    except (Failure, StackError, ClickHouseError, KafkaException) as failure:
        print(f"{name}: {failure}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
    finally:
        trial.stop_all()
        if good and not keep:
            shutil.rmtree(trial.dir, ignore_errors=True)
        elif trial.dir.exists():
            print(f"kept: {trial.dir} (spool/, stack/, spoolhouse.log, producer.log, expected.ndjson)")
    return 0 if good else 1
