"""Carries records into the tables: one method for each kind of record."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from node.core import records as rec
from node.store import totals
from node.store.details import MESSAGE_KEPT, Detail, bounded, pack
from node.store.directory import Directory
from proto.messages import TestId

HIGHEST = "highest evaluation"
"""Name in ``meta``: retention deletes evaluations, and an id is never given twice."""
AUDITS_KEPT = 10_000

_Attempt = tuple[int, int, int, str, str, str, float, float, bytes | None]
_Verdict = tuple[str, int, bool, bool, int, int]


class Writer:
    """Applies records inside the caller's transaction; after a rollback call ``forget``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._directory = Directory(connection)
        self._attempts: list[_Attempt] = []
        self._verdicts: list[_Verdict] = []
        self._table: dict[type, Callable[[int, Any], None]] = {
            rec.Accepted: self._accepted,
            rec.Fetched: self._fetched,
            rec.ProjectFailed: self._project_failed,
            rec.Listed: self._listed,
            rec.Planned: self._planned,
            rec.Attempted: self._attempted,
            rec.Settled: self._settled,
            rec.ProjectEnded: self._project_ended,
            rec.Began: self._began,
            rec.Ended: self._ended,
            rec.Audited: self._audited,
        }

    def forget(self) -> None:
        """The transaction was rolled back: nothing that was applied in it is there."""
        self._attempts.clear()
        self._verdicts.clear()
        self._directory.forget()

    def apply(self, records: Sequence[tuple[int, rec.AnyRecord]]) -> None:
        """Apply (log position, record) pairs in order."""
        for position, record in records:
            if not isinstance(record, rec.Attempted):
                self._flush()
            self._table[type(record)](position, record)
        self._flush()

    def _flush(self) -> None:
        """Write the attempts gathered since another kind of record was seen."""
        if not self._attempts:
            return
        self._connection.executemany(
            "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._attempts
        )
        # The first verdict stands.
        self._connection.executemany(
            "UPDATE tests SET outcome = ?, standing = ?, unconfirmed = ?, split_sensitive = ?"
            " WHERE module = ? AND position = ? AND outcome IS NULL",
            self._verdicts,
        )
        self._attempts.clear()
        self._verdicts.clear()

    # --- evaluations --------------------------------------------------------------------------

    def _accepted(self, position: int, record: rec.Accepted) -> None:
        options = record.options
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
        self._connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            " WHERE CAST(excluded.value AS INTEGER) > CAST(value AS INTEGER)",
            (HIGHEST, str(record.evaluation)),
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

    def _ended(self, _position: int, record: rec.Ended) -> None:
        # Conservation: nothing that was planned may end without a verdict, and what is missing is never green.
        missing = "lost" if record.state == "finished" else "notrun"
        self._connection.execute(
            "UPDATE tests SET outcome = ? WHERE outcome IS NULL"
            " AND module IN (SELECT id FROM modules WHERE evaluation = ?)",
            (missing, record.evaluation),
        )
        self._connection.execute(
            "UPDATE projects SET state = ? WHERE evaluation = ? AND state NOT IN ('finished', 'cancelled', 'failed')",
            (record.state, record.evaluation),
        )
        self._connection.execute(
            "UPDATE evaluations SET state = ?, detail = ?, ended = ? WHERE id = ?",
            (record.state, record.detail, record.at, record.evaluation),
        )
        totals.fold(self._connection, record.evaluation, record.at)

    # --- projects -----------------------------------------------------------------------------

    def _fetched(self, _position: int, record: rec.Fetched) -> None:
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
        self._attempted(position, error)
        self._flush()

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

    # --- tests --------------------------------------------------------------------------------

    def _planned(self, _position: int, record: rec.Planned) -> None:
        module = self._directory.module(record.evaluation, record.project, record.module)
        self._directory.plan(module, record.tests, replaces=record.replaces)

    def _attempted(self, position: int, record: rec.Attempted) -> None:
        module = self._directory.module(record.evaluation, record.project, record.module)
        test = self._directory.test(module, record.test)
        detail = Detail(
            message=bounded(record.message, MESSAGE_KEPT),
            traceback=bounded(record.traceback),
            output=bounded(record.output),
            reports=record.reports,
            unconfirmed=record.unconfirmed,
            split_sensitive=record.split_sensitive,
        )
        assignment = "" if record.assignment is None else str(record.assignment)
        self._attempts.append(
            (
                module,
                test,
                position,
                record.outcome,
                record.node,
                assignment,
                record.at,
                record.seconds,
                pack(detail),
            )
        )
        if record.final:
            self._verdicts.append(
                (record.outcome, position, record.unconfirmed, record.split_sensitive, module, test)
            )

    def _settled(self, _position: int, record: rec.Settled) -> None:
        module = self._directory.module(record.evaluation, record.project, record.module)
        test = self._directory.test(module, record.test)
        # The verdict comes from the newest attempt that says the same, else from the newest one.
        row = self._connection.execute(
            "SELECT position FROM attempts WHERE module = ? AND test = ?"
            " ORDER BY outcome = ? DESC, position DESC LIMIT 1",
            (module, test, record.outcome),
        ).fetchone()
        self._connection.execute(
            "UPDATE tests SET outcome = ?, standing = ?, unconfirmed = ?"
            " WHERE module = ? AND position = ? AND outcome IS NULL",
            (record.outcome, row and row[0], record.unconfirmed, module, test),
        )

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


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
