"""The store: one SQLite file behind one small interface.

Every method blocks on the disk, so callers use a thread. Appends, ``keep`` and ``retain`` share one
connection and take turns; queries run beside them on connections of their own (write-ahead log).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import copy
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

from node.core.records import AnyRecord
from node.core.voting_events import Commit, Persist, Saved
from node.store import aside, journal, queries, retention, totals
from node.store import snapshot as snapshots
from node.store.aside import Aside, Standing
from node.store.errors import translated
from node.store.readers import Readers
from node.store.rows import EvaluationRow, EvaluationRows, Stats, TestsPage
from node.store.schema import connect, migrate
from node.store.settings import StoreSettings
from node.store.writer import Writer
from proto.voting import EMPTY, Mark

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")


class Written(NamedTuple):
    """What a ``write`` came to."""

    applied: int
    """The tables hold everything up to this position."""
    compacted: int
    """The log's new base, or 0 if it did not move."""
    ended: tuple[str, ...]
    """Request ids of the evaluations that ended in it."""
    packages: frozenset[str] | None
    """The packages of unfinished evaluations, if they may have changed."""


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
        self._alone = threading.Lock()
        """Held by ``write``: a database is attached outside of a transaction."""
        self._decoded: dict[int, AnyRecord] = {}
        """Records that are in the log and not yet in the tables, so that they are decoded once."""
        self._connection = connect(self.path, busy_seconds=busy_seconds)
        try:
            migrate(self._connection, self.path)
            with translated(self.path):
                self._writer = Writer(self._connection)
                self._state = journal.read_state(self._connection)
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

    def found(self, node: str) -> None:
        """Begin the log of a cluster whose only voter is ``node``."""
        with self._transaction() as connection:
            journal.found(connection, node)
            self._state = journal.read_state(connection)

    def write(self, batch: Sequence[Persist | Commit], snapshot: Path | None = None) -> Written:
        """Carry out some ``Persist`` and ``Commit`` effects, in order, in one transaction.

        When this returns, what was to persist is on disk. What became committed is in the tables,
        which follow from the log and are not synced for their own sake.

        Args:
            snapshot: the file that a ``Persist`` of this batch installs.

        Raises:
            OutOfStep: the log is not what the replica believes; nothing was written.
        """
        durable = any(isinstance(effect, Persist) for effect in batch)
        state = copy(self._state)
        with self._attached(snapshot), self._transaction(durable=durable) as connection:
            upto = state.applied
            for effect in batch:
                if isinstance(effect, Persist):
                    if effect.snapshot is not None:
                        snapshots.install(connection, state, effect.snapshot, effect.snapshot_voters)
                        self._forget()
                        upto = state.applied
                    self._cut(effect.truncate_from)
                    self._decoded.update(journal.persist(connection, state, effect))
                    upto = max(upto, effect.commit)
                else:
                    upto = max(upto, effect.upto)
            self._apply(connection, state, min(upto, journal.last_position(connection)))
            compacted = journal.compact(connection, state, self._settings.log_tail)
            journal.write_state(connection, state)
            journal.trim(connection, state)
        self._state = state
        turnover = self._writer.turnover()
        return Written(
            applied=state.applied,
            compacted=state.base.position if compacted else 0,
            ended=turnover.ended,
            packages=self._read(queries.unfinished_packages) if turnover.packages else None,
        )

    def _cut(self, first: int | None) -> None:
        """Another master's records take the place of those from ``first`` on; not all of them are decoded."""
        if first is not None:
            self._decoded = {at: record for at, record in self._decoded.items() if at < first}

    def _apply(self, connection: sqlite3.Connection, state: journal.State, upto: int) -> None:
        first = state.applied + 1
        if upto < first:
            return
        ready = [(at, self._decoded.pop(at)) for at in range(first, upto + 1) if at in self._decoded]
        if len(ready) < upto - state.applied:
            ready = journal.between(connection, first, upto)
        self._writer.apply(ready)
        state.applied = upto

    @contextmanager
    def _attached(self, path: Path | None) -> Iterator[None]:
        with self._alone, translated(self.path), snapshots.attached(self._connection, path):
            yield

    def part(self, first: int) -> None:
        """Set everything aside, into a file of its own, and begin again with nothing but the vote.

        Args:
            first: from here on, at the latest, the log is another one than the cluster's.
        """
        with self._alone:
            path = aside.write(self.path, first, busy_seconds=self._settings.busy_seconds)
            with self._transaction() as connection:
                state = copy(self._state)
                snapshots.install(connection, state, EMPTY, ())
                journal.write_state(connection, state)
                aside.remember(connection, path)
            self._state = state
            self._forget()

    def aside(self) -> Aside:
        """What was set aside by ``part`` and is not settled; the caller closes it."""
        with self._transaction() as connection:
            paths = aside.remembered(connection, self.path)
        return Aside(paths, busy_seconds=self._settings.busy_seconds)

    def copy(self, target: Path) -> Mark:
        """Write what the tables hold to a new file, for another node; how far it reaches."""
        connection = connect(self.path, busy_seconds=self._settings.busy_seconds)
        with translated(self.path), closing(connection):
            return snapshots.write_copy(connection, target)

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

    def _forget(self) -> None:
        """What was kept in memory of the database does not hold any more."""
        self._writer.forget()
        self._decoded.clear()

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._turn, translated(self.path):
            # What is not synced now is with the next transaction that is.
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after some errors, a full disk among them.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._forget()
                raise

    # --- reading ------------------------------------------------------------------------------

    def saved(self) -> Saved:
        """The log and the vote, for a replica that starts."""
        return self._read(journal.saved)

    def applied(self) -> int:
        """The position that the tables have come to."""
        return self._state.applied

    def replay(self) -> journal.Replay:
        """What a master begins with."""
        return self._read(journal.replayed)

    def unfinished_packages(self) -> frozenset[str]:
        """Hashes of the packages that unfinished evaluations need."""
        return self._read(queries.unfinished_packages)

    def kept(self, name: str) -> str | None:
        """What ``keep`` put on disk under this name."""
        return self._read(queries.kept, name)

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

    def compared(self, evaluation: int, node: str, history: str) -> Standing:
        """What is known of an evaluation that ``node`` offers from one of its histories."""
        return self._read(aside.standing, evaluation, node, history)

    def _read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, Arguments], Found],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Found:
        with self._readers.lend() as connection:
            return query(connection, *arguments, **named)
