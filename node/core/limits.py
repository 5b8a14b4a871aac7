"""Evaluations that are ended before their time: the time limit, ``-x`` and ``--maxfail``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from node.core import effects as fx
from node.core import records as rec
from node.core.desk import Desk
from node.core.evaluation import Evaluation, Project
from node.core.lifecycle import Lifecycle
from node.core.settings import CoreSettings
from node.core.work import Work
from proto import messages as m
from proto.messages import Outcome, TestId


class Limits:
    """Cuts evaluations short.

    Args:
        record: makes a record part of the state and of the log.
    """

    def __init__(
        self,
        settings: CoreSettings,
        desk: Desk,
        lifecycle: Lifecycle,
        record: Callable[[rec.AnyRecord], None],
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._lifecycle = lifecycle
        self._record = record

    def check(self, evaluations: Iterable[Evaluation], now_at: float) -> list[fx.AnyEffect]:
        """End those whose time is over or whose ``--maxfail`` is reached."""
        effects: list[fx.AnyEffect] = []
        for evaluation in evaluations:
            limit = evaluation.options.timeout_evaluation or self._settings.timeout_evaluation
            if evaluation.id in self._lifecycle.cut_short:
                continue
            if evaluation.began and now_at >= evaluation.began + limit:
                effects += self._cut(
                    evaluation, f"the evaluation's time limit of {limit:g} s came first", "timeout"
                )
            elif evaluation.failures:
                most = max_failures(evaluation.options.pytest_args)
                if most and evaluation.failures >= most:
                    effects += self._cut(
                        evaluation, f"stopped after {evaluation.failures} failures", "notrun"
                    )
        return effects

    def _cut(self, evaluation: Evaluation, why: str, running: Outcome) -> list[fx.AnyEffect]:
        """What runs gets the outcome ``running``, the rest is ``notrun``."""
        self._lifecycle.cut_short[evaluation.id] = why
        self._desk.wake()
        effects: list[fx.AnyEffect] = []
        for work in self._desk.of(evaluation.id):
            for session in work.sessions.values():
                for assignment in session.assignments.values():
                    if assignment.running is not None:
                        self._end_running(work, assignment.running, running, why)
                session.closing = True
                close = m.CloseSession(session=session.id, kill=True)
                effects.append(fx.Send(node=session.node, message=close))
            work.queue.clear()
            work.gave_up = work.gave_up or why
        for project in evaluation.projects:
            if not project.state:
                self._stand(evaluation, project)
                self._lifecycle.conserve(Work(evaluation, project), "notrun", why)
                self._record(
                    rec.ProjectEnded(
                        evaluation=evaluation.id,
                        project=project.index,
                        state="finished",
                        confirmed=False,
                        notes=(why,),
                    )
                )
        return effects

    def _stand(self, evaluation: Evaluation, project: Project) -> None:
        """Failures that were not confirmed stand as they were seen."""
        for module in project.modules.values():
            for test in module.unconfirmed():
                outcome = module.tests[test].provisional
                if outcome is not None:
                    self._record(
                        rec.Settled(
                            evaluation=evaluation.id,
                            project=project.index,
                            module=module.name,
                            test=test,
                            outcome=outcome,
                            unconfirmed=True,
                        )
                    )

    def _end_running(self, work: Work, test: TestId, outcome: Outcome, why: str) -> None:
        for module in work.project.modules.values():
            state = module.tests.get(test)
            if state is not None and state.verdict is None:
                self._record(
                    rec.Attempted(
                        evaluation=work.key[0],
                        project=work.key[1],
                        module=module.name,
                        test=test,
                        outcome=outcome,
                        final=True,
                        message=f"it ran when {why}",
                    )
                )
                return


def max_failures(pytest_args: tuple[str, ...]) -> int:
    """How many failures end the evaluation, from ``-x`` and ``--maxfail``; 0 for no limit."""
    most = 0
    for position, argument in enumerate(pytest_args):
        following = pytest_args[position + 1] if position + 1 < len(pytest_args) else ""
        if argument in ("-x", "--exitfirst"):
            most = 1
        elif argument.startswith("--maxfail="):
            most = _number(argument.partition("=")[2])
        elif argument == "--maxfail":
            most = _number(following)
    return most


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
