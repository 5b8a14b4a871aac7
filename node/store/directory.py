"""Where modules and tests live in the tables, remembered so that a verdict costs no lookup."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable

from proto.messages import TestId

REMEMBERED = 400_000
"""Tests kept in memory at most; about 250 bytes each."""


class Directory:
    """Finds rows by name and makes them when they are missing. Used by the one writer only.

    What it remembers is true only while its transactions commit: call ``forget`` after a rollback.
    """

    def __init__(self, connection: sqlite3.Connection, remembered: int = REMEMBERED) -> None:
        self._connection = connection
        self._most = remembered
        self._modules: dict[tuple[int, int, str], int] = {}
        self._tests: OrderedDict[int, dict[TestId, int]] = OrderedDict()
        self._held = 0

    def forget(self) -> None:
        """Remember nothing."""
        self._modules.clear()
        self._tests.clear()
        self._held = 0

    def module(self, evaluation: int, project: int, name: str) -> int:
        """The id of a module's row; a module nobody listed goes to the end."""
        key = (evaluation, project, name)
        found = self._modules.get(key)
        if found is None:
            row = self._connection.execute(
                "SELECT id FROM modules WHERE evaluation = ? AND project = ? AND name = ?", key
            ).fetchone()
            found = row[0] if row else self._add_module(key)
            if len(self._modules) >= self._most:
                self._modules.clear()
            self._modules[key] = found
        return found

    def list_modules(self, evaluation: int, project: int, names: Iterable[str]) -> None:
        """Put the modules into this order, before those that are not named."""
        self._connection.execute(
            "UPDATE modules SET position = position + 1000000000 WHERE evaluation = ? AND project = ?"
            " AND position < 1000000000",
            (evaluation, project),
        )
        self._connection.executemany(
            "INSERT INTO modules (evaluation, project, position, name) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (evaluation, project, name) DO UPDATE SET position = excluded.position",
            [(evaluation, project, position, name) for position, name in enumerate(names)],
        )

    def plan(self, module: int, tests: Iterable[TestId], *, replaces: bool) -> None:
        """Add the tests that are not planned yet; ``replaces`` drops what was planned, attempts included."""
        if replaces:
            self._connection.execute("DELETE FROM tests WHERE module = ?", (module,))
            self._held -= len(self._tests.pop(module, ()))
        known = self._of(module)
        new = []
        for test in tests:
            if test not in known:
                known[test] = len(known)
                new.append((module, known[test], test.nodeid, test.occurrence))
        self._held += len(new)
        self._connection.executemany(
            "INSERT INTO tests (module, position, nodeid, occurrence) VALUES (?, ?, ?, ?)", new
        )

    def has(self, module: int, test: TestId) -> bool:
        """Whether the test is planned."""
        return test in self._of(module)

    def test(self, module: int, test: TestId) -> int:
        """The position of a test in its module; a test nobody planned goes to the end."""
        known = self._of(module)
        if test not in known:
            self.plan(module, (test,), replaces=False)
        return known[test]

    def _add_module(self, key: tuple[int, int, str]) -> int:
        cursor = self._connection.execute(
            "INSERT INTO modules (evaluation, project, position, name) VALUES (?, ?,"
            " (SELECT coalesce(max(position), -1) + 1 FROM modules WHERE evaluation = ? AND project = ?), ?)",
            (*key[:2], *key),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _of(self, module: int) -> dict[TestId, int]:
        known = self._tests.get(module)
        if known is not None:
            self._tests.move_to_end(module)
            return known
        rows = self._connection.execute(
            "SELECT nodeid, occurrence, position FROM tests WHERE module = ?", (module,)
        )
        known = {TestId(nodeid, occurrence): position for nodeid, occurrence, position in rows}
        self._tests[module] = known
        self._held += len(known)
        while self._held > self._most and len(self._tests) > 1:
            self._held -= len(self._tests.popitem(last=False)[1])
        return known
