"""What people ask of the tables: rows out, nothing computed. Each runs on a reader's connection inside
one read transaction, so that its parts belong together."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

from node.store.details import unpack
from node.store.rows import (
    AttemptRow,
    EvaluationRow,
    EvaluationRows,
    MergedRow,
    ModuleRow,
    ProjectRow,
    TestRow,
    TestsPage,
)

PENDING = "pending"
"""As a state to filter by: tests that have no verdict yet. All other states are outcomes."""


def evaluations(connection: sqlite3.Connection, before: int, limit: int) -> list[EvaluationRow]:
    """Newest first; only ids below ``before``, unless that is 0."""
    rows = connection.execute(
        "SELECT id, name, state, detail, accepted, began, ended FROM evaluations"
        " WHERE ? = 0 OR id < ? ORDER BY id DESC LIMIT ?",
        (before, before, limit),
    ).fetchall()
    return [_evaluation_row(connection, row) for row in rows]


def evaluation(connection: sqlite3.Connection, number: int) -> EvaluationRows | None:
    """One evaluation with its projects and modules; None if there is none with that id."""
    row = connection.execute(
        "SELECT id, name, state, detail, accepted, began, ended, count_skipped FROM evaluations WHERE id = ?",
        (number,),
    ).fetchone()
    if row is None:
        return None
    modules = _modules(connection, number)
    projects = connection.execute(
        "SELECT number, name, url, package, size, state, mode, command, versions, notes, phase, message, log,"
        " audited, confirmed FROM projects WHERE evaluation = ? ORDER BY number",
        (number,),
    )
    return EvaluationRows(
        evaluation=_evaluation_row(connection, row[:7]),
        count_skipped=bool(row[7]),
        projects=tuple(_project_row(project, tuple(modules[project[0]])) for project in projects),
        merged=tuple(_merged(connection, number)),
    )


def tests(
    connection: sqlite3.Connection, evaluation: int, state: str, project: str, page: int, limit: int
) -> TestsPage | None:
    """One page of tests in planned order; None if there is no such evaluation.

    Args:
        state: an outcome, ``PENDING``, or empty for every test that has a verdict.
        project: a project's name, or empty for all.
        page: from 1.
    """
    if not connection.execute("SELECT 1 FROM evaluations WHERE id = ?", (evaluation,)).fetchone():
        return None
    matches = {"": "outcome IS NOT NULL", PENDING: "outcome IS NULL"}.get(state, "outcome = :state")
    names = {"evaluation": evaluation, "project": project, "state": state}
    modules = connection.execute(
        "SELECT modules.id, projects.name, modules.name,"
        f" (SELECT count(*) FROM tests WHERE module = modules.id AND {matches})"
        " FROM modules JOIN projects"
        " ON projects.evaluation = modules.evaluation AND projects.number = modules.project"
        " WHERE modules.evaluation = :evaluation AND (:project = '' OR projects.name = :project)"
        " ORDER BY modules.project, modules.position, modules.id",
        names,
    ).fetchall()
    found: list[TestRow] = []
    skip = (page - 1) * limit
    for module, project_name, module_name, count in modules:
        wanted = min(limit - len(found), count - skip)
        if wanted > 0:
            found += _module_tests(
                connection,
                module,
                project_name,
                module_name,
                matches,
                {**names, "skip": skip, "wanted": wanted},
            )
        skip = max(0, skip - count)
    return TestsPage(tests=tuple(found), page=page, limit=limit, total=sum(row[3] for row in modules))


def kept(connection: sqlite3.Connection, name: str) -> str | None:
    """A fact about this node or its cluster, by its name in ``meta``."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def request(connection: sqlite3.Connection, key: str) -> int | None:
    """The id that a submission with this request id got, if one did."""
    row = connection.execute("SELECT min(id) FROM evaluations WHERE request = ?", (key,)).fetchone()
    return None if row[0] is None else int(row[0])


def durations(connection: sqlite3.Connection, source: str) -> dict[str, float]:
    """Module -> seconds its tests took the last time; ``source`` is a URL, or an upload's name."""
    return dict(connection.execute("SELECT module, seconds FROM durations WHERE source = ?", (source,)))


def audited(connection: sqlite3.Connection, package: str, fingerprint: str) -> bool | None:
    """Whether the modules' ids of this package depend on each other; None if nobody looked."""
    row = connection.execute(
        "SELECT dependent FROM audited WHERE package = ? AND fingerprint = ?", (package, fingerprint)
    ).fetchone()
    return None if row is None else bool(row[0])


