"""The log's rows: consecutive positions, a prefix trimmed once nothing unfinished needs it.

The tables hold all that ended evaluations need, so the log is kept for replay and for peers that
are a little behind, no longer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from node.core import records as rec
from node.store.errors import OutOfStep

TAIL = 2000
"""Newest positions that are always kept."""
TRIMMED_AT_ONCE = 2000
"""Rows one transaction deletes at most, so that trimming never holds a commit up."""
AUDITS_REPLAYED = 10_000


def last_position(connection: sqlite3.Connection) -> int:
    """The newest position, 0 for an empty log."""
    return int(connection.execute("SELECT coalesce(max(position), 0) FROM log").fetchone()[0])


def write(
    connection: sqlite3.Connection, epoch: int, first: int, records: Sequence[rec.AnyRecord]
) -> Sequence[tuple[int, rec.AnyRecord]]:
    """Insert the records that the log does not hold yet; those, with their positions.

    Raises:
        OutOfStep: they leave a gap, or a position holds another record.
    """
    last = last_position(connection)
    if first > last + 1 or first < 1:
        raise OutOfStep(f"record {first} does not follow position {last}, the last one in the log")
    repeated = min(max(0, last + 1 - first), len(records))
    _check_repeated(connection, first, records[:repeated])
    new = [(first + index, record) for index, record in enumerate(records) if index >= repeated]
    connection.executemany(
        "INSERT INTO log (position, epoch, evaluation, body) VALUES (?, ?, ?, ?)",
        [(position, epoch, record.evaluation, rec.encode(record)) for position, record in new],
    )
    return new


def _check_repeated(connection: sqlite3.Connection, first: int, records: Sequence[rec.AnyRecord]) -> None:
    for position, record in enumerate(records, start=first):
        row = connection.execute("SELECT body FROM log WHERE position = ?", (position,)).fetchone()
        if row is None or row[0] != rec.encode(record):
            what = "was trimmed" if row is None else "holds another record"
            raise OutOfStep(f"position {position} of the log {what}: new records follow the last position")


def trim(connection: sqlite3.Connection, last: int, tail: int = TAIL) -> None:
    """Drop a bounded number of the oldest rows that neither replay nor the tail needs."""
    row = connection.execute("SELECT min(position) FROM evaluations WHERE ended IS NULL").fetchone()
    needed = last - tail + 1 if row[0] is None else min(row[0], last - tail + 1)
    oldest = connection.execute("SELECT min(position) FROM log").fetchone()[0]
    # Deleting in larger steps spares most transactions the work.
    if oldest is None or needed - oldest < TRIMMED_AT_ONCE // 2:
        return
    connection.execute("DELETE FROM log WHERE position < ?", (min(needed, oldest + TRIMMED_AT_ONCE),))


def replay(connection: sqlite3.Connection) -> list[rec.AnyRecord]:
    """What audits found, then the records of unfinished evaluations in the order of the log."""
    audits: list[rec.AnyRecord] = [
        rec.Audited(package=package, fingerprint=fingerprint, dependent=bool(dependent))
        for package, fingerprint, dependent in connection.execute(
            "SELECT package, fingerprint, dependent FROM"
            " (SELECT * FROM audited ORDER BY position DESC LIMIT ?) ORDER BY position",
            (AUDITS_REPLAYED,),
        )
    ]
    rows = connection.execute(
        "SELECT body FROM log WHERE evaluation IN (SELECT id FROM evaluations WHERE ended IS NULL)"
        " ORDER BY position"
    )
    return audits + [record for record in _decoded(rows) if not isinstance(record, rec.Audited)]


def _decoded(rows: Iterable[tuple[bytes]]) -> Iterable[rec.AnyRecord]:
    return (rec.decode(body) for (body,) in rows)
