"""One evaluation as records again, made from the tables: what another master needs to take it whole.

The log keeps records no longer than it must, so it cannot be asked. What is made here says the same
about every test and attempt; how the records were grouped, and what the tables do not hold, is not kept.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

from node.core import records as rec
from node.store.details import Detail, unpack
from proto.messages import AssignmentId, Options, TestId
from proto.voting import Epoch

PART = 256 << 10
"""Bytes of a part; its last record may go beyond."""

OVER = ("finished", "cancelled", "failed")


def parts(connection: sqlite3.Connection, evaluation: int) -> Iterator[bytes]:
    """Its records in order, in ``encode_past`` bodies of about ``PART`` bytes."""
    gathered: list[tuple[int, rec.AnyRecord]] = []
    size = 0
    for position, record in records(connection, evaluation):
        gathered.append((position, record))
        size += len(rec.encode(record))
        if size >= PART:
            yield rec.encode_past(tuple(gathered))
            gathered, size = [], 0
    if gathered:
        yield rec.encode_past(tuple(gathered))


def records(connection: sqlite3.Connection, evaluation: int) -> Iterator[tuple[int, rec.AnyRecord]]:
    """(position, record); the position is that of the log here, and orders a test's attempts."""
    row = connection.execute(
        "SELECT request, name, state, detail, options, accepted, began, ended, position, closed_counter,"
        " closed_node FROM evaluations WHERE id = ?",
        (evaluation,),
    ).fetchone()
    request, name, state, detail, options, accepted, began, ended, first, counter, node = row
    projects = connection.execute(
        "SELECT number, name, url, package, size, state, mode, command, versions, notes, phase, message, log,"
        " audited, confirmed FROM projects WHERE evaluation = ? ORDER BY number",
        (evaluation,),
    ).fetchall()
    yield (
        first,
        rec.Accepted(
            evaluation=evaluation,
            request=request,
            at=accepted,
            name=name,
            options=msgspec.json.decode(options, type=Options),
            projects=tuple(
                rec.Source(
                    name=project[1],
                    url=project[2],
                    package=project[3],
                    size=project[4],
                    notes=msgspec.json.decode(project[9], type=tuple[str, ...]),
                )
                for project in projects
            ),
            token=_token(connection, first),
        ),
    )
    if began is not None:
        yield first, rec.Began(evaluation=evaluation, state="preparing", at=began)
        if state != "preparing":
            yield first, rec.Began(evaluation=evaluation, state="running", at=began)
    for project in projects:
        yield from _project(connection, evaluation, first, project)
    if ended is not None:
        over = rec.Ended(
            evaluation=evaluation, state=state, at=ended, detail=detail, epoch=Epoch(counter, node)
        )
        yield first, over


def _token(connection: sqlite3.Connection, position: int) -> bool:
    """Whether the submission came with a token: only the log knows, as long as it may matter."""
    row = connection.execute(
        "SELECT body FROM log WHERE position = ? AND voters IS NULL", (position,)
    ).fetchone()
    record = rec.decode(row[0]) if row is not None else None
    return isinstance(record, rec.Accepted) and record.token


def _project(
    connection: sqlite3.Connection, evaluation: int, first: int, row: tuple[Any, ...]
) -> Iterator[tuple[int, rec.AnyRecord]]:
    number, state, mode, command, versions, phase = row[0], row[5], row[6], row[7], row[8], row[10]
    modules = connection.execute(
        "SELECT id, name FROM modules WHERE evaluation = ? AND project = ? ORDER BY position, id",
        (evaluation, number),
    ).fetchall()
    # The one error of a project that could not be run follows from the record that says so.
    failure = f"({phase})" if phase else ""
    failed = [module for module, name in modules if name == failure]
    modules = [(module, name) for module, name in modules if name != failure]
    if mode:
        yield (
            first,
            rec.Listed(
                evaluation=evaluation,
                project=number,
                modules=tuple(name for _, name in modules),
                command=msgspec.json.decode(command, type=tuple[str, ...]),
                versions=msgspec.json.decode(versions, type=dict[str, str]),
                mode=mode,
            ),
        )
    for module, name in modules:
        for position, record in _module(connection, module):
            yield (
                position or first,
                msgspec.structs.replace(record, evaluation=evaluation, project=number, module=name),
            )
    if phase:
        error = rec.ProjectFailed(
            evaluation=evaluation, project=number, phase=phase, message=row[11], log=row[12]
        )
        yield _position(connection, failed) or first, error
    if state in OVER and (state != "failed" or not phase):
        ended = rec.ProjectEnded(
            evaluation=evaluation,
            project=number,
            state=state,
            audited=bool(row[13]),
            confirmed=bool(row[14]),
        )
        yield first, ended


