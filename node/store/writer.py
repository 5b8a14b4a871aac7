"""Carries records into the tables: one method for each kind of record."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from node.core import records as rec
from node.store import totals
from node.store.details import MESSAGE_KEPT, bounded
from node.store.directory import Directory
from node.store.journal import HIGHEST
from node.store.merging import Merging
from node.store.verdicts import Verdicts
from proto.messages import TestId

AUDITS_KEPT = 10_000
ALWAYS = rec.Audited | rec.Reserved | rec.Joined | rec.Departed | rec.Merged
"""Records that count whether or not their evaluation is unfinished; most are about none."""


class Turnover(NamedTuple):
    """What changed since the last look."""

    ended: tuple[str, ...]
    """Request ids of evaluations that ended."""
    packages: bool
    """Whether other packages are needed now."""


class Writer:
    """Applies records inside the caller's transaction; after a rollback call ``forget``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._directory = Directory(connection)
        self._verdicts = Verdicts(connection, self._directory)
        self._merging = Merging(connection)
        self._open = self._unfinished()
        self._requests_ended: list[str] = []
        self._packages = True
        self._table: dict[type, Callable[[int, Any], None]] = {
            rec.Accepted: self._accepted,
            rec.Fetched: self._fetched,
            rec.ProjectFailed: self._project_failed,
            rec.Listed: self._listed,
            rec.Planned: self._verdicts.planned,
            rec.Attempted: self._verdicts.attempted,
            rec.Settled: self._verdicts.settled,
            rec.ProjectEnded: self._project_ended,
            rec.Began: self._began,
            rec.Ended: self._ended,
            rec.Audited: self._audited,
            rec.Interrupted: self._verdicts.interrupted,
            rec.Reserved: lambda _position, record: self._taken(record.upto),
            rec.Joined: self._joined,
            rec.Departed: self._departed,
            rec.Merged: self._merged,
        }

    def forget(self) -> None:
        """The transaction was rolled back: nothing that was applied in it is there."""
        self._verdicts.clear()
        self._directory.forget()
        self._open = self._unfinished()
        self._packages = True

    def turnover(self) -> Turnover:
        """What changed since this was asked the last time."""
        found = Turnover(tuple(self._requests_ended), self._packages)
        self._requests_ended.clear()
        self._packages = False
        return found

    def _unfinished(self) -> set[int]:
        return {row[0] for row in self._connection.execute("SELECT id FROM evaluations WHERE ended IS NULL")}

    def apply(self, records: Sequence[tuple[int, rec.AnyRecord]]) -> None:
        """Apply (log position, record) pairs in order; what comes after an evaluation's end is ignored."""
        for position, record in records:
            if isinstance(record, rec.Accepted):
                self._open.add(record.evaluation)
            elif record.evaluation not in self._open and not isinstance(record, ALWAYS):
                continue
            if not isinstance(record, rec.Attempted | rec.Interrupted):
                self._verdicts.flush()
            self._table[type(record)](position, record)
        self._verdicts.flush()

    # --- evaluations --------------------------------------------------------------------------

    def _accepted(self, position: int, record: rec.Accepted) -> None:
        options = record.options
        self._packages = True
        self._connection.execute(
            "INSERT INTO evaluations (id, request, name, state, options, count_skipped, accepted, position)"
            " VALUES (?, ?, ?, 'queued', ?, ?, ?, ?)",
            (record.evaluation, record.request, record.name, msgspec.json.encode(options),
             options.count_skipped, record.at, position),
        )  # fmt: skip
        self._connection.executemany(
            "INSERT INTO projects (evaluation, number, name, url, package, size, state, notes)"
            " VALUES (?, ?, ?, ?, ?, ?, 'queued', ?)",
            [
                (record.evaluation, number, source.name, source.url, source.package, source.size,
                 _json(source.notes))
                for number, source in enumerate(record.projects)
            ],
        )  # fmt: skip
        self._taken(record.evaluation)

    def _taken(self, upto: int) -> None:
        """No evaluation gets an id up to this one any more."""
        self._connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            " WHERE CAST(excluded.value AS INTEGER) > CAST(value AS INTEGER)",
            (HIGHEST, str(upto)),
        )

    def _began(self, _position: int, record: rec.Began) -> None:
        self._connection.execute(
            "UPDATE evaluations SET state = ?, began = coalesce(began, ?) WHERE id = ?",
            (record.state, record.at, record.evaluation),
        )
        if record.state == "preparing":
            self._connection.execute(
                "UPDATE projects SET state = 'preparing' WHERE evaluation = ? AND state = 'queued'",
                (record.evaluation,),
            )

    def _ended(self, position: int, record: rec.Ended) -> None:
        # Conservation: nothing planned may end without a verdict, and what is missing is never green.
        missing = "lost" if record.state == "finished" else "notrun"
        self._connection.execute(
            "UPDATE tests SET outcome = ? WHERE outcome IS NULL"
            " AND module IN (SELECT id FROM modules WHERE evaluation = ?)",
            (missing, record.evaluation),
        )
        self._connection.execute(
            "UPDATE projects SET state = ? WHERE evaluation = ?"
            " AND state NOT IN ('finished', 'cancelled', 'failed')",
            (record.state, record.evaluation),
        )
        self._connection.execute(
            "UPDATE evaluations SET state = ?, detail = ?, ended = ?, closed = ?, closed_counter = ?,"
            " closed_node = ? WHERE id = ?",
            (record.state, record.detail, record.at, position, *astuple(record.epoch), record.evaluation),
        )
        self._merging.over(record.evaluation)
        totals.fold(self._connection, record.evaluation, record.at)
        self._packages = True
        self._requests_ended += self._connection.execute(
            "SELECT request FROM evaluations WHERE id = ?", (record.evaluation,)
        ).fetchone()
        self._open.discard(record.evaluation)

    # --- projects -----------------------------------------------------------------------------

    def _fetched(self, _position: int, record: rec.Fetched) -> None:
        self._packages = True
        self._connection.execute(
            "UPDATE projects SET package = ?, size = ?, name = coalesce(nullif(?, ''), name)"
            " WHERE evaluation = ? AND number = ?",
            (record.package, record.size, record.name, record.evaluation, record.project),
        )
        self._add_notes(record.evaluation, record.project, record.notes)

    def _project_failed(self, position: int, record: rec.ProjectFailed) -> None:
        self._connection.execute(
            "UPDATE projects SET state = 'failed', phase = ?, message = ?, log = ?"
            " WHERE evaluation = ? AND number = ?",
            (record.phase, bounded(record.message, MESSAGE_KEPT), bounded(record.log), record.evaluation,
             record.project),
        )  # fmt: skip
        # The project's one error is a verdict like others, so that every count and report has it.
        name = f"({record.phase})"
        error = rec.Attempted(
            evaluation=record.evaluation, project=record.project, module=name, test=TestId(name),
            outcome="error", final=True, message=record.message, output=record.log,
        )  # fmt: skip
        self._verdicts.attempted(position, error)
        self._verdicts.flush()

    def _listed(self, _position: int, record: rec.Listed) -> None:
        self._directory.list_modules(record.evaluation, record.project, record.modules)
        self._connection.execute(
            "UPDATE projects SET mode = ?, command = ?, versions = ?,"
            " state = CASE WHEN state IN ('queued', 'preparing') THEN 'running' ELSE state END"
            " WHERE evaluation = ? AND number = ?",
            (record.mode, _json(record.command), _json(record.versions), record.evaluation, record.project),
        )
        self._add_notes(record.evaluation, record.project, record.notes)

    def _project_ended(self, _position: int, record: rec.ProjectEnded) -> None:
        self._connection.execute(
            "UPDATE projects SET state = ?, audited = ?, confirmed = ? WHERE evaluation = ? AND number = ?",
            (record.state, record.audited, record.confirmed, record.evaluation, record.project),
        )
        self._add_notes(record.evaluation, record.project, record.notes)

    def _add_notes(self, evaluation: int, project: int, notes: tuple[str, ...]) -> None:
        """Append those that are not there; two steps of a run may say the same."""
        where = (evaluation, project)
        select = "SELECT notes FROM projects WHERE evaluation = ? AND number = ?"
        row = self._connection.execute(select, where).fetchone() if notes else None
        if row:
            merged = dict.fromkeys([*msgspec.json.decode(row[0]), *notes])
            self._connection.execute(
                "UPDATE projects SET notes = ? WHERE evaluation = ? AND number = ?",
                (_json(list(merged)), *where),
            )

    # --- two histories ------------------------------------------------------------------------

    def _merged(self, position: int, record: rec.Merged) -> None:
        """With the last part one of the two histories of an evaluation is decided for, whole."""
        self._merging.stage(record)
        if not record.last:
            return
        bodies = self._merging.decide(record)
        if record.stands == "returned":
            self._directory.forget()
            self._open.discard(record.evaluation)
            for body in bodies:
                self.apply(rec.decode_past(body))
            self._merging.placed(record.evaluation, position)

    # --- the cluster --------------------------------------------------------------------------

    def _audited(self, position: int, record: rec.Audited) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO audited VALUES (?, ?, ?, ?)",
            (record.package, record.fingerprint, record.dependent, position),
        )
        self._connection.execute(
            "DELETE FROM audited WHERE position <="
            " (SELECT position FROM audited ORDER BY position DESC LIMIT 1 OFFSET ?)",
            (AUDITS_KEPT,),
        )

    def _joined(self, position: int, record: rec.Joined) -> None:
        # One that joins again keeps its place.
        self._connection.execute(
            "INSERT INTO members VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (node) DO UPDATE SET"
            " address = excluded.address, incarnation = excluded.incarnation, slots = excluded.slots,"
            " alone = excluded.alone, isolation = excluded.isolation",
            (record.node, record.address, record.incarnation, record.slots, record.alone,
             record.isolation, position),
        )  # fmt: skip

    def _departed(self, _position: int, record: rec.Departed) -> None:
        self._connection.execute("DELETE FROM members WHERE node = ?", (record.node,))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
