"""A person who asks for files of the spool while spoolhouse is killed over and over.

Job: `spoolhouse upload` for a random file, beside a process that owns the spool
or without one, and an end to it at any moment.

Invariant: one command at a time, and none owns the spool when `step_aside`
returns: whoever starts spoolhouse next finds the spool free.
"""

import os
import time
from collections import Counter

from stack.process import Daemon
from trial.spool import parquet_files

SENDABLE = ("ready", "batches", "sending")
ALONE_SECONDS = (0.02, 0.8)  # how long a command without an owner may live
OWNER_SECONDS_MAX = 3
ENDS = {0: "stored", 1: "not stored, and kept", 2: "declined, mostly for a file that had moved on"}


class Person:
    def __init__(self, trial, random):
        self.trial, self.random = trial, random
        self.daemon = Daemon("by-hand", trial.dir)
        self.command, self.said_before = None, 0
        self.ends = Counter()

    def ask_beside(self, environment):
        """Asks the owner that has just been started; it may die meanwhile."""
        deadline = time.monotonic() + OWNER_SECONDS_MAX
        owner = self.trial.owner_process
        while self.owner() != owner.pid:
            if owner.poll() is not None or time.monotonic() > deadline:
                return
            time.sleep(0.01)
        self.ask(environment)

    def ask_alone(self, environment):
        """Asks where nobody owns the spool, which makes the command its owner, for a moment."""
        self.ask(environment)
        time.sleep(self.random.uniform(*ALONE_SECONDS))
        self.step_aside()

    def ask(self, environment):
        self.note_end()
        if self.command or not (files := self.files()):
            return
        self.said_before = self.said()
        now = ["--now"] if self.random.random() < 0.5 else []
        self.command = self.daemon.start(
            [self.trial.binary, "upload", "--config", self.trial.config, self.random.choice(files), *now],
            cwd=self.trial.dir,
            env={**os.environ, **environment},
        )

    def files(self):
        return [f"{path.parent.name}/{path.name}" for path in parquet_files(self.trial.spool, *SENDABLE)]

    def step_aside(self):
        """Kills a command that owns the spool, or may come to; one that waits for an owner may go on waiting."""
        self.note_end()
        if not self.command:
            return
        # It speaks only after it has looked for an owner.
        is_waiting = self.said() > self.said_before and self.owner() != self.command.pid
        if is_waiting and self.random.random() < 0.5:
            return
        self.leave()

    def leave(self):
        """Ends whatever still waits."""
        self.note_end()
        if self.command:
            self.command.kill()
            self.command.wait()
            self.note_end()

    def note_end(self):
        if self.command and (status := self.command.poll()) is not None:
            self.ends[ENDS.get(status, "killed" if status == -9 else f"exit status {status}")] += 1
            self.command = None

    def unexpected(self):
        """How commands ended that should not have ended like that."""
        return [end for end in self.ends if end.startswith("exit status")]

    def owner(self):
        """The pid that the lock's last holder left in it."""
        try:
            return int((self.trial.spool / "LOCK").read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def said(self):
        try:
            return self.daemon.log_file.stat().st_size
        except FileNotFoundError:
            return 0
