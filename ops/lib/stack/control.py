"""What ops/stack does with the parts: brings them up and down. What a part is, parts.py says.

Invariant: `up` returns 0 only when every part asked for answers; `down` never
touches a process that the stack didn't start; only `reset` deletes data.
"""

import os
import shutil
import sys
import time

from stack.parts import StackError, listening
from stack.process import age_seconds

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
            print(
                f"{part.name:<11}{took:4.1f} s  127.0.0.1:{part.port}  pid {part.daemon.pid()}  {how[part]}", flush=True
            )
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
