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
        self._audit = Audit(settings, record)

    def opened(self, work: Work, session: Session, message: m.SessionOpened) -> list[fx.AnyEffect]:
        """The runner is up: the first one's module list is the plan's."""
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
            assignment.left = (assignment.left or 0) + len(message.tests)
        for group, tests in message.groups.items():
            if assignment.piece.select:
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

    def ended(self, work: Work, session: Session, message: m.SessionEnded) -> None:
        """A runner is gone: its suspect is retried alone, the rest elsewhere; nobody else is blamed."""
        work.sessions.pop(session.id, None)
        if session.purpose == "audit":
            self._audit_ended(work, session, message)
            return
        if message.how in ("unbuildable", "unusable"):
            self._unusable(work, message)
            return
        if message.how in ("died", "output") and not message.suspect and not message.collecting:
            work.start_failures += 1
            if work.start_failures > 2:
                self._fail(work, "start", message)
                return
        for assignment in session.assignments.values():
            suspect = message.suspect if assignment.id == message.assignment else None
            collecting = message.collecting if assignment.id == message.assignment else ""
            self._put_back(work, assignment, suspect, collecting, message)

    def node_lost(self, work: Work, session: Session) -> None:
        """The session's node is gone: the loss is charged to the tests that ran."""
        work.sessions.pop(session.id, None)
        if session.purpose == "audit":
            return
        for assignment in session.assignments.values():
            test = assignment.running
            alone = False
            if test is not None:
                work.losses[test] = work.losses.get(test, 0) + 1
                alone = work.losses[test] >= self._settings.losses_alone
                if work.losses[test] >= self._settings.losses_most:
                    name = self._module_of(work, assignment, test)
                    self._verdict(
                        work, name, test, "lost", f"its node was lost {work.losses[test]} times under it"
                    )
            self._requeue(work, assignment, test if alone else None)

    def handed_back(self, work: Work, session: Session, message: m.HandedBack) -> None:
        """Not begun and will not be: it waits again."""
        assignment = session.assignments.pop(message.assignment, None)
        if assignment is not None:
            self._requeue(work, assignment, None)

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
            if self._died_twice(work, name, suspect):
                self._verdict(work, name, suspect, "crashed", message.message, message.log)
                suspect = None
        elif collecting:
            name = collecting
            test = TestId(name)
            if message.how == "timeout" or self._died_twice(work, name, None):
                outcome: m.Outcome = "timeout" if message.how == "timeout" else "crashed"
                self._verdict(
                    work, name, test, outcome, f"while it was collected: {message.message}", message.log
                )
            else:
                work.requeue(Piece(name, assignment.piece.select, alone=True))
            if name == assignment.piece.module:
                return
        self._requeue(work, assignment, suspect)

    def _died_twice(self, work: Work, module: str, test: TestId | None) -> bool:
        key = (module, test)
        work.deaths[key] = work.deaths.get(key, 0) + 1
        return work.deaths[key] > 1

    def _requeue(self, work: Work, assignment: Assignment, alone: TestId | None) -> None:
        """What has no outcome yet waits again; ``alone`` in a session of its own."""
        piece = assignment.piece
        tests = work.project.modules
        if not piece.select and not work.project.module(piece.module).planned:
            work.requeue(Piece(piece.module, alone=piece.alone))
            return
        if piece.select:
            left = [
                test
                for test in piece.select
                if not any(
                    test in mod.tests and (mod.tests[test].verdict or mod.tests[test].provisional)
                    for mod in ([tests[piece.module]] if piece.module in tests else tests.values())
                )
            ]
        else:
            left = list(work.project.module(piece.module).missing())
        others = tuple(test for test in left if test != alone)
        if others:
            work.requeue(Piece(piece.module, others))
        if alone is not None and alone in left:
            work.requeue(Piece(piece.module, (alone,), alone=True))

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
        if test not in work.project.module(module).tests:
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
        self._audit.failed(work, message)

    def settle(self, work: Work) -> bool:
        """Let unconfirmed outcomes stand; whether there were none."""
        return self._audit.settle(work)

    def audit(self, work: Work, now: float) -> list[fx.AnyEffect]:
        """Compare and confirm once every module is done."""
        return self._audit.advance(work, now, self._scheduler.give)
