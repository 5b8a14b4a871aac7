"""Who this node is: an id and a directory of its own on disk, held by a lock while it runs.

A lost disk is a new node id. Several nodes may share one data directory (an embedded cluster, one
volume for all containers); each takes a free identity, and a restarted node takes one that is free.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

FOUNDED = "founded"
"""The marker of an identity that has founded a cluster, or was to."""
DATABASE = "testring.db"


class IdentityError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class NodeIdentity:
    """``directory`` is ``DATA/nodes/<node>``; the lock lives as long as this object's descriptor."""

    node: str
    directory: Path
    lock: int
    stranger: bool = False
    """Another identity under the same data directory holds a log, and this one does not: it must not
    found a second cluster beside that."""

    def release(self) -> None:
        """Let another process take this identity."""
        os.close(self.lock)


def take(data: Path, *, founder: bool) -> NodeIdentity:
    """A free identity under ``data``, else a new one.

    A founder takes one that has founded before, if it is free; everybody else takes the one whose
    log is the longest, so that the disks that matter are the first to be served again.

    Raises:
        IdentityError: the directory cannot be written.
    """
    nodes = data / "nodes"
    try:
        nodes.mkdir(parents=True, exist_ok=True)
        known = {entry: _log_length(entry / DATABASE) for entry in sorted(nodes.iterdir()) if entry.is_dir()}
        order = sorted(
            known, key=lambda entry: (founder != (entry / FOUNDED).exists(), -known[entry], entry.name)
        )
        for directory in order:
            if not founder and (directory / FOUNDED).exists():
                continue
            lock = _lock(directory)
            if lock is not None:
                stranger = not known[directory] and any(known.values())
                return NodeIdentity(directory.name, directory, lock, stranger)
        while True:
            directory = nodes / f"n{secrets.token_hex(4)}"
            lock = _lock(directory)
            if lock is not None:
                if founder:
                    (directory / FOUNDED).touch()
                return NodeIdentity(directory.name, directory, lock, any(known.values()))
    except OSError as error:
        raise IdentityError(
            f"the data directory {data} cannot be used: {error.strerror or error}; "
            "give another with --data or mend its permissions"
        ) from error


def _log_length(database: Path) -> int:
    """The last position of the log in a database; 0 if there is none, or it cannot be read now."""
    if not database.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1.0)) as connection:
            return int(connection.execute("SELECT coalesce(max(position), 0) FROM log").fetchone()[0])
    except sqlite3.Error:
        # The store says what is wrong with it, when it is opened.
        return 0


def _lock(directory: Path) -> int | None:
    directory.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
