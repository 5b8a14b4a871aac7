"""What the workers say about the work, turned into records and into pieces that wait again."""

from __future__ import annotations

from collections.abc import Callable

from node.core import effects as fx
from node.core import records as rec
from node.core.audit import Audit
from node.core.scheduler import Scheduler
from node.core.settings import SELECT_MOST, CoreSettings
from node.core.work import Assignment, Piece, Session, Work
from proto import messages as m
from proto.messages import TestId, Verdict

FAILING = ("failed", "error")


class Progress:
    """Handles the messages of sessions.

    Args:
        record: makes a record part of the state and of the log.
        answer: sends a message once everything recorded so far is durable.
    """

    def __init__(
        self,
        settings: CoreSettings,
        scheduler: Scheduler,
        record: Callable[[rec.AnyRecord], None],
        answer: Callable[[str, m.AnyMessage], None],
    ) -> None:
        self._settings = settings
        self._scheduler = scheduler
        self._record = record
        self._answer = answer
        self.audit = Audit(settings, record)

    def opened(self, work: Work, session: Session, message: m.SessionOpened) -> list[fx.AnyEffect]:
        """The runner is up: the first one's module list is the plan's. It may be said again."""
        if session.opened:
            return []
        session.opened = True
        evaluation, project = work.key
        if session.purpose == "audit":
            return []
        if not work.project.listed:
            self._record(
                rec.Listed(
                    evaluation=evaluation,
                    project=project,
                    modules=message.modules,
                    command=message.command,
                    versions=message.versions,
                    mode=session.mode,
                    notes=message.notes,
                )
            )
            work.split = session.mode == "lazy"
            if session.mode == "whole":
                self._plan_whole(work, session)
            else:
                work.queue.extend(Piece(name) for name in message.modules)
        if session.purpose == "alone":
            # The piece was held for this session; its assignment id is the session's own.
            held = session.assignments.pop(session.id)
            session.closing = True
            return [
                self._scheduler.give(session, held.piece),
                fx.Send(node=session.node, message=m.CloseSession(session=session.id)),
            ]
        return []

    def _plan_whole(self, work: Work, session: Session) -> None:
        evaluation, project = work.key
        selected: list[TestId] = []
        for name, tests in session.listing.items():
            self._record(rec.Planned(evaluation=evaluation, project=project, module=name, tests=tuple(tests)))
            selected += tests
        for start in range(0, len(selected), SELECT_MOST):
            work.queue.append(Piece("", tuple(selected[start : start + SELECT_MOST])))

    def collected(self, work: Work, session: Session, message: m.Collected) -> list[fx.AnyEffect]:
        """The tests of a module, planned before the first of them runs."""
        assignment = session.assignments.get(message.assignment)
        if assignment is None:
            return []
        effects: list[fx.AnyEffect] = []
        evaluation, project = work.key
        module = work.project.module(message.module)
        if not assignment.piece.select:
            fresh = tuple(test for test in message.tests if test not in module.tests)
            if fresh or not module.planned:
                self._record(
                    rec.Planned(evaluation=evaluation, project=project, module=message.module, tests=fresh)
                )
            waiting = [test for test in message.tests if not module.tests[test].seen]
            assignment.left = (assignment.left or 0) + len(waiting)
        for group, tests in message.groups.items():
            if assignment.piece.select:
                continue
            # Said again after a broken connection, it may have been placed already.
            tests = tuple(test for test in tests if not module.tests[test].seen and not work.placed(test))
            if not tests:
                continue
            owner = work.groups.setdefault(group, session.id)
            owning = work.sessions.get(owner, session)
            owning = session if owning.closing else owning
            work.groups[group] = owning.id
            assignment.left = (assignment.left or 0) - len(tests)
            effects.append(self._scheduler.give(owning, Piece(message.module, tests)))
        return effects

    def verdicts(
        self,
        work: Work | None,
        session: Session | None,
        node: str,
        address: str,
        message: m.Verdicts,
        at: float,
    ) -> None:
        """Record what is new; answer everything once it is durable."""
        upto = message.first + len(message.verdicts)
        assignment = session.assignments.get(message.assignment) if session is not None else None
        superseded: list[int] = []
        for number, verdict in enumerate(message.verdicts, message.first):
            if work is None or session is None or assignment is None:
                superseded.append(number)
            elif number >= assignment.next:
                if not self._take(work, session, assignment, address, verdict, at):
                    superseded.append(number)
                assignment.next = number + 1
        self._answer(node, m.Answered(assignment=message.assignment, upto=upto, superseded=tuple(superseded)))

    def _take(
        self, work: Work, session: Session, assignment: Assignment, address: str, verdict: Verdict, at: float
    ) -> bool:
        name = verdict.module or assignment.piece.module
        state = work.project.module(name).tests.get(verdict.test)
        if assignment.left is not None:
            assignment.left -= 1
        assignment.running = None
        if state is not None and state.seen and state.assignment == assignment.id:
            # Recorded under a former master, or before a connection broke.
            return True
        if state is not None and state.verdict is not None:
            return False
        evaluation, project = work.key
        if state is None:
            self._record(
                rec.Planned(evaluation=evaluation, project=project, module=name, tests=(verdict.test,))
            )
            state = work.project.module(name).tests[verdict.test]
        confirming = session.purpose == "audit"
        failing = verdict.outcome in FAILING
        final = confirming or not (failing and work.split)
        self._record(
            rec.Attempted(
                evaluation=evaluation,
                project=project,
                module=name,
                test=verdict.test,
                outcome=verdict.outcome,
                final=final,
                node=address,
                assignment=assignment.id,
                at=at,
                seconds=verdict.seconds,
                message=verdict.message,
                traceback=verdict.traceback,
                output=verdict.output,
                reports=verdict.reports,
                split_sensitive=confirming and state.provisional is not None and not failing,
            )
        )
        return True