def _evaluation_row(connection: sqlite3.Connection, row: tuple[Any, ...]) -> EvaluationRow:
    number, name, state, detail, accepted, began, ended = row
    names = connection.execute("SELECT name FROM projects WHERE evaluation = ? ORDER BY number", (number,))
    return EvaluationRow(
        id=number, name=name, state=state, detail=detail, accepted=accepted, began=began, ended=ended,
        projects=tuple(project for (project,) in names),
    )  # fmt: skip


def _merged(connection: sqlite3.Connection, evaluation: int) -> Iterator[MergedRow]:
    rows = connection.execute(
        "SELECT node, history, stands, state, outcomes FROM merged WHERE evaluation = ?"
        " ORDER BY history, node",
        (evaluation,),
    )
    for node, history, stands, state, outcomes in rows:
        counts = msgspec.json.decode(outcomes, type=dict[str, int])
        yield MergedRow(node=node, history=history, stands=stands, state=state, outcomes=counts)


def _project_row(row: tuple[Any, ...], modules: tuple[ModuleRow, ...]) -> ProjectRow:
    (number, name, url, package, size, state, mode, command, versions, notes, phase, message, log,
     audited_, confirmed) = row  # fmt: skip
    return ProjectRow(
        number=number, name=name, url=url, package=package, size=size, state=state, mode=mode,
        command=msgspec.json.decode(command, type=tuple[str, ...]),
        versions=msgspec.json.decode(versions, type=dict[str, str]),
        notes=msgspec.json.decode(notes, type=tuple[str, ...]),
        phase=phase, message=message, log=log, audited=bool(audited_), confirmed=bool(confirmed),
        modules=modules,
    )  # fmt: skip


def _modules(connection: sqlite3.Connection, evaluation: int) -> defaultdict[int, list[ModuleRow]]:
    """Project number -> its modules in order, with their verdicts counted."""
    counts: defaultdict[int, dict[str | None, int]] = defaultdict(dict)
    for module, outcome, count in connection.execute(
        "SELECT tests.module, tests.outcome, count(*)"
        " FROM modules CROSS JOIN tests ON tests.module = modules.id"
        " WHERE modules.evaluation = ? GROUP BY 1, 2",
        (evaluation,),
    ):
        counts[module][outcome] = count
    found: defaultdict[int, list[ModuleRow]] = defaultdict(list)
    for module, project, name in connection.execute(
        "SELECT id, project, name FROM modules WHERE evaluation = ? ORDER BY project, position, id",
        (evaluation,),
    ):
        outcomes = counts[module]
        planned = sum(outcomes.values())
        verdicts = {outcome: count for outcome, count in outcomes.items() if outcome is not None}
        found[project].append(ModuleRow(name=name, planned=planned, outcomes=verdicts))
    return found


def _module_tests(
    connection: sqlite3.Connection,
    module: int,
    project_name: str,
    module_name: str,
    matches: str,
    names: dict[str, Any],
) -> list[TestRow]:
    names = {**names, "module": module}
    rows = connection.execute(
        "SELECT position, nodeid, occurrence, outcome, standing, unconfirmed, split_sensitive FROM tests"
        f" WHERE module = :module AND {matches} ORDER BY position LIMIT :wanted OFFSET :skip",
        names,
    ).fetchall()
    attempts: defaultdict[int, list[AttemptRow]] = defaultdict(list)
    wanted = {row[0] for row in rows}
    for test, position, outcome, node, assignment, at, seconds, detail in connection.execute(
        "SELECT test, position, outcome, node, assignment, at, seconds, detail FROM attempts"
        " WHERE module = ? AND test BETWEEN ? AND ? ORDER BY test, position",
        (module, rows[0][0], rows[-1][0]) if rows else (module, 0, -1),
    ):
        if test in wanted:
            attempts[test].append(
                AttemptRow(position=position, outcome=outcome, node=node, assignment=assignment, at=at,
                           seconds=seconds, detail=unpack(detail))
            )  # fmt: skip
    return [
        TestRow(
            project=project_name, module=module_name, nodeid=nodeid, occurrence=occurrence, outcome=outcome,
            standing=standing, unconfirmed=bool(unconfirmed), split_sensitive=bool(split_sensitive),
            attempts=tuple(attempts[position]),
        )
        for position, nodeid, occurrence, outcome, standing, unconfirmed, split_sensitive in rows
    ]  # fmt: skip


def unfinished_packages(connection: sqlite3.Connection) -> frozenset[str]:
    """Hashes of the packages that unfinished evaluations need."""
    rows = connection.execute(
        "SELECT DISTINCT package FROM projects WHERE package <> ''"
        " AND evaluation IN (SELECT id FROM evaluations WHERE ended IS NULL)"
    )
    return frozenset(package for (package,) in rows)
