"""What is dropped, oldest first: evaluations past their age, then past the size of the database.

Unfinished evaluations are never touched, and totals stay: they were folded when an evaluation ended.
"""

from __future__ import annotations

import sqlite3

DAY = 86_400.0
PAGES_RETURNED = 2000
"""Free pages given back to the disk at once."""


def expired(connection: sqlite3.Connection, now: float, days: float, size: int) -> int | None:
    """The id of the next evaluation to drop, or None.

    Args:
        now: Unix time in seconds.
        days: finished evaluations are kept so long.
        size: bytes the database may use.
    """
    row = connection.execute(
        "SELECT id, ended FROM evaluations WHERE ended IS NOT NULL ORDER BY ended, id LIMIT 1"
    ).fetchone()
    if row is not None and (row[1] < now - days * DAY or used(connection) > size):
        return int(row[0])
    return None


def used(connection: sqlite3.Connection) -> int:
    """Bytes of the pages that hold something."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def drop(connection: sqlite3.Connection, evaluation: int) -> set[str]:
    """Delete one evaluation; the hashes of its packages that nothing refers to any more."""
    packages = connection.execute(
        "SELECT DISTINCT package FROM projects WHERE evaluation = ? AND package <> ''", (evaluation,)
    ).fetchall()
    connection.execute("DELETE FROM evaluations WHERE id = ?", (evaluation,))
    connection.execute("DELETE FROM merged WHERE evaluation = ?", (evaluation,))
    return {package for (package,) in packages if not referenced(connection, package)}


def referenced(connection: sqlite3.Connection, package: str) -> bool:
    """Whether a project uses the package with this hash."""
    row = connection.execute("SELECT 1 FROM projects WHERE package = ? LIMIT 1", (package,)).fetchone()
    return row is not None


def drop_durations(connection: sqlite3.Connection, before: float) -> None:
    """Forget how long modules took that were last seen before this Unix time."""
    connection.execute("DELETE FROM durations WHERE at < ?", (before,))


def give_back(connection: sqlite3.Connection) -> None:
    """Return some free pages to the disk."""
    # The pragma frees one page for each row that is fetched.
    connection.execute(f"PRAGMA incremental_vacuum({PAGES_RETURNED})").fetchall()
