"""The store: one SQLite file behind one small interface.

Every method blocks on the disk, so callers use a thread. Appends, ``keep`` and ``retain`` share one
connection and take turns; queries run beside them on connections of their own (write-ahead log).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from msgspec import Struct

from node.core.records import AnyRecord
from node.store import journal, queries, retention, totals
from node.store.errors import translated
from node.store.readers import Readers
from node.store.rows import EvaluationRow, EvaluationRows, Stats, TestsPage
from node.store.schema import connect, migrate
from node.store.writer import HIGHEST, Writer

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")


class StoreSettings(Struct, frozen=True, kw_only=True):
    """Days, bytes, seconds and counts."""

    retention_days: float = 90.0
    """Finished evaluations are kept so long. Small values lose reports people still want."""
    retention_size: int = 20 << 30
    """Bytes of the database above which the oldest finished evaluations go."""
    busy_seconds: float = 10.0
    """How long a statement waits for another connection before it is an error."""
    readers: int = 10
    """Idle connections kept for queries; each holds up to 2 MB of cache."""
    log_tail: int = journal.TAIL
    """Newest log positions kept although nothing unfinished needs them."""


class Store:
    """Opens, or makes, the database at ``path``.

    Raises:
        StoreError: it cannot be opened, is damaged, or was written by a newer version. Every method
            may raise it; what an append was given is then not there at all.
    """

    def __init__(self, path: Path, settings: StoreSettings | None = None) -> None:
        self.path = Path(path)
        self._settings = settings or StoreSettings()
        busy_seconds = self._settings.busy_seconds
        self._turn = threading.Lock()
        self._connection = connect(self.path, busy_seconds=busy_seconds)
        try:
            migrate(self._connection, self.path)
            with translated(self.path):
                self._writer = Writer(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._readers = Readers(self.path, most=self._settings.readers, busy_seconds=busy_seconds)

    def close(self) -> None:
        """Close all connections. Appends that have returned are on disk already."""
        self._readers.close()
        with self._turn, translated(self.path):
            self._connection.close()

    # --- writing ------------------------------------------------------------------------------

    def append(self, epoch: int, first: int, records: Sequence[AnyRecord]) -> None:
        """Write records to the log from position ``first`` on and to their tables, in one transaction.

        When this returns they are on disk. Records that the log holds already are skipped, so a batch
        may be repeated.

        Raises:
            OutOfStep: a gap, or another record at one of the positions; nothing was written.
        """
        with self._transaction() as connection:
            new = journal.write(connection, epoch, first, records)
            self._writer.apply(new)
            if new:
                journal.trim(connection, new[-1][0], self._settings.log_tail)

    def keep(self, name: str, value: str) -> None:
        """Put a fact about this node or its cluster on disk (identity, epoch, vote)."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )

    def retain(self, now: float) -> frozenset[str]:
        """Drop what the retention settings do not cover at Unix time ``now``.

        Returns the hashes of packages that no evaluation refers to any more. One evaluation goes in
        one transaction, so that appends get their turn in between.
        """
        days, size = self._settings.retention_days, self._settings.retention_size
        packages: set[str] = set()
        while True:
            with self._transaction() as connection:
                evaluation = retention.expired(connection, now, days, size)
                if evaluation is None:
                    retention.drop_durations(connection, now - days * retention.DAY)
                    break
                packages |= retention.drop(connection, evaluation)
                # SQLite gives the ids of deleted rows again.
                self._writer.forget()
        with self._turn, translated(self.path):
            retention.give_back(self._connection)
        return frozenset(package for package in packages if not self._read(retention.referenced, package))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._turn, translated(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after some errors, a full disk among them.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._writer.forget()
                raise

    # --- reading ------------------------------------------------------------------------------

    def last_position(self) -> int:
        """The newest position of the log; 0 if it is empty. The next append starts after it."""
        return self._read(journal.last_position)

    def replay(self) -> tuple[list[AnyRecord], int]:
        """(what audits found and the records of unfinished evaluations, in order; highest id ever given)."""
        return self._read(_replay)

    def kept(self, name: str) -> str | None:
        """What ``keep`` put on disk under this name."""
        return self._read(_kept, name)

    def evaluation(self, number: int) -> EvaluationRows | None:
        """One evaluation with its projects and modules; None if there is none with that id."""
        return self._read(queries.evaluation, number)

    def evaluations(self, before: int = 0, limit: int = 100) -> list[EvaluationRow]:
        """Newest first; only ids below ``before``, unless that is 0."""
        return self._read(queries.evaluations, before, limit)

    def tests(
        self, evaluation: int, state: str = "", project: str = "", page: int = 1, limit: int = 100
    ) -> TestsPage | None:
        """One page of tests in planned order, see ``queries.tests``; None for an unknown evaluation."""
        return self._read(queries.tests, evaluation, state, project, page, limit)

    def stats(self) -> Stats:
        """What was counted since the system began."""
        return self._read(totals.stats)

    def request(self, key: str) -> int | None:
        """The id that a submission with this request id got, if one did."""
        return self._read(queries.request, key)

    def durations(self, source: str) -> dict[str, float]:
        """Module -> seconds its tests took the last time; ``source`` is a URL, or an upload's name."""
        return self._read(queries.durations, source)

    def audited(self, package: str, fingerprint: str) -> bool | None:
        """Whether the modules' ids of this package depend on each other; None if nobody looked."""
        return self._read(queries.audited, package, fingerprint)

    def _read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, Arguments], Found],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Found:
        with self._readers.lend() as connection:
            return query(connection, *arguments, **named)


def _kept(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _replay(connection: sqlite3.Connection) -> tuple[list[AnyRecord], int]:
    return journal.replay(connection), int(_kept(connection, HIGHEST) or 0)
