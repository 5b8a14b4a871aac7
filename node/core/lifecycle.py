"""An evaluation's way from accepted to ended: fetching, starting, conservation, cancel."""

from __future__ import annotations

from collections.abc import Callable

from node.core import effects as fx
from node.core import records as rec
from node.core.audit import fingerprint
from node.core.desk import Desk
from node.core.evaluation import Evaluation, Ledger, Project
from node.core.settings import CoreSettings
from node.core.work import Work
from proto import messages as m
from proto.messages import Outcome
from proto.voting import Epoch


class Lifecycle:
    """Moves evaluations on.

    Args:
        epoch: of this reign.
        ledger: what is known.
        record: makes a record part of the state and of the log.
    """

    def __init__(
        self,
        settings: CoreSettings,
        epoch: Epoch,
        ledger: Ledger,
        desk: Desk,
        record: Callable[[rec.AnyRecord], None],
    ) -> None:
        self._settings = settings
        self._epoch = epoch
        self._ledger = ledger
        self._record = record
        self._cloning: set[tuple[int, int]] = set()
        self._desk = desk
        self.works = desk.works
        self.cancelling: set[int] = set()
        self.cut_short: dict[int, str] = {}
        """Evaluation -> why it was ended before its time."""
        self.held: set[tuple[int, int]] = set()
        """Projects that a former master may have dealt: nothing of them is dealt yet."""

    # --- a new reign ------------------------------------------------------------------------------

    def hold(self) -> None:
        """Deal nothing of what is unfinished now, until ``release``."""
        self.held = {
            (evaluation.id, project.index)
            for evaluation in self._ledger.evaluations.values()
            for project in evaluation.projects
            if project.package and not project.state
        }

    def adopted(self, evaluation: Evaluation, project: Project, now: float) -> Work:
        """The work that an adopted session belongs to."""
        key = (evaluation.id, project.index)
        work = self.works.get(key)
        if work is None:
            work = self.works[key] = self._resume(evaluation, project, now)
            self._desk.touch(work)
        return work

    def release(self, now: float) -> None:
        """Everybody has reported: what nobody runs waits again."""
        if not self.held:
            return
        held, self.held = self.held, set()
        self._desk.wake()
        for number, index in sorted(held):
            evaluation = self._ledger.evaluations.get(number)
            if evaluation is not None and not evaluation.projects[index].state:
                work = self.adopted(evaluation, evaluation.projects[index], now)
                work.held = False
                work.refill()

    def forget(self, evaluation: int) -> None:
        """Another history of it stands: nothing that was under way for it counts."""
        self.cancelling.discard(evaluation)
        self.cut_short.pop(evaluation, None)
        self.held = {key for key in self.held if key[0] != evaluation}
        self._cloning = {key for key in self._cloning if key[0] != evaluation}

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
        self._desk.wake()

    def running(self, evaluation: int) -> dict[tuple[int, str], int]:
        """(project, module) -> tests that run right now."""
        counts: dict[tuple[int, str], int] = {}
        for work in self._desk.of(evaluation):
            for session in work.sessions.values():
                for assignment in session.assignments.values():
                    if assignment.running is not None:
                        where = (work.key[1], assignment.piece.module)
                        counts[where] = counts.get(where, 0) + 1
        return counts

    def start(self, now: float, at: float) -> tuple[list[Work], list[fx.AnyEffect]]:
        """Work for every project that can run, in order, made anew from the ledger where there is none;
        and questions for what is known of those that are new."""
        works: list[Work] = []
        effects: list[fx.AnyEffect] = []
        for evaluation in self.in_order():
            if evaluation.id in self.cancelling:
                continue
            if evaluation.state == "queued":
                self._record(rec.Began(evaluation=evaluation.id, state="preparing", at=at))
            for project in evaluation.projects:
                key = (evaluation.id, project.index)
                if not project.package or project.state or key in self.held:
                    continue
                new = key not in self.works
                works.append(self.adopted(evaluation, project, now))
                if new:
                    source = project.source.url or project.source.name
                    effects.append(fx.Recall(evaluation=evaluation.id, project=project.index, source=source))
        return works, effects

    def _resume(self, evaluation: Evaluation, project: Project, now: float) -> Work:
        work = Work(evaluation, project, began=now)
        work.held = work.key in self.held
        known = self._ledger.audited.get((project.package, fingerprint(work)))
        # Where ids are known to depend on each other, a split is compared every time.
        work.audited = known is False
        if known and evaluation.options.collection == "auto":
            work.mode, work.audited = "whole", True
        if project.listed:
            work.mode = "whole" if project.mode == "whole" else "lazy"
            work.split = work.mode == "lazy"
            if not work.held:
                work.refill()
        return work

    def end_project(
        self, work: Work, at: float, settle: Callable[[Work], bool], due: Callable[[Work], bool]
    ) -> list[fx.AnyEffect]:
        """End a project whose work is done, or send away who still works for one that has ended."""
        project = work.project
        if work.key[0] in self.cancelling:
            if not work.sessions:
                del self.works[work.key]
        elif project.state:
            if work.sessions:
                return self._send_away(work)
            self.conserve(work, "notrun", "the project could not be run to its end")
            del self.works[work.key]
        elif project.listed and not work.pieces_left and not work.sessions and not due(work):
            if project.counts.missing and not (work.refilled or work.gave_up):
                # A master beside this one may have answered for them: they run once more here.
                work.refilled = True
                work.refill()
                self._desk.touch(work)
                return []
            confirmed = settle(work)
            if not project.counts.planned:
                work.notes.append("no tests were found")
            self.conserve(work, "lost", "no verdict was ever given")
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
        return []

    def _send_away(self, work: Work) -> list[fx.AnyEffect]:
        effects: list[fx.AnyEffect] = []
        for session in work.sessions.values():
            if not session.closing:
                session.closing = True
                close = m.CloseSession(session=session.id, kill=True)
                effects.append(fx.Send(node=session.node, message=close))
        return effects

    def end_evaluations(self, at: float) -> None:
        """End every evaluation whose projects have."""
        busy = {key[0] for key in self.works}
        for evaluation in list(self._ledger.evaluations.values()):
            if evaluation.id not in busy:
                self._end(evaluation, at)

    def _end(self, evaluation: Evaluation, at: float) -> None:
        if evaluation.id in self.cancelling:
            self._stop(evaluation, at, "cancelled on request")
        elif all(project.state for project in evaluation.projects):
            ran = any(project.state == "finished" for project in evaluation.projects)
            detail = self.cut_short.pop(evaluation.id, "") if ran else "no project could be run"
            self._over(evaluation, "finished" if ran else "failed", at, detail)

    def _stop(self, evaluation: Evaluation, at: float, detail: str) -> None:
        for project in evaluation.projects:
            if not project.state:
                self.conserve(Work(evaluation, project), "notrun", "")
                self._record(
                    rec.ProjectEnded(evaluation=evaluation.id, project=project.index, state="cancelled")
                )
        self.cancelling.discard(evaluation.id)
        self._over(evaluation, "cancelled", at, detail)

    def _over(self, evaluation: Evaluation, state: rec.Final, at: float, detail: str) -> None:
        ended = rec.Ended(evaluation=evaluation.id, state=state, at=at, detail=detail, epoch=self._epoch)
        self._record(ended)

    def conserve(self, work: Work, outcome: Outcome, message: str) -> None:
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
