"""What is lost and comes back: runners that die, nodes that go.

The started test is the suspect and nobody else: it is retried alone once, and a second death is its
verdict. Losing a node is no test's fault until it happens often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from node.core import records as rec
from node.core.audit import Audit
from node.core.desk import Desk
from node.core.pieces import Piece
from node.core.settings import CoreSettings
from node.core.work import Assignment, Session, Work
from proto import messages as m
from proto.messages import AssignmentId, TestId


class Losses:
    """Puts what has no verdict back into the queue.

    Args:
        record: makes a record part of the state and of the log.
        audit: is told when its session ends.
    """

    def __init__(
        self, settings: CoreSettings, desk: Desk, record: Callable[[rec.AnyRecord], None], audit: Audit
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._record = record
        self._audit = audit

    def ended(self, work: Work, session: Session, message: m.SessionEnded) -> None:
        """A runner is gone: its suspect is retried alone, the rest elsewhere; nobody else is blamed."""
        self._close(work, session, f"{message.how} {message.message}".strip())
        if session.purpose == "audit":
            self._audit_ended(work, session, message)
            return
        if message.how in ("unbuildable", "unusable"):
            self._unusable(work, message)
            return
        if not session.opened and message.how in ("died", "output", "timeout"):
            work.start_failures += 1
            if (
                work.start_failures > 1
                and work.mode == "whole"
                and work.evaluation.options.collection != "whole"
            ):
                # Something kills the whole collection: module by module the culprit is found.
                work.mode, work.start_failures = "lazy", 0
            elif work.start_failures > 2:
                self._fail(work, "start", message)
                return
        for assignment in _selections_first(session):
            suspect = message.suspect if assignment.id == message.assignment else None
            collecting = message.collecting if assignment.id == message.assignment else ""
            self._put_back(work, assignment, suspect, collecting, message)

    def node_lost(self, work: Work, session: Session, *, charged: bool) -> None:
        """The session's node is gone. ``charged``: not in order, so the tests that ran may be at fault."""
        self._close(work, session, f"node {session.node} was lost")
        if session.purpose == "audit":
            return
        for assignment in _selections_first(session):
            test = assignment.running if charged else None
            alone = test is not None and self._charge(work, session, assignment, test)
            self.requeue(work, assignment, test if alone else None)

    def _charge(self, work: Work, session: Session, assignment: Assignment, test: TestId) -> bool:
        """Count the loss; whether the test runs alone from now on."""
        name = self._module_of(work, assignment, test)
        message = "its node was lost under it"
        self._interrupted(work, name, test, "node", assignment.id, session.node, message)
        losses = work.project.losses[name, test]
        if losses >= self._settings.losses_most:
            self._verdict(work, name, test, "lost", f"its node was lost {losses} times under it")
        return losses >= self._settings.losses_alone

    def _close(self, work: Work, session: Session, why: str) -> None:
        self._desk.close(work, session, why)
        for piece in reversed(work.queue.release(session.id)):
            work.queue.requeue(replace(piece, owner=None, bound=False))

    def _put_back(
        self,
        work: Work,
        assignment: Assignment,
        suspect: TestId | None,
        collecting: str,
        message: m.SessionEnded,
    ) -> None:
        if suspect is not None and message.how != "timeout":
            name = self._module_of(work, assignment, suspect)
            if self._died_twice(work, name, suspect, assignment, message.message):
                self._verdict(work, name, suspect, "crashed", message.message, message.log)
                suspect = None
        elif collecting:
            name = collecting
            test = TestId(name)
            if message.how == "timeout" or self._died_twice(work, name, test, assignment, message.message):
                outcome: m.Outcome = "timeout" if message.how == "timeout" else "crashed"
                self._verdict(
                    work, name, test, outcome, f"while it was collected: {message.message}", message.log
                )
            else:
                work.queue.requeue(Piece(name, assignment.piece.select, alone=True))
            if name == assignment.piece.module:
                return
        self.requeue(work, assignment, suspect)

    def _died_twice(
        self, work: Work, module: str, test: TestId, assignment: Assignment, message: str
    ) -> bool:
        self._interrupted(work, module, test, "runner", assignment.id, "", message)
        return work.project.deaths[module, test] > 1

    def _interrupted(
        self,
        work: Work,
        module: str,
        test: TestId,
        how: Literal["node", "runner"],
        assignment: AssignmentId,
        node: str,
        message: str,
    ) -> None:
        if (module, test, assignment) in work.project.interrupted:
            return
        evaluation, project = work.key
        self._record(
            rec.Interrupted(
                evaluation=evaluation,
                project=project,
                module=module,
                test=test,
                how=how,
                node=node,
                assignment=assignment,
                message=message,
            )
        )

    def requeue(self, work: Work, assignment: Assignment, alone: TestId | None = None) -> None:
        """What has no outcome yet waits again; ``alone`` in a session of its own."""
        piece = assignment.piece
        if not piece.select and not work.project.module(piece.module).planned:
            work.queue.requeue(Piece(piece.module, alone=piece.alone))
            return
        held = self.held_elsewhere(work, assignment)
        left = [test for test in self._without_outcome(work, piece) if test not in held]
        others = tuple(test for test in left if test != alone)
        if others:
            owner = work.collectors.get(piece.module)
            work.queue.requeue(Piece(piece.module, others, owner=owner, group=piece.group))
        if alone is not None and alone in left:
            work.queue.requeue(Piece(piece.module, (alone,), alone=True))

    def _without_outcome(self, work: Work, piece: Piece) -> tuple[TestId, ...]:
        modules = work.project.modules
        if not piece.select:
            return work.project.module(piece.module).missing()
        if piece.module:
            among = [modules[piece.module]] if piece.module in modules else []
        else:
            among = list(modules.values())
        done = {
            test
            for module in among
            if module.counts.missing < module.counts.planned
            for test, state in module.tests.items()
            if state.verdict or state.provisional
        }
        return tuple(test for test in piece.select if test not in done)

    def held_elsewhere(self, work: Work, assignment: Assignment) -> set[TestId]:
        """Tests of the module that other pieces name (groups, suspects, tails): they are not lost."""
        pieces = [piece for piece in work.queue if piece.module == assignment.piece.module]
        for session in work.sessions.values():
            others = (other for other in session.assignments.values() if other is not assignment)
            pieces += [other.piece for other in others if other.piece.module == assignment.piece.module]
        return {test for piece in pieces for test in piece.select}

    def _module_of(self, work: Work, assignment: Assignment, test: TestId) -> str:
        if assignment.piece.module:
            return assignment.piece.module
        for module in work.project.modules.values():
            if test in module.tests:
                return module.name
        return test.nodeid.split("::")[0]

    def _verdict(
        self, work: Work, module: str, test: TestId, outcome: m.Outcome, message: str, log: str = ""
    ) -> None:
        evaluation, project = work.key
        known = work.project.module(module).tests.get(test)
        if known is not None and known.verdict is not None:
            return
        if known is None:
            self._record(rec.Planned(evaluation=evaluation, project=project, module=module, tests=(test,)))
        self._record(
            rec.Attempted(
                evaluation=evaluation,
                project=project,
                module=module,
                test=test,
                outcome=outcome,
                final=True,
                message=message,
                traceback=log,
            )
        )

    def _unusable(self, work: Work, message: m.SessionEnded) -> None:
        if work.project.listed:
            # It has worked elsewhere: this node cannot; the pieces wait for others.
            work.start_failures += 1
            if work.start_failures <= 3:
                return
        self._fail(work, "build" if message.how == "unbuildable" else "start", message)

    def _fail(self, work: Work, phase: str, message: m.SessionEnded) -> None:
        evaluation, project = work.key
        self._record(
            rec.ProjectFailed(
                evaluation=evaluation,
                project=project,
                phase="build" if phase == "build" else "start",
                message=message.message,
                log=message.log,
            ),
        )

    def _audit_ended(self, work: Work, session: Session, message: m.SessionEnded) -> None:
        if message.how == "closed" and not session.assignments:
            return
        held = session.assignments.get(message.assignment) if message.assignment is not None else None
        if message.how in ("died", "output") and message.suspect is not None and held is not None:
            # The next whole session goes on with what is left, without a suspect that died twice.
            name = self._module_of(work, held, message.suspect)
            if self._died_twice(work, name, message.suspect, held, message.message):
                self._verdict(work, name, message.suspect, "crashed", message.message, message.log)
        elif message.how != "timeout" or message.collecting:
            self._audit.failed(work, message)


def _selections_first(session: Session) -> list[Assignment]:
    """Its assignments in the order in which they are put back, each before those put back earlier.

    What names its tests (a group, a tail) goes first, so that the rest of its module leaves them out.
    """
    last_first = list(session.assignments.values())[::-1]
    return sorted(last_first, key=lambda one: not one.piece.select)
