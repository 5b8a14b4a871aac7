"""Histories that are not the cluster's: what this node had committed while it was master beside another one.

Each is a whole database, set aside under a name of its own, from which one evaluation after the other is
given to the master. A file that the node's own database does not name was not needed in the end.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec import Struct

from node.store import merging, past
from node.store.errors import translated
from node.store.schema import connect, migrate
from proto.voting import NO_EPOCH, Epoch, OfferHistory

NAME = "aside"
"""In ``meta``: the files, and in each of them the position from which on it differs."""
PATTERN = "aside-*.db"


class Standing(Struct, frozen=True, kw_only=True):
    """What the tables know of an evaluation."""

    known: bool
    ended: Epoch | None
    """The epoch in which it was ended, if it is over."""
    settled: bool
    """This very history of it was dealt with before."""


def standing(connection: sqlite3.Connection, evaluation: int, node: str, history: str) -> Standing:
    """See ``Standing``; ``history`` is one of ``node``."""
    row = connection.execute(
        "SELECT ended, closed_counter, closed_node FROM evaluations WHERE id = ?", (evaluation,)
    ).fetchone()
    return Standing(
        known=row is not None,
        ended=None if row is None or row[0] is None else Epoch(row[1], row[2]),
        settled=merging.settled(connection, evaluation, node, history),
    )


def write(database: Path, first: int, *, busy_seconds: float) -> Path:
    """Copy ``database`` to a new file beside it, on disk for certain when this returns."""
    path = database.with_name(f"aside-{secrets.token_hex(8)}.db")
    with translated(path), closing(connect(database, busy_seconds=busy_seconds)) as connection:
        connection.execute("VACUUM INTO ?", (str(path),))
    with translated(path), closing(connect(path, busy_seconds=busy_seconds)) as copied:
        copied.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (NAME, str(first)))
    for one, flags in ((path, os.O_RDWR), (path.parent, os.O_RDONLY)):
        descriptor = os.open(one, flags)
        os.fsync(descriptor)
        os.close(descriptor)
    return path


def remember(connection: sqlite3.Connection, path: Path) -> None:
    """Name one more file, in the caller's transaction."""
    _keep(connection, [*_names(connection), path.name])


def remembered(connection: sqlite3.Connection, database: Path) -> list[Path]:
    """The files that wait, oldest first; those that nobody names, and names without a file, go."""
    found = {path.name: path for path in database.parent.glob(PATTERN)}
    names = [name for name in _names(connection) if name in found]
    for name, path in found.items():
        if name not in names:
            _unlink(path)
    _keep(connection, names)
    return [found[name] for name in names]


def _names(connection: sqlite3.Connection) -> list[str]:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (NAME,)).fetchone()
    return [] if row is None else msgspec.json.decode(row[0], type=list[str])


def _keep(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)", (NAME, msgspec.json.encode(names).decode())
    )


class Aside:
    """The files at ``paths``. Every method blocks on the disk; they are called one at a time.

    Raises:
        StoreError: one cannot be opened. Every method may raise it.
    """

    def __init__(self, paths: Sequence[Path], *, busy_seconds: float) -> None:
        self._files: dict[str, tuple[Path, sqlite3.Connection]] = {}
        self._cut: tuple[str, int, list[bytes]] = ("", 0, [])
        """History, evaluation, and the parts of it: those of one evaluation, while it is on its way."""
        for path in paths:
            connection = connect(path, busy_seconds=busy_seconds)
            self._files[path.stem] = (path, connection)
            migrate(connection, path)

    def offers(self) -> list[OfferHistory]:
        """Every evaluation that may have gone another way than in the cluster, oldest first."""
        return [
            offer
            for history, (path, connection) in self._files.items()
            for offer in _offers(history, path, connection)
        ]

    def packages(self) -> frozenset[str]:
        """The packages that these evaluations need."""
        return frozenset(package for offer in self.offers() for package in offer.packages)

    def part(self, history: str, evaluation: int, number: int) -> tuple[bytes, bool]:
        """One part of an evaluation, and whether it is the last.

        Raises:
            LookupError: there is no such part.
        """
        if self._cut[:2] != (history, evaluation):
            path, connection = self._files[history]
            with translated(path):
                self._cut = history, evaluation, list(past.parts(connection, evaluation))
        bodies = self._cut[2]
        return bodies[number], number == len(bodies) - 1

    def drop(self, history: str, evaluation: int) -> None:
        """The cluster has it. A file without any goes."""
        self._cut = "", 0, []
        path, connection = self._files[history]
        with translated(path):
            connection.execute("DELETE FROM evaluations WHERE id = ?", (evaluation,))
            if not _offers(history, path, connection):
                connection.close()
                del self._files[history]
                _unlink(path)

    def close(self) -> None:
        """Close the files; what is left is offered again by the next process."""
        for _, connection in self._files.values():
            connection.close()


def _offers(history: str, path: Path, connection: sqlite3.Connection) -> list[OfferHistory]:
    with translated(path):
        rows = connection.execute(
            "SELECT id, ended, closed_counter, closed_node FROM evaluations,"
            " (SELECT CAST(value AS INTEGER) AS first FROM meta WHERE name = ?)"
            " WHERE ended IS NULL OR position >= first OR closed >= first ORDER BY id",
            (NAME,),
        ).fetchall()
        return [
            OfferHistory(
                history=history,
                evaluation=number,
                ended=NO_EPOCH if ended is None else Epoch(counter, node),
                packages=_unfinished(connection, number) if ended is None else {},
            )
            for number, ended, counter, node in rows
        ]


def _unfinished(connection: sqlite3.Connection, evaluation: int) -> dict[str, int]:
    rows = connection.execute(
        "SELECT package, size FROM projects WHERE evaluation = ? AND package <> ''"
        f" AND state NOT IN {past.OVER}",
        (evaluation,),
    )
    return dict(rows.fetchall())


def _unlink(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
