"""What ``/stats`` counts. Ended evaluations are folded into totals that outlive them; unfinished ones
are counted from their tests, so a verdict counts exactly once."""

from __future__ import annotations

import sqlite3
from collections import defaultdict

from node.core.grading import FAILED, PASSED
from node.store.rows import Stats, Totals

SYSTEM = ""
"""The node name under which the whole system is counted: verdicts that no node gave, too."""

_VERDICTS = """
    SELECT coalesce(attempts.node, ''), tests.module, modules.project, tests.outcome, count(*)
    FROM modules CROSS JOIN tests ON tests.module = modules.id
    LEFT JOIN attempts ON attempts.module = tests.module AND attempts.test = tests.position
        AND attempts.position = tests.standing
    WHERE modules.evaluation = ? AND tests.outcome IS NOT NULL
    GROUP BY 1, 2, 4
"""


def fold(connection: sqlite3.Connection, evaluation: int, at: float) -> None:
    """Add an evaluation that has just ended, and remember how long its modules took."""
    totals = _counted(connection, evaluation)
    connection.executemany(
        "INSERT INTO totals VALUES (?, ?, ?, ?) ON CONFLICT (node) DO UPDATE SET"
        " passed = passed + excluded.passed, failed = failed + excluded.failed,"
        " modules = modules + excluded.modules",
        [(node, counts.passed, counts.failed, counts.modules) for node, counts in totals.items()],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO totals_projects VALUES (?, ?)",
        [(node, source) for node, counts in totals.items() for source in counts.projects],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO totals_evaluations VALUES (?, ?)", [(node, evaluation) for node in totals]
    )
    connection.execute(
        """
        INSERT OR REPLACE INTO durations
        SELECT coalesce(nullif(projects.url, ''), projects.name), modules.name, sum(attempts.seconds), ?
        FROM projects
        CROSS JOIN modules ON modules.evaluation = projects.evaluation AND modules.project = projects.number
        CROSS JOIN tests ON tests.module = modules.id
        CROSS JOIN attempts ON attempts.module = tests.module AND attempts.test = tests.position
            AND attempts.position = tests.standing
        WHERE projects.evaluation = ? AND attempts.node <> ''
        GROUP BY modules.id
        """,
        (at, evaluation),
    )


def unfold(connection: sqlite3.Connection, evaluation: int) -> None:
    """Take an evaluation that was folded out again: another history of it stands."""
    for node, counts in _counted(connection, evaluation).items():
        connection.execute(
            "UPDATE totals SET passed = passed - ?, failed = failed - ?, modules = modules - ?"
            " WHERE node = ?",
            (counts.passed, counts.failed, counts.modules, node),
        )
    connection.execute("DELETE FROM totals_evaluations WHERE evaluation = ?", (evaluation,))


def stats(connection: sqlite3.Connection) -> Stats:
    """The folded totals and the unfinished evaluations together."""
    nodes: defaultdict[str, Totals] = defaultdict(Totals)
    for node, passed, failed, modules in connection.execute(
        "SELECT node, passed, failed, modules FROM totals"
    ):
        nodes[node] = Totals(passed=passed, failed=failed, modules=modules)
    for node, source in connection.execute("SELECT node, source FROM totals_projects"):
        nodes[node].projects.add(source)
    for node, evaluation in connection.execute("SELECT node, evaluation FROM totals_evaluations"):
        nodes[node].evaluations.add(evaluation)
    unfinished = connection.execute("SELECT id FROM evaluations WHERE ended IS NULL ORDER BY id").fetchall()
    for (evaluation,) in unfinished:
        for node, counts in _counted(connection, evaluation).items():
            known = nodes[node]
            known.passed += counts.passed
            known.failed += counts.failed
            known.modules += counts.modules
            known.projects |= counts.projects
            known.evaluations |= counts.evaluations
    system = nodes.pop(SYSTEM, Totals())
    return Stats(all=system, nodes=dict(nodes))


def _counted(connection: sqlite3.Connection, evaluation: int) -> dict[str, Totals]:
    """Node -> what it did for this evaluation; ``SYSTEM`` -> all of it."""
    sources: dict[int, str] = dict(
        connection.execute(
            "SELECT number, coalesce(nullif(url, ''), name) FROM projects WHERE evaluation = ?", (evaluation,)
        )
    )
    counted: defaultdict[str, Totals] = defaultdict(Totals)
    system = Totals(projects=set(sources.values()), evaluations={evaluation})
    modules: defaultdict[str, set[int]] = defaultdict(set)
    for node, module, project, outcome, count in connection.execute(_VERDICTS, (evaluation,)):
        passed = count if outcome in PASSED else 0
        failed = count if outcome in FAILED else 0
        system.passed += passed
        system.failed += failed
        if node == SYSTEM:
            continue
        counts = counted[node]
        counts.passed += passed
        counts.failed += failed
        counts.projects.add(sources[project])
        counts.evaluations.add(evaluation)
        modules[node].add(module)
    for node, executed in modules.items():
        counted[node].modules = len(executed)
    counted[SYSTEM] = system
    return dict(counted)
