"""The commands of ops/stack: brings the parts up and down. What a part is, parts.py says.

Invariant: `up` returns 0 only when every part asked for answers; `down` never
touches a process that the stack didn't start; only `reset` deletes data.
"""

import argparse
import fcntl
import os
import shutil
import sys
import time

from clickhouse import ClickHouseError
from parts import PARTS, Settings, StackError, listening
from process import age_seconds

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

EXIT_NOT_RUNNING = 3  # of `status`, as service managers do


def up(parts):
    """Start what doesn't run, all at once: the waiting is the slow part."""
    begun, how, failed = time.monotonic(), {}, False
    for part in reversed(parts):  # kafka last: the others start while it formats its storage
        if part.daemon.pid():
            hint = f"; its settings are not those now given: ops/stack restart {part.name}"
            how[part] = "already running" + (hint if part.config_changed() else "")
            continue
        how[part] = "restarted, it had died" if part.daemon.died() else "up"
        part.daemon.kill_orphans()
        if listening(part.port):
            raise StackError(
                f"{part.name}: port {part.port} is taken by a program that this stack did not start. "
                f"Stop that program (ss -ltnp 'sport = :{part.port}' names it), "
                f"or choose another port: ops/stack --help"
            )
        part.start()
    for part in parts:
        if wait_ready(part):
            part.after_start()
            took = time.monotonic() - begun
            print(f"{part.name:<11}{took:4.1f} s  127.0.0.1:{part.port}  pid {part.daemon.pid()}  {how[part]}", flush=True)
        else:
            failed = True
            print(f"{part.name:<11}does not answer; the last lines of {part.daemon.log_file}:", file=sys.stderr)
            for line in part.daemon.last_lines(25):
                print(f"    {line}", file=sys.stderr)
    return 1 if failed else 0


def wait_ready(part):
    deadline = time.monotonic() + part.start_seconds_max
    while time.monotonic() < deadline and part.daemon.pid():
        if part.ready():
            return True
        time.sleep(0.05)
    return False


def down(parts):
    begun = time.monotonic()
    running = [part for part in parts if part.daemon.pid()]
    for part in reversed(running):
        part.daemon.terminate()
    for part in reversed(parts):
        if part not in running:
            part.daemon.kill_orphans()
            print(f"{part.name:<11}was not running")
            continue
        clean = part.daemon.wait_stopped()
        how = "down" if clean else "killed, it did not stop when asked"
        print(f"{part.name:<11}{how}, {time.monotonic() - begun:.1f} s", flush=True)
    return 0


def status(parts):
    for part in parts:
        if pid := part.daemon.pid():
            answers = "answers" if part.ready() else "does not answer"
            print(f"{part.name:<11}{answers}, 127.0.0.1:{part.port}, pid {pid}, since {age_seconds(pid):.0f} s")
        else:
            print(f"{part.name:<11}{'died' if part.daemon.died() else 'not running'}")
    return 0 if all(part.daemon.pid() for part in parts) else EXIT_NOT_RUNNING


def reset(parts):
    down(parts)
    for part in parts:
        for path in part.data():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        print(f"{part.name:<11}data deleted")
    return 0


def logs(part, follow):
    if not part.daemon.log_file.exists():
        raise StackError(f"{part.name}: no log yet at {part.daemon.log_file}")
    files = [str(part.daemon.log_file)]
    access = part.settings.dir / "proxy.access.log"
    if part.name == "proxy" and access.exists():
        files.append(str(access))
    os.execvp("tail", ["tail", "-n", "100", *(["-F"] if follow else []), *files])


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
            "parts", nargs="+" if name == "restart" else "*", metavar="PART", type=part_name,
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
