"""The commands of ops/stack: which there are, and one at a time."""

import argparse
import fcntl
import sys

from stack.clickhouse import ClickHouseError
from stack.control import EXIT_NOT_RUNNING, down, logs, reset, status, up
from stack.parts import PARTS, Settings, StackError

HELP = """\
The local stack: each part a real one, without containers, on 127.0.0.1.

  kafka       Apache Kafka (KRaft), topic http_log
  clickhouse  the ClickHouse engine behind a thin HTTP front, sql/ applied
  proxy       nginx limited to one request a minute, in front of clickhouse

environment (defaults in brackets; give the same to every command of a stack):
  STACK_DIR                 data, logs and pid files [target/stack]
  KAFKA_PORT                [9092]; the controller takes KAFKA_CONTROLLER_PORT [KAFKA_PORT + 1]
  CLICKHOUSE_PORT           [8123]
  CLICKHOUSE_USERS          JSON file of who may ask it, and how [everybody, everything]
  PROXY_PORT                [8124]
  KAFKA_PARTITIONS          of http_log, when it is created [6]
  KAFKA_RETENTION_MS        how long Kafka keeps data, at least [60000]
  KAFKA_RETENTION_CHECK_MS  how often Kafka looks for old data [300000]
  PROXY_RATE                as nginx writes it: 1r/m, 60r/m, 10r/s [1r/m]
  PROXY_BODY                largest request body: 4m, 64k [nginx's default, 1m]

files in STACK_DIR: PART.pid (first line: the pid), PART.log, and
proxy.access.log, whose columns ops/stack.d/nginx.conf explains.

examples:
  ops/stack up                           everything, with sql/ applied
  PROXY_RATE=60r/m ops/stack restart proxy
  ops/stack logs -f clickhouse
"""


def part_name(text):
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"{text} is no part; the parts are {', '.join(PARTS)}")
    return text


def arguments():
    parser = argparse.ArgumentParser(
        prog="ops/stack", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("up", "start the parts that do not run; returns when they answer"),
        ("down", "stop the parts; their data stays"),
        ("restart", "stop and start, with the settings now given"),
        ("status", f"one line per part; exit code {EXIT_NOT_RUNNING} if one does not run"),
        ("reset", "stop the parts and delete their data"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "parts",
            nargs="+" if name == "restart" else "*",
            metavar="PART",
            type=part_name,
            help=", ".join(PARTS) + ("" if name == "restart" else "; all when none is named"),
        )
    command = commands.add_parser("logs", help="the last lines of a part's log", description="Show a part's log.")
    command.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    command.add_argument("parts", nargs=1, metavar="PART", type=part_name, help=", ".join(PARTS))
    return parser.parse_args()


def main():
    given = arguments()
    settings = Settings.from_environment()
    parts = [make(settings) for name, make in PARTS.items() if not given.parts or name in given.parts]
    if given.command == "logs":
        logs(parts[0], given.follow)
    if given.command == "status":
        return status(parts)
    settings.dir.mkdir(parents=True, exist_ok=True)
    with open(settings.dir / "lock", "w") as lock:  # two at once would start a part twice
        fcntl.flock(lock, fcntl.LOCK_EX)
        if given.command == "restart":
            down(parts)
        return {"up": up, "restart": up, "down": down, "reset": reset}[given.command](parts)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (StackError, ClickHouseError) as error:
        sys.exit(f"ops/stack: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
