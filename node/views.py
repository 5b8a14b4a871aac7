"""The HTTP contract's JSON shapes: rows in, dicts out. Pure functions; the grading rule is not here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from node.core.grading import overall_grade, score
from node.store.details import bounded
from node.store.rows import (
    AttemptRow,
    EvaluationRow,
    EvaluationRows,
    ModuleRow,
    ProjectRow,
    Stats,
    TestRow,
    TestsPage,
    Totals,
)

View: TypeAlias = dict[str, Any]
Live: TypeAlias = Mapping[tuple[int, str], int]
"""(number of the project, module) -> tests that run at this moment. Only the master's core knows."""

OVER = frozenset({"finished", "cancelled", "failed"})
PAGE_TEXTS = 2 << 20
"""JSON bytes of texts (outputs, tracebacks, messages) on one page of tests: an answer must fit a frame."""


def evaluation_view(rows: EvaluationRows, live: Live, now: float) -> View:
    """``GET /evaluation/<id>``. ``now`` is Unix time in seconds."""
    over = rows.evaluation.state in OVER
    running = {} if over else live
    projects = [_project(project, running, rows.count_skipped) for project in rows.projects]
    outcomes = _sum(project["outcomes"] for project in projects)
    graded = score(outcomes, count_skipped=rows.count_skipped)
    row = rows.evaluation
    return {
        "id": row.id,
        "state": row.state,
        "detail": row.detail,
        "name": row.name,
        "seconds": _seconds(row, now),
        "accepted": row.accepted,
        "passed": graded.passed,
        "failed": graded.failed,
        "grade": overall_grade(project["grade"] for project in projects),
        "tests": _sum_tests(project["tests"] for project in projects),
        "outcomes": outcomes,
        "projects": projects,
        "merged": [
            {"node": one.node, "stands": one.stands, "state": one.state, "outcomes": one.outcomes}
            for one in rows.merged
            if one.state
        ],
    }


def evaluations_view(rows: Sequence[EvaluationRow], limit: int, now: float) -> View:
    """``GET /evaluation``; ``limit`` is what the rows were asked with."""
    return {
        "evaluations": [
            {
                "id": row.id,
                "state": row.state,
                "detail": row.detail,
                "name": row.name,
                "seconds": _seconds(row, now),
                "accepted": row.accepted,
                "projects": list(row.projects),
            }
            for row in rows
        ],
        "next": f"/evaluation?before={rows[-1].id}" if len(rows) == limit and rows[-1].id > 1 else None,
    }


def tests_view(page: TestsPage) -> View:
    """``GET /evaluation/<id>/tests``. ``next`` is the number of the following page, or None."""
    cap = _cap(page)
    return {
        "tests": [_test(test, cap) for test in page.tests],
        "page": page.page,
        "total": page.total,
        "next": page.page + 1 if page.page * page.limit < page.total else None,
    }


def stats_view(stats: Stats, addresses: Mapping[str, str]) -> View:
    """``GET /stats``: exactly the contract's keys.

    ``addresses``: node id -> address of the nodes connected now, the master included.
    """
    return {
        "all": {
            "failed": stats.all.failed,
            "passed": stats.all.passed,
            "projects": len(stats.all.projects),
            "evaluations": len(stats.all.evaluations),
        },
        "nodes": [_node(address, stats.nodes.get(address) or Totals()) for address in addresses.values()],
    }


def health_view(body: View, node: str, address: str, lag: Mapping[str, float]) -> View:
    """``GET /health`` with the loop's lag at one more node: each that the question passes adds its own.

    ``body`` may be a problem's: a node that knows no master says how late its loop is all the same.
    """
    return {**body, "loop_lag": {**body.get("loop_lag", {}), address: {"node": node, **lag}}}


def _node(address: str, totals: Totals) -> View:
    return {
        "address": address,
        "failed": totals.failed,
        "passed": totals.passed,
        "projects": len(totals.projects),
        "modules": totals.modules,
        "evaluations": sorted(totals.evaluations),
    }


