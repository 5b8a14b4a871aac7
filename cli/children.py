"""Child processes of an embedded cluster: started, watched for their ready line, stopped in time."""

from __future__ import annotations

import collections
import ctypes
import logging
import logging.handlers
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from cli.errors import CommandError

TAIL_LINES = 40
LOG_BYTES = 4 << 20
_LINE_BYTES = 16_384
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Child:
    """One process of ours, in a session of its own so that a terminal's Ctrl-C reaches only its parent.

    Args:
        name: for people: ``master``, ``worker 2``, ``api``.
        module: run as ``python -m module``.
        log: where its output goes (at most 4 MiB and one older file), or None.
        ready: matched against each line; the match is kept as the process's ready line.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        *,
        ready: re.Pattern[str],
        log: Path | None = None,
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._ready = ready
        self._match: re.Match[str] | None = None
        self._changed = threading.Condition()
        self._log = _log_handler(log)
        command = [sys.executable, "-u", "-m", module, *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
            cwd=cwd,
            # A folder called "node" or "api" in the current directory must not be run instead of ours.
            env={**os.environ, **(environment or {}), "PYTHONSAFEPATH": "1"},
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self, seconds: float) -> re.Match[str]:
        """The ready line's match.

        Raises:
            CommandError: the process ended first, or the time is over.
        """
        end = time.monotonic() + seconds
        with self._changed:
            while self._match is None:
                if not self.running:
                    break
                if time.monotonic() >= end:
                    raise CommandError(
                        f"{self.name} was not ready after {seconds:.0f} s: {self.last_words()}"
                    )
                self._changed.wait(0.1)
        if self._match is None:
            self._reader.join(2.0)
        if self._match is None:
            raise CommandError(f"{self.name} ended at once ({self.how_it_ended()}): {self.last_words()}")
        return self._match

    def how_it_ended(self) -> str:
        """``exit code 3``, ``killed by SIGKILL``."""
        code = self.process.poll()
        if code is None:
            return "still running"
        if code >= 0:
            return f"exit code {code}"
        return f"killed by {signal.Signals(-code).name}"

    def last_words(self) -> str:
        """The last line it wrote that says something."""
        lines = [line for line in self.tail if line.strip()]
        return lines[-1].strip() if lines else "it wrote nothing"

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.running:
            self.process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """True if it ended within ``seconds``."""
        try:
            self.process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        self._finish()
        return True

    def kill(self) -> None:
        """End it and what is left in its session's group, now."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            self.process.poll()
        self.process.wait()
        self._finish()

    def _finish(self) -> None:
        # A grandchild may hold the pipe open; the reader is a daemon thread and may outlive us then.
        self._reader.join(2.0)
        if not self._reader.is_alive() and self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self, stream: IO[bytes]) -> None:
        while raw := stream.readline(_LINE_BYTES):
            line = raw.decode("utf-8", "replace").rstrip("\n")
            self.tail.append(line)
            if self._log is not None:
                self._log.emit(logging.makeLogRecord({"msg": "%s", "args": (line,)}))
            match = self._ready.search(line)
            if match is not None and self._match is None:
                with self._changed:
                    self._match = match
                    self._changed.notify_all()
        if self._log is not None:
            self._log.close()


def _end_with_parent() -> None:
    """In the child: get SIGTERM when the parent dies, also by SIGKILL. Calls nothing that takes a lock."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _log_handler(path: Path | None) -> logging.Handler | None:
    if path is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    return logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
