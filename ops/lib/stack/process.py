"""Processes that outlive the command that started them.

Job: start one detached, know it again later, stop it.
Invariant: a signal is sent only to a process that this module started. The pid
file holds the pid (first line, so `head -1` is enough for a shell) and the
kernel's start time (second line); a pid that was reused has another start time.
"""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

STOP_SECONDS_MAX = 30


def start_ticks(pid):
    """The kernel's start time of a live process, None if there is none (or only its zombie)."""
    fields = stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def stat(pid):
    """The fields of /proc/PID/stat from the state on."""
    try:
        # The command name may hold spaces and parentheses: split after the last one.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def send(pid, number):
    with contextlib.suppress(ProcessLookupError):  # it left by itself just now
        os.kill(pid, number)


def session_members(leader):
    found = {int(entry.name): stat(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return [pid for pid, fields in found.items() if fields and fields[0] not in "ZX" and int(fields[3]) == leader]


def age_seconds(pid):
    ticks = start_ticks(pid)
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK")) if ticks is not None else 0.0


def memory(pid, field):
    """Bytes of memory of a live process: VmRSS, what it has; VmHWM, the most it ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    return 0


class Daemon:
    """One detached process, known by its pid file."""

    def __init__(self, name, directory):
        self.name = name
        self.pid_file = Path(directory) / f"{name}.pid"
        self.log_file = Path(directory) / f"{name}.log"

    def pid(self):
        """The pid while the process runs, else None."""
        try:
            pid, ticks = map(int, self.pid_file.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        return pid if start_ticks(pid) == ticks else None

    def died(self):
        """Whether it was started, never stopped, and is gone."""
        return self.pid_file.exists() and self.pid() is None

    def kill_orphans(self):
        """Ends what a killed process left behind: nginx's workers outlive their master.

        They are in its session, whose number no new process can get while one of them lives.
        """
        if not self.died():
            return
        leader = int(self.pid_file.read_text().split()[0])
        while start_ticks(leader) is None and (orphans := session_members(leader)):
            for pid in orphans:
                send(pid, signal.SIGKILL)
            time.sleep(0.02)
        self.pid_file.unlink()

    def start(self, argv, **popen):
        with open(self.log_file, "ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            child = subprocess.Popen(argv, start_new_session=True, **{**streams, **popen})
        part = self.pid_file.with_suffix(".pid.part")
        part.write_text(f"{child.pid}\n{start_ticks(child.pid) or 0}\n")
        part.replace(self.pid_file)
        return child

    def terminate(self):
        if pid := self.pid():
            send(pid, signal.SIGTERM)

    def wait_stopped(self):
        """After terminate(): True if it left by itself, False if it had to be killed."""
        deadline = time.monotonic() + STOP_SECONDS_MAX
        self.kill_orphans()
        pid, clean = self.pid(), True
        while pid and self.pid():
            if time.monotonic() > deadline:
                send(pid, signal.SIGKILL)
                clean = False
            time.sleep(0.02)
        self.kill_orphans()
        self.pid_file.unlink(missing_ok=True)
        return clean

    def last_lines(self, count):
        try:
            lines = self.log_file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return lines[-count:]
