"""The master's state checked against itself, and the story told when it does not agree. For tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from node.core.desk import Desk
from node.core.evaluation import Ledger, Project
from node.core.membership import Roster
from node.core.work import Work
from proto.messages import TestId


def story(desk: Desk, evaluation: int) -> str:
    """What happened to the sessions and assignments of an evaluation, one line each, oldest first."""
    return "\n".join(f"{work.key}: {line}" for work in desk.of(evaluation) for line in work.story)


def check(desk: Desk, ledger: Ledger, roster: Roster) -> None:
    """Planned tests are verdicts, missing and unconfirmed ones; nobody else's slot is used; no test
    is with two sessions.

    Raises:
        AssertionError: one of these does not hold.
    """
    desk.check()
    for evaluation in ledger.evaluations.values():
        for project in evaluation.projects:
            _count(project)
    for work in desk.works.values():
        try:
            _placed(work, roster)
            _once(work)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{story(desk, work.key[0])}") from error


def _count(project: Project) -> None:
    planned = missing = unconfirmed = 0
    for module in project.modules.values():
        states = module.tests.values()
        planned += len(states)
        missing += sum(state.verdict is None and state.provisional is None for state in states)
        unconfirmed += sum(state.verdict is None and state.provisional is not None for state in states)
    counts = project.counts
    assert (counts.planned, counts.missing, counts.unconfirmed) == (planned, missing, unconfirmed), (
        f"project {project.index} counts {counts}, but {planned} planned, {missing} missing, "
        f"{unconfirmed} unconfirmed"
    )


def _placed(work: Work, roster: Roster) -> None:
    for session in work.sessions.values():
        assert session.node in roster, f"{session.id} is on {session.node}, which is no member"
        for assignment in session.assignments.values():
            assert assignment.left is None or assignment.left >= 0, (
                f"{assignment.id} has {assignment.left} left"
            )


def _once(work: Work) -> None:
    """Pieces of one module, waiting or given, have no test in common. The audit runs tests again."""
    twice = [what for what, times in Counter(_held(work)).items() if times > 1]
    assert not twice, f"{work.key} has these twice: {twice[:5]}"


def _held(work: Work) -> Iterator[tuple[str, TestId | None]]:
    pieces = list(work.queue)
    for session in work.sessions.values():
        if session.purpose != "audit":
            pieces += [assignment.piece for assignment in session.assignments.values()]
    for piece in pieces:
        if piece.select:
            yield from ((piece.module, test) for test in piece.select)
        else:
            yield piece.module, None
