"""The replicated log on disk: consecutive positions, the vote, and how far the tables follow.

The tables hold all that ended evaluations need, so the log is kept for replay and for peers that
are a little behind, no longer. Everything up to ``base`` is covered by the tables: a peer that lacks
more gets a copy of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from node.core import records as rec
from node.core.voting_events import Persist, Saved
from node.store import merging, queries
from node.store.errors import OutOfStep
from proto.voting import EMPTY, Epoch, LogRecord, Mark

TAIL = 2000
"""Newest applied positions that are always kept, for peers that are a little behind."""
TRIMMED_AT_ONCE = 2000
"""Rows one transaction deletes at most, so that trimming never holds a commit up."""
AUDITS_REPLAYED = 10_000

STATE = "replica"
"""Name in ``meta`` of the facts below."""
HIGHEST = "highest evaluation"
"""Name in ``meta``: retention deletes evaluations, and an id is never given twice."""
OWN = (STATE, "incarnation", "cluster", "aside")
"""Names in ``meta`` of this node's own facts, which a copy of another node's tables does not replace."""


class Replay(NamedTuple):
    """What the tables and the log hold of what is not over."""

    records: list[rec.AnyRecord]
    """What audits found, and the records of unfinished evaluations, in order."""
    highest: int
    """The highest evaluation id ever given."""
    members: list[rec.Joined]


class State(Struct, kw_only=True, omit_defaults=True):
    """Of this replica: its vote, what is committed, what the tables hold, where the log begins."""

    counter: int = 0
    voted: str = ""
    commit: int = 0
    applied: int = 0
    base: Mark = EMPTY
    base_voters: tuple[str, ...] = ()


def last_position(connection: sqlite3.Connection) -> int:
    """The newest position, 0 for an empty log."""
    return int(connection.execute("SELECT coalesce(max(position), 0) FROM log").fetchone()[0])


def read_state(connection: sqlite3.Connection) -> State:
    """This replica's facts; all defaults before it holds a log."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (STATE,)).fetchone()
    return State() if row is None else msgspec.json.decode(row[0], type=State)


def write_state(connection: sqlite3.Connection, state: State) -> None:
    """Put them on disk with the transaction."""
    connection.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (STATE, msgspec.json.encode(state).decode()),
    )


def saved(connection: sqlite3.Connection) -> Saved:
    """What a replica starts from."""
    state = read_state(connection)
    return Saved(
        counter=state.counter,
        voted=state.voted,
        commit=state.commit,
        base=state.base,
        base_voters=state.base_voters,
        records=tuple(rows_after(connection, state.base.position)),
    )


def rows_after(connection: sqlite3.Connection, position: int) -> Iterable[LogRecord]:
    """The log's records behind a position, in order."""
    rows = connection.execute(
        "SELECT epoch, node, position, body, voters FROM log WHERE position > ? ORDER BY position",
        (position,),
    )
    for counter, node, at, body, voters in rows:
        named = None if voters is None else msgspec.json.decode(voters, type=tuple[str, ...])
        yield LogRecord(Epoch(counter, node), at, body, named)


def found(connection: sqlite3.Connection, node: str) -> None:
    """Begin a log whose only voter is ``node``; what an older log holds stays before its base."""
    last = last_position(connection)
    row = connection.execute("SELECT epoch, node FROM log WHERE position = ?", (last,)).fetchone()
    before = EMPTY if row is None else Mark(Epoch(*row), last)
    epoch = Epoch(before.epoch.counter + 1, node)
    insert(connection, [(LogRecord(epoch, last + 1, b"", (node,)), 0)])
    write_state(
        connection,
        State(counter=epoch.counter, voted=node, commit=last + 1, applied=last + 1, base=before),
    )


def insert(connection: sqlite3.Connection, records: Iterable[tuple[LogRecord, int]]) -> None:
    """Add (record, evaluation it is about) pairs."""
    connection.executemany(
        "INSERT INTO log (position, epoch, node, evaluation, body, voters) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                record.position,
                record.epoch.counter,
                record.epoch.node,
                evaluation,
                record.payload,
                None if record.voters is None else msgspec.json.encode(record.voters).decode(),
            )
            for record, evaluation in records
        ],
    )


