"""The tables' side of a merge: parts of another history gather, and with the last one it is decided."""

from __future__ import annotations

import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable

import msgspec

from node.core import records as rec
from node.store import past, totals

_bodies = msgspec.msgpack.Decoder(tuple[bytes, ...])
_encoder = msgspec.msgpack.Encoder()


class Merging:
    """Works inside the writer's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def stage(self, record: rec.Merged) -> None:
        """Keep one part; the first one drops what came of an earlier try."""
        key = _key(record)
        if not record.part:
            self._connection.execute(
                "DELETE FROM merging WHERE evaluation = ? AND node = ? AND history = ?", key
            )
        self._connection.execute(
            "INSERT OR REPLACE INTO merging VALUES (?, ?, ?, ?, ?)", (*key, record.part, record.body)
        )

    def decide(self, record: rec.Merged) -> list[bytes]:
        """All parts are here: put the side that does not stand beside the evaluation, and, where that is
        the one in the tables, take it out of them. The parts, in order."""
        key = _key(record)
        rows = self._connection.execute(
            "DELETE FROM merging WHERE evaluation = ? AND node = ? AND history = ? RETURNING part, body", key
        )
        bodies = [body for _, body in sorted(rows.fetchall())]
        returned = record.stands == "returned"
        kept = self._take_out(record.evaluation) if returned else bodies
        state, outcomes = _come_to(kept)
        self._connection.execute(
            "INSERT OR REPLACE INTO merged VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, record.stands, state, outcomes, _pack(kept), _pack(bodies) if returned else None),
        )
        return bodies

    def _take_out(self, evaluation: int) -> list[bytes]:
        """Remove an evaluation from the tables; its history, or nothing if it is not known."""
        row = self._connection.execute("SELECT ended FROM evaluations WHERE id = ?", (evaluation,)).fetchone()
        if row is None:
            return []
        kept = list(past.parts(self._connection, evaluation))
        if row[0] is not None:
            totals.unfold(self._connection, evaluation)
        self._connection.execute("DELETE FROM evaluations WHERE id = ?", (evaluation,))
        return kept

    def placed(self, evaluation: int, position: int) -> None:
        """The other history is in the tables: for this log it begins, and ends, at ``position``."""
        self._connection.execute(
            "UPDATE evaluations SET position = ?, closed = CASE WHEN closed IS NULL THEN NULL ELSE ? END"
            " WHERE id = ?",
            (position, position, evaluation),
        )

    def over(self, evaluation: int) -> None:
        """Nobody needs what stands a second time."""
        self._connection.execute(
            "UPDATE merged SET taken = NULL WHERE evaluation = ? AND taken IS NOT NULL", (evaluation,)
        )


def taken(connection: sqlite3.Connection) -> list[rec.Merged]:
    """What unfinished evaluations were taken over as, for a master that begins: one record for each."""
    rows = connection.execute(
        "SELECT evaluation, node, history, taken FROM merged"
        " WHERE taken IS NOT NULL AND evaluation IN (SELECT id FROM evaluations WHERE ended IS NULL)"
    )
    return [
        rec.Merged(
            evaluation=evaluation,
            node=node,
            history=history,
            part=part,
            last=part == len(bodies) - 1,
            stands="returned",
            body=body,
        )
        for evaluation, node, history, blob in rows
        for bodies in [unpack(blob)]
        for part, body in enumerate(bodies)
    ]


def settled(connection: sqlite3.Connection, evaluation: int, node: str, history: str) -> bool:
    """Whether this offer was dealt with."""
    row = connection.execute(
        "SELECT 1 FROM merged WHERE evaluation = ? AND node = ? AND history = ?", (evaluation, node, history)
    ).fetchone()
    return row is not None


def unpack(blob: bytes) -> tuple[bytes, ...]:
    """The parts of a history that is kept."""
    return _bodies.decode(zlib.decompress(blob))


def _pack(bodies: list[bytes]) -> bytes | None:
    return zlib.compress(_encoder.encode(bodies), 1) if bodies else None


def _key(record: rec.Merged) -> tuple[int, str, str]:
    return record.evaluation, record.node, record.history


def _come_to(bodies: Iterable[bytes]) -> tuple[str, str]:
    """A history's state, and its verdicts counted as a JSON object; empty for no history."""
    state, outcomes = "", Counter[str]()
    for body in bodies:
        for _, record in rec.decode_past(body):
            if isinstance(record, rec.Accepted):
                state = "queued"
            elif isinstance(record, rec.Began | rec.Ended):
                state = record.state
            elif isinstance(record, rec.Settled) or (isinstance(record, rec.Attempted) and record.final):
                outcomes[record.outcome] += 1
            elif isinstance(record, rec.ProjectFailed):
                outcomes["error"] += 1
    return state, msgspec.json.encode(outcomes).decode()
