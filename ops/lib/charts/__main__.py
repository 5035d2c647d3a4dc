"""The command of ops/charts: writes the dashboards, or draws them.

Invariant: with --check nothing is written, and the exit code says whether the
files are what the code makes.
"""

import argparse
import sys

from charts import grafana, health, plot, traffic
from stack.parts import ROOT

DASHBOARDS = ROOT / "ops/grafana/provisioning/dashboards"
BOARDS = (traffic, health)


def write(check):
    """Writes every dashboard that differs; with `check` only says which do."""
    differing = []
    for module in BOARDS:
        file = DASHBOARDS / f"{module.UID}.json"
        text = grafana.to_json(module.board())
        if not file.exists() or file.read_text() != text:
            differing.append(file)
            if not check:
                file.write_text(text)
    known = {f"{module.UID}.json" for module in BOARDS}
    differing += [file for file in DASHBOARDS.glob("*.json") if file.name not in known]
    for file in differing:
        print(f"{file.relative_to(ROOT)}: {'is not what ops/charts makes' if check else 'written'}")
    return 1 if check and differing else 0


def main():
    parser = argparse.ArgumentParser(prog="ops/charts", description="The dashboards of ops/grafana.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("write", help="write the dashboards from the code in ops/lib/charts")
    command.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file would change")
    command = commands.add_parser(
        "plot",
        help="draw a dashboard with real data into ops/grafana",
        description=plot.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plot.add_arguments(command)
    given = parser.parse_args()
    return write(given.check) if given.command == "write" else plot.run(given)


if __name__ == "__main__":
    sys.exit(main())
