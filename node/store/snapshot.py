"""A copy of the tables for a node that is to hold the log, and its installation there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from node.store import journal
from node.store.errors import StoreError, translated
from node.store.schema import MIGRATIONS
from proto.voting import EMPTY, Mark


def write_copy(connection: sqlite3.Connection, target: Path) -> Mark:
    """Write what the tables hold now to the new file ``target``; how far that reaches.

    The log's rows that are not in the tables yet, and this node's own facts, are not part of it.
    """
    connection.execute("VACUUM INTO ?", (str(target),))
    with translated(target), closing(sqlite3.connect(target, isolation_level=None)) as copy:
        state = journal.read_state(copy)
        upto = state.base
        if state.applied > state.base.position:
            (record,) = [
                r for r in journal.rows_after(copy, state.applied - 1) if r.position == state.applied
            ]
            upto = Mark(record.epoch, record.position)
        voters = journal.voters_at(copy, state, state.applied)
        copy.execute("BEGIN")
        copy.execute("DELETE FROM log WHERE position > ?", (state.applied,))
        journal.write_state(
            copy, journal.State(applied=upto.position, commit=upto.position, base=upto, base_voters=voters)
        )
        copy.execute("COMMIT")
    return upto


def describe(path: Path) -> tuple[Mark, tuple[str, ...]]:
    """How far a copy reaches, and the voters it knows.

    Raises:
        StoreError: it is no such copy.
    """
    with translated(path), closing(sqlite3.connect(path, isolation_level=None)) as copy:
        (version,) = copy.execute("PRAGMA user_version").fetchone()
        if version != len(MIGRATIONS):
            raise StoreError(f"the copy is of schema version {version}, this program knows {len(MIGRATIONS)}")
        state = journal.read_state(copy)
    return state.base, state.base_voters


@contextmanager
def attached(connection: sqlite3.Connection, path: Path | None) -> Iterator[None]:
    """Have the copy at hand as ``copy`` (outside of a transaction)."""
    if path is None:
        yield
        return
    connection.execute("ATTACH DATABASE ? AS copy", (str(path),))
    try:
        yield
    finally:
        connection.execute("DETACH DATABASE copy")


def install(
    connection: sqlite3.Connection, state: journal.State, upto: Mark, voters: tuple[str, ...]
) -> None:
    """Replace log and tables by the attached copy, or (``EMPTY``) by nothing, in this transaction."""
    connection.execute("PRAGMA defer_foreign_keys = ON")
    tables = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
    ]
    others = " WHERE name NOT IN ('" + "', '".join(journal.OWN) + "')"
    # Children first: a cascade would walk them row by row.
    for table in reversed(tables):
        connection.execute(f"DELETE FROM main.{table}{others if table == 'meta' else ''}")
    if upto != EMPTY:
        for table in tables:
            where = others if table == "meta" else ""
            connection.execute(f"INSERT INTO main.{table} SELECT * FROM copy.{table}{where}")
    state.applied = state.commit = upto.position
    state.base, state.base_voters = upto, voters
