"""An evaluation's way from accepted to ended: fetching, starting, conservation, cancel, time limit."""

from __future__ import annotations

from collections.abc import Callable

from node.core import effects as fx
from node.core import records as rec
from node.core.audit import fingerprint
from node.core.evaluation import Evaluation, Ledger, Project
from node.core.settings import CoreSettings
from node.core.work import Work
from proto import messages as m
from proto.messages import Outcome, TestId


class Lifecycle:
    """Moves evaluations on.

    Args:
        ledger: what is known.
        record: makes a record part of the state and of the log.
    """

    def __init__(
        self, settings: CoreSettings, ledger: Ledger, record: Callable[[rec.AnyRecord], None]
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._record = record
        self._cloning: set[tuple[int, int]] = set()
        self.works: dict[tuple[int, int], Work] = {}
        self.cancelling: set[int] = set()
        self._cut_short: dict[int, str] = {}
        self._held: set[tuple[int, int]] = set()

    # --- a new reign ------------------------------------------------------------------------------

    def hold(self) -> None:
        """Deal nothing of what a former master may have dealt, until ``release``."""
        self._held = {
            (evaluation.id, project.index)
            for evaluation in self._ledger.evaluations.values()
            for project in evaluation.projects
            if project.package and not project.state
        }

    def adopted(self, evaluation: Evaluation, index: int, now: float) -> Work:
        """The work that an adopted session belongs to."""
        key = (evaluation.id, index)
        work = self.works.get(key)
        if work is None:
            work = self.works[key] = self._resume(evaluation, index, now)
        return work

    def release(self, now: float) -> None:
        """Everybody has reported: what nobody runs waits again."""
        held, self._held = self._held, set()
        for number, index in held:
            evaluation = self._ledger.evaluations.get(number)
            if evaluation is not None and not evaluation.projects[index].state:
                self.adopted(evaluation, index, now).refill()

    # --- its way ----------------------------------------------------------------------------------

    def in_order(self) -> list[Evaluation]:
        """Unfinished evaluations: higher priority first, then in order of submission."""
        return sorted(self._ledger.evaluations.values(), key=lambda e: (-e.options.priority, e.id))

    def fetch(self) -> list[fx.AnyEffect]:
        """Start as many clones as may run at once."""
        effects: list[fx.AnyEffect] = []
        for evaluation in self.in_order():
            for project in evaluation.projects:
                key = (evaluation.id, project.index)
                if (
                    project.package
                    or project.state
                    or key in self._cloning
                    or evaluation.id in self.cancelling
                ):
                    continue
                if len(self._cloning) >= self._settings.max_clones:
                    return effects
                self._cloning.add(key)
                effects.append(
                    fx.Clone(
                        evaluation=evaluation.id,
                        project=project.index,
                        url=project.source.url,
                        options=evaluation.options,
                        request=evaluation.request,
                        token=evaluation.token,
                    )
                )
        return effects

    def fetched(self, record: rec.Fetched | rec.ProjectFailed) -> None:
        """A clone ended."""
        self._cloning.discard((record.evaluation, record.project))
        if record.evaluation not in self._ledger.evaluations:
            return
        self._record(record)

    def unfetched(self, evaluation: int, project: int) -> None:
        """A clone is to be made again."""
        self._cloning.discard((evaluation, project))

    def start(self, now: float, at: float) -> list[Work]:
        """Work for every project that can run, made anew from the ledger where there is none."""
        works: list[Work] = []
        for evaluation in self.in_order():
            if evaluation.id in self.cancelling:
                continue
            if evaluation.state == "queued":
                self._record(rec.Began(evaluation=evaluation.id, state="preparing", at=at))
            for project in evaluation.projects:
                if not project.package or project.state:
                    continue
                if (evaluation.id, project.index) not in self._held:
                    works.append(self.adopted(evaluation, project.index, now))
        return works

    def _resume(self, evaluation: Evaluation, index: int, now: float) -> Work:
        project = evaluation.projects[index]
        work = Work(evaluation, project, began=now)
        known = self._ledger.audited.get((project.package, fingerprint(work)))
        work.audited = known is not None
        if known and evaluation.options.collection == "auto":
            work.mode = "whole"
        if project.listed:
            work.mode = "whole" if project.mode == "whole" else "lazy"
            work.split = work.mode == "lazy"
            work.refill()
        return work

    def running(self, evaluation: int) -> dict[tuple[int, str], int]:
        """(project, module) -> tests that run right now."""
        counts: dict[tuple[int, str], int] = {}
        for key, work in self.works.items():
            if key[0] != evaluation:
                continue
            for session in work.sessions.values():
                for assignment in session.assignments.values():
                    if assignment.running is not None:
                        where = (key[1], assignment.piece.module)
                        counts[where] = counts.get(where, 0) + 1
        return counts

    def end_projects(self, at: float, settle: Callable[[Work], bool], due: Callable[[Work], bool]) -> None:
        """End every project whose work is done, and every evaluation whose projects are."""
        for work in [work for key, work in self.works.items() if key not in self._held]:
            project = work.project
            if work.key[0] in self.cancelling:
                if not work.sessions:
                    del self.works[work.key]
            elif project.state:
                if not work.sessions:
                    self._conserve(work, "notrun", "the project could not be run to its end")
                    del self.works[work.key]
            elif project.listed and not work.pieces_left and not work.sessions and not due(work):
                confirmed = settle(work)
                if not any(module.tests for module in project.modules.values()):
                    work.notes.append("no tests were found")
                self._conserve(work, "lost", "no verdict was ever given")
                self._record(
                    rec.ProjectEnded(
                        evaluation=work.key[0],
                        project=work.key[1],
                        state="finished",
                        audited=work.audited and not work.gave_up,
                        confirmed=confirmed,
                        notes=tuple(work.notes) + ((work.gave_up,) if work.gave_up else ()),
                    )
                )
                del self.works[work.key]
        for evaluation in list(self._ledger.evaluations.values()):
            self._end(evaluation, at)

    def _end(self, evaluation: Evaluation, at: float) -> None:
        busy = any(key[0] == evaluation.id for key in self.works)
        if evaluation.id in self.cancelling:
            if not busy:
                self._stop(evaluation, at, "cancelled", "cancelled on request")
        elif all(project.state for project in evaluation.projects) and not busy:
            ran = any(project.state == "finished" for project in evaluation.projects)
            detail = self._cut_short.pop(evaluation.id, "") if ran else "no project could be run"
            self._record(
                rec.Ended(
                    evaluation=evaluation.id, state="finished" if ran else "failed", at=at, detail=detail
                )
            )

    def _stop(self, evaluation: Evaluation, at: float, state: m.Name, detail: str) -> None:
        for project in evaluation.projects:
            if not project.state:
                self._conserve(Work(evaluation, project), "notrun", "")
                self._record(
                    rec.ProjectEnded(evaluation=evaluation.id, project=project.index, state="cancelled")
                )
        self.cancelling.discard(evaluation.id)
        self._record(rec.Ended(evaluation=evaluation.id, state="cancelled", at=at, detail=detail))

    def _conserve(self, work: Work, outcome: Outcome, message: str) -> None:
        """Whatever is planned and has no verdict gets one: planned equals verdicts."""
        for module, test in list(work.project.open_tests()):
            self._record(
                rec.Attempted(
                    evaluation=work.key[0],
                    project=work.key[1],
                    module=module.name,
                    test=test,
                    outcome=outcome,
                    final=True,
                    message=message,
                )
            )

    def limits(self, now_at: float) -> list[fx.AnyEffect]:
        """End evaluations whose time is over or whose ``--maxfail`` is reached."""
        effects: list[fx.AnyEffect] = []
        for evaluation in self.in_order():
            limit = evaluation.options.timeout_evaluation or self._settings.timeout_evaluation
            most = max_failures(evaluation.options.pytest_args)
            if evaluation.id in self._cut_short:
                continue
            if evaluation.began and now_at >= evaluation.began + limit:
                effects += self._cut(
                    evaluation, f"the evaluation's time limit of {limit:g} s came first", "timeout"
                )
            elif most and evaluation.failures >= most:
                effects += self._cut(evaluation, f"stopped after {evaluation.failures} failures", "notrun")
        return effects

    def _cut(self, evaluation: Evaluation, why: str, running: Outcome) -> list[fx.AnyEffect]:
        """What runs gets the outcome ``running``, the rest is ``notrun``."""
        self._cut_short[evaluation.id] = why
        effects: list[fx.AnyEffect] = []
        for work in [work for key, work in self.works.items() if key[0] == evaluation.id]:
            for session in work.sessions.values():
                for assignment in session.assignments.values():
                    if assignment.running is not None:
                        self._end_running(work, assignment.running, running, why)
                effects.append(
                    fx.Send(node=session.node, message=m.CloseSession(session=session.id, kill=True))
                )
            work.queue.clear()
            work.gave_up = work.gave_up or why
        for project in evaluation.projects:
            if not project.state:
                self._stand(evaluation, project)
                self._conserve(Work(evaluation, project), "notrun", why)
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
