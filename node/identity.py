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
from typing import NamedTuple

import msgspec

from node.store import journal

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


class _Log(NamedTuple):
    """The last position of a log, and who its voters are then."""

    length: int
    voters: tuple[str, ...]


NO_LOG = _Log(0, ())


def take(data: Path, *, founder: bool) -> NodeIdentity:
    """A free identity under ``data``, else a new one.

    The voters of the longest log come first, founder or not: fewer nodes may come back than there were,
    and without a majority of those no master is elected. Without a log a founder takes the one that was
    to found before, and nobody else takes that.

    Raises:
        IdentityError: the directory cannot be written.
    """
    nodes = data / "nodes"
    try:
        nodes.mkdir(parents=True, exist_ok=True)
        known = {entry: _log(entry / DATABASE) for entry in nodes.iterdir() if entry.is_dir()}
        logged = any(log.length for log in known.values())
        voters = max(known.values(), default=NO_LOG).voters

        def rank(entry: Path) -> tuple[bool, int, bool, str]:
            marked = (entry / FOUNDED).exists()
            return entry.name not in voters, -known[entry].length, founder != marked, entry.name

        for directory in sorted(known, key=rank):
            if not founder and not known[directory].length and (directory / FOUNDED).exists():
                continue
            lock = _lock(directory)
            if lock is not None:
                stranger = logged and not known[directory].length
                return NodeIdentity(directory.name, directory, lock, stranger)
        while True:
            directory = nodes / f"n{secrets.token_hex(4)}"
            lock = _lock(directory)
            if lock is not None:
                if founder:
                    (directory / FOUNDED).touch()
                return NodeIdentity(directory.name, directory, lock, logged)
    except OSError as error:
        raise IdentityError(
            f"the data directory {data} cannot be used: {error.strerror or error}; "
            "give another with --data or mend its permissions"
        ) from error


def _log(database: Path) -> _Log:
    """What a database holds; nothing if it is not there, is older than voters, or cannot be read now."""
    if not database.exists():
        return NO_LOG
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1.0)) as connection:
            state = journal.read_state(connection)
            length = max(journal.last_position(connection), state.base.position)
            return _Log(length, journal.voters_at(connection, state, length))
    except (sqlite3.Error, msgspec.MsgspecError):
        # The store says what is wrong with it, when it is opened.
        return NO_LOG


def _lock(directory: Path) -> int | None:
    directory.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
