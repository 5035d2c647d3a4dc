"""The command ops/torture: which torture, and how much of it."""

import sys

from torture.full_spool import FullSpool
from torture.kills import Torture
from trial import arguments
from trial.run import carry_out


def main():
    parser = arguments.parser(
        "ops/torture",
        "Kills spoolhouse N times under load: half of the times with kill -9 at a random moment, half\n"
        "at the named steps of every hand-over (src/failpoint.rs), which only the dev build has. Beside it\n"
        "`spoolhouse upload` is asked for files, and killed, too. Then lets the spool empty and compares\n"
        "what ClickHouse holds with what was produced, row by row.\n\n"
        "Starts a stack of its own in target/torture/, emptied first, with a proxy that admits four\n"
        "requests a second, on ports 30092, 30093, 30123 to 30125 unless the environment names others\n"
        "(ops/stack --help). 200 kills take about five minutes.",
    )
    arguments.number(parser, "--kills", 200, "how often to kill")
    arguments.number(parser, "--rate", 2500, "messages per second")
    arguments.number(parser, "--seed", 1, "of the traffic and the kills")
    arguments.keep(parser, "target/torture")
    parser.add_argument(
        "--full-spool",
        action="store_true",
        help="instead: what happens when the proxy is down for three minutes, the spool's budget is "
        "2 MiB and Kafka forgets what isn't read",
    )
    given = arguments.parse(parser, "kills", "rate")
    trial = FullSpool(given.seed) if given.full_spool else Torture(given)
    return carry_out("ops/torture", trial, given.keep)


if __name__ == "__main__":
    sys.exit(main())