def persist(connection: sqlite3.Connection, state: State, effect: Persist) -> list[tuple[int, rec.AnyRecord]]:
    """Carry out one ``Persist`` (its snapshot is installed already); the decoded new records.

    Raises:
        OutOfStep: the records leave a gap, or what is to be cut is in the tables.
    """
    if effect.truncate_from is not None:
        if effect.truncate_from <= state.applied:
            raise OutOfStep(f"record {effect.truncate_from} was committed here and is not elsewhere")
        connection.execute("DELETE FROM log WHERE position >= ?", (effect.truncate_from,))
    state.counter, state.voted, state.commit = effect.counter, effect.voted, effect.commit
    if not effect.records:
        return []
    last = max(last_position(connection), state.base.position)
    if effect.records[0].position != last + 1:
        raise OutOfStep(f"record {effect.records[0].position} does not follow position {last}")
    decoded = [(r.position, rec.decode(r.payload)) for r in effect.records if r.voters is None]
    about = {position: record.evaluation for position, record in decoded}
    insert(connection, [(record, about.get(record.position, 0)) for record in effect.records])
    return decoded


def between(connection: sqlite3.Connection, first: int, last: int) -> list[tuple[int, rec.AnyRecord]]:
    """The decoded records of these positions, both included; records about voters are left out."""
    rows = connection.execute(
        "SELECT position, body FROM log WHERE position BETWEEN ? AND ? AND voters IS NULL ORDER BY position",
        (first, last),
    )
    return [(position, rec.decode(body)) for position, body in rows]


def compact(connection: sqlite3.Connection, state: State, tail: int) -> bool:
    """Move the base up to ``tail`` positions before what is applied, if that is worth it."""
    target = state.applied - tail
    if target - state.base.position < tail:
        return False
    row = connection.execute("SELECT epoch, node FROM log WHERE position = ?", (target,)).fetchone()
    state.base_voters = voters_at(connection, state, target)
    state.base = Mark(Epoch(*row), target)
    return True


def voters_at(connection: sqlite3.Connection, state: State, position: int) -> tuple[str, ...]:
    """The set of voters that stands at a position."""
    row = connection.execute(
        "SELECT voters FROM log WHERE position <= ? AND position > ? AND voters IS NOT NULL"
        " ORDER BY position DESC LIMIT 1",
        (position, state.base.position),
    ).fetchone()
    return state.base_voters if row is None else msgspec.json.decode(row[0], type=tuple[str, ...])


def trim(connection: sqlite3.Connection, state: State) -> None:
    """Drop a bounded number of the oldest rows that neither replay nor a peer needs."""
    row = connection.execute("SELECT min(position) FROM evaluations WHERE ended IS NULL").fetchone()
    needed = state.base.position + 1 if row[0] is None else min(row[0], state.base.position + 1)
    oldest = connection.execute("SELECT min(position) FROM log").fetchone()[0]
    # Deleting in larger steps spares most transactions the work.
    if oldest is None or needed - oldest < TRIMMED_AT_ONCE // 2:
        return
    connection.execute("DELETE FROM log WHERE position < ?", (min(needed, oldest + TRIMMED_AT_ONCE),))


def replayed(connection: sqlite3.Connection) -> Replay:
    """What a master begins with."""
    highest = int(queries.kept(connection, HIGHEST) or 0)
    return Replay(replay(connection), highest, members(connection))


def replay(connection: sqlite3.Connection) -> list[rec.AnyRecord]:
    """What audits found, then the applied records of unfinished evaluations in the order of the log."""
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
        " AND position <= ? ORDER BY position",
        (read_state(connection).applied,),
    )
    found = (rec.decode(body) for (body,) in rows)
    # What was taken over is kept whole; the parts in which it came may be trimmed.
    return [
        *audits,
        *merging.taken(connection),
        *(record for record in found if not isinstance(record, rec.Audited | rec.Merged)),
    ]


def members(connection: sqlite3.Connection) -> list[rec.Joined]:
    """The roster, by join."""
    rows = connection.execute(
        "SELECT node, address, incarnation, slots, alone, isolation FROM members ORDER BY position"
    )
    return [
        rec.Joined(
            node=node, address=address, incarnation=number, slots=slots, alone=alone, isolation=isolation
        )
        for node, address, number, slots, alone, isolation in rows
    ]
