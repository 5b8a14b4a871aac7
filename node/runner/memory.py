"""Whether the kernel has killed for memory: what the control group counts. Standard library only.

Loaded by ``caretaker.py`` as a script's neighbour. The node itself kills nothing for the memory it
takes: it is the container's limit, or the machine's, that does. The kernel counts such kills in the
control group of the process that it killed, which a container may read.
"""

from __future__ import annotations

import time

_PAUSE = 5.0
"""Seconds between two readings. A kill counts if it is younger than one to two pauses."""


class KillCount:
    """The counter beside one job, read now and then: an old kill in the same group is not this job's.

    The jobs of one node share its control group. A kill of a neighbour in the same few seconds cannot
    be told from one's own, so this speaks only of a job that was itself ended by SIGKILL.
    """

    def __init__(self) -> None:
        self._path = _counter()
        self._before = self._last = _read(self._path)
        self._due = time.monotonic() + _PAUSE

    def refresh(self) -> float:
        """Read if it is time; seconds until the next reading."""
        now = time.monotonic()
        if now >= self._due:
            # The kill is counted a moment before the process is gone: the last reading may have it.
            self._before, self._last = self._last, _read(self._path)
            self._due = now + _PAUSE
        return self._due - now

    def risen(self) -> bool | None:
        """Whether the kernel has killed for memory just now; None where that cannot be read."""
        now = _read(self._path)
        return None if now is None or self._before is None else now > self._before


def _counter() -> str:
    """The file of this process's control group that counts the kills, or empty."""
    try:
        with open("/proc/self/cgroup") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return ""
    places = []
    for _, controllers, group in lines:
        if controllers == "":
            places += [f"/sys/fs/cgroup{group}/memory.events", "/sys/fs/cgroup/memory.events"]
        elif "memory" in controllers.split(","):
            # In a container the mount begins at the container's own group, the path does not.
            places += [f"/sys/fs/cgroup/memory{group}/memory.oom_control"]
            places += ["/sys/fs/cgroup/memory/memory.oom_control"]
    return next((place for place in places if _read(place) is not None), "")


def _read(path: str) -> int | None:
    """The count in ``memory.events`` (version 2) or ``memory.oom_control`` (version 1)."""
    try:
        with open(path) as file:
            words = dict(line.split(None, 1) for line in file)
        return int(words["oom_kill"])
    except (OSError, KeyError, ValueError):
        return None
