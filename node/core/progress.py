"""What the workers say about the work, turned into records and into pieces that wait again."""

from __future__ import annotations

from collections.abc import Callable

from node.core import effects as fx
from node.core import records as rec
from node.core.desk import Desk
from node.core.handbacks import Handbacks
from node.core.losses import Losses
from node.core.pieces import Piece
from node.core.scheduler import Scheduler
from node.core.settings import SELECT_MOST
from node.core.work import Assignment, Session, Work
from proto import messages as m
from proto.messages import AnyMessage, TestId, Verdict

FAILING = ("failed", "error")


class Progress:
    """Handles the messages of sessions.

    An event marks its project as touched only if it changes what can be dealt, opened or ended. A
    verdict seldom does, which is why it costs the same in a project of any size.

    Args:
        record: makes a record part of the state and of the log.
        answer: sends a message once everything recorded so far is durable.
    """

    def __init__(
        self,
        desk: Desk,
        scheduler: Scheduler,
        losses: Losses,
        handbacks: Handbacks,
        record: Callable[[rec.AnyRecord], None],
        answer: Callable[[str, AnyMessage], None],
    ) -> None:
        self._desk = desk
        self._scheduler = scheduler
        self._losses = losses
        self._handbacks = handbacks
        self._record = record
        self._answer = answer

    def said(self, node: str, address: str, message: AnyMessage, at: float) -> list[fx.AnyEffect]:
        """A message of a session of ``node``, whose address is ``address``; ``at`` is Unix time."""
        work, session = self._desk.find(message)
        if session is not None and session.node != node:
            work = session = None  # nobody speaks for another node's session
        if isinstance(message, m.Verdicts):
            self._verdicts(work, session, node, address, message, at)
            return []
        if work is None or session is None:
            return []
        if isinstance(message, m.Started):
            assignment = session.assignments.get(message.assignment)
            if assignment is not None:
                assignment.running = message.test
        elif isinstance(message, m.Listing):
            if session.opened:
                return []
            session.listing.setdefault(message.module, []).extend(message.tests)
        elif isinstance(message, m.SessionOpened):
            return self._opened(work, session, message)
        elif isinstance(message, m.Collected):
            return self._collected(work, session, message)
        elif isinstance(message, m.Done):
            self._desk.drop(work, session, message.assignment, "is done")
        elif isinstance(message, m.HandedBack):
            self._handbacks.take(work, session, message)
        elif isinstance(message, m.SessionEnded):
            self._losses.ended(work, session, message)
        return []

    def _opened(self, work: Work, session: Session, message: m.SessionOpened) -> list[fx.AnyEffect]:
        """The runner is up: the first one's module list is the plan's. It may be said again."""
        if session.opened:
            return []
        session.opened = True
        self._desk.touch(work)
        if session.purpose == "audit":
            return []
        if not work.project.listed:
            self._list(work, session, message)
        if session.purpose == "alone":
            # The piece was held for this session; its assignment id is the session's own.
            held = self._desk.drop(work, session, session.id, "has its session")
            session.closing = True
            closed = fx.Send(node=session.node, message=m.CloseSession(session=session.id))
            return [closed] if held is None else [self._scheduler.give(work, session, held.piece), closed]
        return []

    def _list(self, work: Work, session: Session, message: m.SessionOpened) -> None:
        evaluation, project = work.key
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
            # A former master, whose records were not committed, may have dealt some already.
            whole = work.named()[0]
            work.queue.extend(Piece(name) for name in message.modules if name not in whole)
            self._scheduler.arrange(work)

    def _plan_whole(self, work: Work, session: Session) -> None:
        evaluation, project = work.key
        selected: list[TestId] = []
        named = work.named()[1]
        for name, tests in session.listing.items():
            self._record(rec.Planned(evaluation=evaluation, project=project, module=name, tests=tuple(tests)))
            selected += (test for test in tests if test not in named)
        for start in range(0, len(selected), SELECT_MOST):
            work.queue.append(Piece("", tuple(selected[start : start + SELECT_MOST])))

    def _collected(self, work: Work, session: Session, message: m.Collected) -> list[fx.AnyEffect]:
        """The tests of a module, planned before the first of them runs."""
        assignment = session.assignments.get(message.assignment)
        if assignment is None:
            return []
        assignment.collected = message.last
        if assignment.piece.select:
            self._desk.touch(work)  # who lent these tests may end
            return []
        evaluation, project = work.key
        module = work.project.module(message.module)
        work.collectors[message.module] = session.id
        fresh = tuple(test for test in message.tests if test not in module.tests)
        if fresh or not module.planned:
            self._record(
                rec.Planned(evaluation=evaluation, project=project, module=message.module, tests=fresh)
            )
        waiting = sum(not module.tests[test].seen for test in message.tests)
        assignment.left = (assignment.left or 0) + waiting
        if assignment.left <= 1 or message.groups:
            self._desk.touch(work)
        effects: list[fx.AnyEffect] = []
        for group, named in message.groups.items():
            unseen = [test for test in named if not module.tests[test].seen]
            assignment.left -= len(unseen)
            # Said again after a broken connection, some may have been placed already.
            tests = tuple(test for test in unseen if not work.placed(test))
            if not tests:
                continue
            owner = self._desk.session(work.groups.get(group)) or session
            owner = session if owner.closing or owner.purpose != "main" else owner
            piece = Piece(message.module, tests, owner=owner.id, bound=True, group=group)
            if work.held:
                # Another member may run it, which has not reported yet.
                work.queue.append(piece)
                continue
            effects += [self._scheduler.give(work, owner, part) for part in piece.cut()]
        return effects

    def _verdicts(
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
        if work is None or session is None or assignment is None:
            superseded += range(message.first, upto)
        else:
            before = assignment.left
            for number, verdict in enumerate(message.verdicts, message.first):
                if number >= assignment.next:
                    if not self._take(work, session, assignment, address, verdict, at):
                        assignment.superseded.add(number)
                    assignment.next = number + 1
            superseded += [number for number in range(message.first, upto) if number in assignment.superseded]
            if before is not None and before > 1 and (assignment.left or 0) <= 1:
                self._desk.touch(work)  # its session is about to run dry
        self._answer(node, m.Answered(assignment=message.assignment, upto=upto, superseded=tuple(superseded)))

    def _take(
        self, work: Work, session: Session, assignment: Assignment, address: str, verdict: Verdict, at: float
    ) -> bool:
        name = verdict.module or assignment.piece.module
        state = work.project.module(name).tests.get(verdict.test)
        if state is not None and state.seen and state.assignment == assignment.id:
            # Recorded under a former master, or before a connection broke.
            return True
        if assignment.left is not None:
            assignment.left -= 1
        assignment.running = None
        assignment.ran += 1
        assignment.seconds += verdict.seconds
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
        if failing or verdict.outcome == "timeout":
            self._desk.touch(work)  # it may be one too many, and it may have to be confirmed
        self._record(
            rec.Attempted(
                evaluation=evaluation,
                project=project,
                module=name,
                test=verdict.test,
                outcome=verdict.outcome,
                final=confirming or not (failing and work.split),
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
