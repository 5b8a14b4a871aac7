"""What nodes report on a new connection, compared with what the master believes.

Assignments are not in the log. A new master learns of them from here: it adopts what its forerunner
dealt, as long as it still waits for that node's report. Whoever was buried meanwhile reports too
late: the work went to others, and what it still runs is void.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from node.core import effects as fx
from node.core.desk import Desk
from node.core.evaluation import Ledger
from node.core.lifecycle import Lifecycle
from node.core.losses import Losses
from node.core.membership import Roster
from node.core.pieces import Piece
from node.core.work import Assignment, Session, Work
from proto import messages as m
from proto.messages import AssignmentId


@dataclass
class Report:
    """One node's report, up to ``Reported``."""

    join: m.Join
    sessions: dict[AssignmentId, m.Held] = field(default_factory=dict)
    runs: dict[AssignmentId, dict[AssignmentId, m.HeldRun]] = field(default_factory=dict)
    """Session -> assignment -> what is held of it."""


class Reports:
    """Reports that are coming in, and what follows from a complete one."""

    def __init__(
        self, roster: Roster, ledger: Ledger, desk: Desk, lifecycle: Lifecycle, losses: Losses
    ) -> None:
        self._roster = roster
        self._desk = desk
        self._ledger = ledger
        self._lifecycle = lifecycle
        self._losses = losses
        self._coming: dict[str, Report] = {}

    def begin(self, node: str, join: m.Join) -> None:
        """A connection is new; what came of an earlier report is void."""
        self._coming[node] = Report(join)

    def take(self, node: str, message: m.Held | m.HeldRun) -> None:
        """One more part."""
        report = self._coming.get(node)
        if report is None:
            return
        if isinstance(message, m.Held):
            report.sessions[message.session.session] = message
        else:
            report.runs.setdefault(message.run.session, {})[message.run.assignment] = message

    def complete(self, node: str) -> Report | None:
        """``Reported`` came."""
        return self._coming.pop(node, None)

    def forget(self, node: str) -> None:
        """The connection broke before the report was complete."""
        self._coming.pop(node, None)

    def settle(
        self, node: str, report: Report, *, same_process: bool, now: float
    ) -> tuple[list[AssignmentId], list[fx.AnyEffect]]:
        """Agree with the node on its sessions; those that are void, and what to tell it again.

        ``same_process``: what the master believes it to run may still run. Otherwise that process,
        and all it ran, is dead.
        """
        believed = {
            session.id: (work, session)
            for work in self._desk.works.values()
            for session in work.sessions.values()
            if session.node == node
        }
        void: list[AssignmentId] = []
        effects: list[fx.AnyEffect] = []
        # Newest first: one that has ended, and waits for answers only, must not keep its slot from another.
        for key, held in reversed(report.sessions.items()):
            runs = report.runs.get(key, {})
            if key in believed:
                effects += self._agree(*believed[key], held, runs)
            elif self._adopt(node, held, runs, now):
                effects += self._close_alone(held)
            else:
                void.append(key)
        for key, (work, session) in believed.items():
            if key not in report.sessions:
                self._losses.node_lost(work, session, charged=not same_process)
        return void, effects

    def _agree(
        self, work: Work, session: Session, held: m.Held, runs: dict[AssignmentId, m.HeldRun]
    ) -> list[fx.AnyEffect]:
        """What the node does not hold was lost on the way; the rest will be said again."""
        if not session.opened:
            session.listing.clear()
        for assignment in list(session.assignments.values()):
            # The piece of a suspect's session is held under the session's own id until it has opened.
            if assignment.id in runs:
                assignment.left = _left(work, assignment)
                assignment.asked = False
            elif assignment.id != session.id:
                self._desk.drop(work, session, assignment.id, "was lost on the way")
                self._losses.requeue(work, assignment)
        over = bool(work.project.state or work.gave_up) or work.key[0] in self._lifecycle.cancelling
        if over or (session.closing and not held.closing):
            close = m.CloseSession(session=session.id, kill=over)
            return [fx.Send(node=session.node, message=close)]
        return []

    def _close_alone(self, held: m.Held) -> list[fx.AnyEffect]:
        """A suspect's session gets nothing after its piece."""
        if held.closing or held.session.purpose != "alone":
            return []
        found = self._desk.session(held.session.session)
        return [fx.Send(node=found.node, message=m.CloseSession(session=found.id))] if found else []

    def _adopt(self, node: str, held: m.Held, runs: dict[AssignmentId, m.HeldRun], now: float) -> bool:
        """Take over a session that a former master opened; False if its work is gone or done anew."""
        open_ = held.session
        evaluation = self._ledger.evaluations.get(open_.evaluation)
        if (
            node not in self._roster.awaited
            or evaluation is None
            or open_.evaluation in self._lifecycle.cancelling
            or open_.project >= len(evaluation.projects)
        ):
            return False
        project = evaluation.projects[open_.project]
        if project.state or project.package != open_.package:
            return False
        # An audit is made anew, and so is a suspect's session that was not sent its piece.
        if open_.purpose == "audit" or (open_.purpose == "alone" and not runs):
            return False
        work = self._lifecycle.adopted(evaluation, project, now)
        work.mode = work.mode or open_.mode
        alone = open_.purpose == "alone"
        session = Session(
            open_.session, node, open_.slot, open_.evaluation, open_.project, open_.mode, open_.purpose
        )
        session.opened, session.closing = alone, alone or held.closing
        if (node, open_.slot) in self._desk.taken:
            return False
        self._desk.open(work, session)
        for key, run in runs.items():
            piece = Piece(run.run.module, run.run.select, alone=alone)
            assignment = Assignment(key, piece, next=run.answered)
            assignment.left = _left(work, assignment)
            work.queue.without(piece.module, set(piece.select))
            self._desk.give(work, session, assignment)
        return True


def _left(work: Work, assignment: Assignment) -> int | None:
    """Tests that it names and whose outcome it has not given; a module's are counted when it is collected."""
    piece = assignment.piece
    if not piece.select:
        return None
    modules = work.project.modules
    among = [modules[piece.module]] if piece.module in modules else list(modules.values())
    given = {
        test
        for module in among
        for test, state in module.tests.items()
        if state.seen and state.assignment == assignment.id
    }
    return sum(test not in given for test in piece.select)