def _position(connection: sqlite3.Connection, modules: list[int]) -> int:
    """Of the only attempt in these modules, of which there is one at most; 0 for none."""
    for module in modules:
        row = connection.execute("SELECT max(position) FROM attempts WHERE module = ?", (module,)).fetchone()
        return int(row[0] or 0)
    return 0


def _module(
    connection: sqlite3.Connection, module: int
) -> Iterator[tuple[int, rec.Planned | rec.Attempted | rec.Interrupted | rec.Settled]]:
    """Its plan, and what became of each test; project and module are the caller's to fill in."""
    tests = connection.execute(
        "SELECT position, nodeid, occurrence, outcome, standing, unconfirmed, split_sensitive FROM tests"
        " WHERE module = ? ORDER BY position",
        (module,),
    ).fetchall()
    planned = tuple(TestId(nodeid, occurrence) for _, nodeid, occurrence, *_ in tests)
    if not planned:
        return
    for part in rec.parts(rec.Planned(project=0, module="", tests=planned)):
        assert isinstance(part, rec.Planned)
        yield 0, part
    attempts: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for attempt in connection.execute(
        "SELECT test, position, outcome, node, assignment, at, seconds, detail FROM attempts"
        " WHERE module = ? ORDER BY test, position",
        (module,),
    ):
        attempts[attempt[0]].append(attempt[1:])
    for (number, _, _, outcome, standing, unconfirmed, sensitive), test in zip(tests, planned, strict=True):
        verdict = (standing, outcome, bool(unconfirmed), bool(sensitive))
        settled = outcome is not None
        for position, *attempt in attempts[number]:
            detail = unpack(attempt.pop())
            gave = (position, attempt[0], detail.unconfirmed, detail.split_sensitive)
            settled = settled and gave != verdict
            yield position, _attempt(test, attempt, detail, final=gave == verdict)
        if settled:
            yield (
                standing or 0,
                rec.Settled(project=0, module="", test=test, outcome=outcome, unconfirmed=bool(unconfirmed)),
            )


def _attempt(test: TestId, row: list[Any], detail: Detail, *, final: bool) -> rec.Attempted | rec.Interrupted:
    outcome, node, assignment, at, seconds = row
    by = _assignment(assignment)
    if not final and outcome in ("lost", "crashed"):
        return rec.Interrupted(
            project=0,
            module="",
            test=test,
            how="node" if outcome == "lost" else "runner",
            node=node,
            assignment=by,
            at=at,
            message=detail.message,
        )
    return rec.Attempted(
        project=0,
        module="",
        test=test,
        outcome=outcome,
        final=final,
        node=node,
        assignment=by,
        at=at,
        seconds=seconds,
        message=detail.message,
        traceback=detail.traceback,
        output=detail.output,
        reports=detail.reports,
        split_sensitive=detail.split_sensitive,
        unconfirmed=detail.unconfirmed,
    )


def _assignment(text: str) -> AssignmentId | None:
    """The id that ``str`` wrote; a node's name may have dots in it."""
    if not text:
        return None
    epoch, _, rest = text.partition(".")
    node, _, number = rest.rpartition(".")
    return AssignmentId(int(epoch), node, int(number))
