"""The command of ops/bench: which benches there are, and how a result is printed.

Invariant: with --json the last line of the output is one JSON object; a number
is printed only after what it measured was counted back and found complete.
"""

import argparse
import json
import sys

from bench import drain, estimate, ingest, pace, payload, roll, startup, totals

BENCHES = {
    "drain": drain,
    "estimate": estimate,
    "ingest": ingest,
    "pace": pace,
    "payload": payload,
    "roll": roll,
    "startup": startup,
    "totals": totals,
}


def main():
    parser = argparse.ArgumentParser(
        prog="ops/bench", description="Measures the release build on real parts. Trust ratios, not absolutes."
    )
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, bench in BENCHES.items():
        command = names.add_parser(
            name, help=bench.HELP, description=bench.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_argument("--json", action="store_true", help="print the result as one JSON object, too, last")
        bench.add_arguments(command)
    given = parser.parse_args()
    result, status = BENCHES[given.name].run(given)
    if given.json and result:
        print(json.dumps(result), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