def _project(project: ProjectRow, live: Live, count_skipped: bool) -> View:
    modules = [
        _module(module, live.get((project.number, module.name), 0), count_skipped)
        for module in project.modules
    ]
    outcomes = _sum(module["outcomes"] for module in modules)
    graded = score(outcomes, count_skipped=count_skipped)
    return {
        "name": project.name,
        "source": project.url or project.name,
        "state": project.state,
        "passed": graded.passed,
        "failed": graded.failed,
        "grade": graded.grade,
        "tests": _sum_tests(module["tests"] for module in modules),
        "outcomes": outcomes,
        "detail": project.message,
        "phase": project.phase,
        "log": project.log,
        "package": project.package,
        "collection": project.mode,
        "command": list(project.command),
        "versions": project.versions,
        "notes": list(project.notes),
        "audited": project.audited,
        "confirmed": project.confirmed,
        "modules": modules,
    }


def _module(module: ModuleRow, running: int, count_skipped: bool) -> View:
    graded = score(module.outcomes, count_skipped=count_skipped)
    # What ended without being run was not executed; it stays among the pending.
    executed = sum(module.outcomes.values()) - module.outcomes.get("notrun", 0)
    # The core may be a moment ahead of the tables, or behind them.
    running = min(running, module.planned - sum(module.outcomes.values()))
    return {
        "name": module.name,
        "passed": graded.passed,
        "failed": graded.failed,
        "tests": {
            "total": module.planned,
            "executed": executed,
            "running": running,
            "pending": module.planned - executed - running,
        },
        "outcomes": module.outcomes,
    }


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def _sum_tests(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    return {"total": 0, "executed": 0, "running": 0, "pending": 0} | _sum(counts)


def _seconds(row: EvaluationRow, now: float) -> float:
    """From when work on it began; waiting in the queue is not counted."""
    if row.began is None:
        return 0.0
    return round(max(0.0, (now if row.ended is None else row.ended) - row.began), 3)


def _test(test: TestRow, cap: int) -> View:
    standing = next((attempt for attempt in test.attempts if attempt.position == test.standing), None)
    detail = standing.detail if standing else None
    return {
        "project": test.project,
        "module": test.module,
        "nodeid": test.nodeid,
        "occurrence": test.occurrence,
        "outcome": test.outcome or "pending",
        "seconds": round(standing.seconds, 6) if standing else 0.0,
        "worker": standing.node if standing else "",
        "attempts": [_attempt(attempt, cap) for attempt in test.attempts],
        "message": _fit(detail.message, cap) if detail else "",
        "traceback": _fit(detail.traceback, cap) if detail else "",
        "output": _fit(detail.output, cap) if detail else "",
        "unconfirmed": test.unconfirmed,
        "split_sensitive": test.split_sensitive,
    }


def _attempt(attempt: AttemptRow, cap: int) -> View:
    return {
        "outcome": attempt.outcome,
        "seconds": round(attempt.seconds, 6),
        "worker": attempt.node,
        "at": attempt.at,
        "assignment": attempt.assignment,
        "message": _fit(attempt.detail.message, cap),
        "reports": list(attempt.detail.reports),
    }


def _cap(page: TestsPage) -> int:
    """JSON bytes one text may take, so that all of the page's texts fit ``PAGE_TEXTS``."""
    sizes = [size for test in page.tests for size in _sizes(test)]
    cap = PAGE_TEXTS
    while sum(min(size, cap) for size in sizes) > PAGE_TEXTS:
        cap //= 2
    return cap


def _sizes(test: TestRow) -> Iterable[int]:
    for attempt in test.attempts:
        detail = attempt.detail
        # A message stands twice: with its attempt, and with the test if that attempt stands.
        for text in (detail.message, detail.message, detail.traceback, detail.output):
            if text:
                yield len(msgspec.json.encode(text))


def _fit(text: str, cap: int) -> str:
    """``text``, or what of its head and tail takes ``cap`` JSON bytes."""
    if 6 * len(text) < cap:
        return text
    size = len(msgspec.json.encode(text))
    return text if size <= cap else bounded(text, len(text) * cap // size)
