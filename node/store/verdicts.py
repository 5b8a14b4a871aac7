"""Carries plans, attempts and verdicts into the tables; attempts are gathered and written in bulk."""

from __future__ import annotations

import sqlite3

from node.core import records as rec
from node.store.details import MESSAGE_KEPT, Detail, bounded, pack
from node.store.directory import Directory

_Attempt = tuple[int, int, int, str, str, str, float, float, bytes | None]
_Verdict = tuple[str, int, bool, bool, int, int]


class Verdicts:
    """``planned`` and ``settled`` need everything before them written: call ``flush`` first."""

    def __init__(self, connection: sqlite3.Connection, directory: Directory) -> None:
        self._connection = connection
        self._directory = directory
        self._attempts: list[_Attempt] = []
        self._verdicts: list[_Verdict] = []

    def clear(self) -> None:
        """Drop what was gathered: its transaction was rolled back."""
        self._attempts.clear()
        self._verdicts.clear()

    def flush(self) -> None:
        """Write what was gathered."""
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
        self.clear()

    def planned(self, _position: int, record: rec.Planned) -> None:
        """Add a module's tests."""
        module = self._directory.module(record.evaluation, record.project, record.module)
        self._directory.plan(module, record.tests, replaces=record.replaces)

    def attempted(self, position: int, record: rec.Attempted) -> None:
        """Gather one attempt."""
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

    def interrupted(self, position: int, record: rec.Interrupted) -> None:
        """Gather an attempt that gave no outcome; a module that died while collected has no test yet."""
        module = self._directory.module(record.evaluation, record.project, record.module)
        if not self._directory.has(module, record.test):
            return
        self.attempted(
            position,
            rec.Attempted(
                evaluation=record.evaluation,
                project=record.project,
                module=record.module,
                test=record.test,
                outcome="lost" if record.how == "node" else "crashed",
                final=False,
                node=record.node,
                assignment=record.assignment,
                at=record.at,
                message=record.message,
            ),
        )

    def settled(self, _position: int, record: rec.Settled) -> None:
        """Make an attempt recorded before the verdict."""
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
