"""What nodes report on a new connection, compared with what the master believes.

Assignments are not in the log. A new master learns of them from here: it adopts what its forerunner
dealt, as long as it still waits for that node's report. Whoever was buried meanwhile reports too
late: the work went to others, and what it still runs is void.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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

    def settle(self, node: str, report: Report, *, same_process: bool, now: float) -> list[AssignmentId]:
        """Agree with the node on its sessions; those that are void.

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
        # Newest first: one that has ended, and waits for answers only, must not keep its slot from another.
        for key, held in reversed(report.sessions.items()):
            runs = report.runs.get(key, {})
            if key in believed:
                self._agree(*believed[key], runs)
            elif not self._adopt(node, held, runs, now):
                void.append(key)
        for key, (work, session) in believed.items():
            if key not in report.sessions:
                self._losses.node_lost(work, session, charged=not same_process)
        return void

    def _agree(self, work: Work, session: Session, runs: dict[AssignmentId, m.HeldRun]) -> None:
        """What the node does not hold was lost on the way; the rest will be said again."""
        if not session.opened:
            session.listing.clear()
        for assignment in list(session.assignments.values()):
            # The piece of a suspect's session is held under the session's own id until it has opened.
            if assignment.id in runs:
                assignment.left = _left(work, assignment.piece)
                assignment.asked = False
            elif assignment.id != session.id:
                self._desk.drop(work, session, assignment.id, "was lost on the way")
                self._losses.requeue(work, assignment)

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
        # An audit is made anew; the piece of a suspect's session that has not opened was never sent.
        if open_.purpose == "audit" or (open_.purpose == "alone" and not held.opened):
            return False
        work = self._lifecycle.adopted(evaluation, project, now)
        work.mode = work.mode or open_.mode
        alone = open_.purpose == "alone"
        session = Session(
            open_.session, node, open_.slot, open_.evaluation, open_.project, open_.mode, open_.purpose
        )
        session.opened, session.closing = alone, held.closing
        if (node, open_.slot) in self._desk.taken:
            return False
        self._desk.open(work, session)
        for key, run in runs.items():
            piece = Piece(run.run.module, run.run.select, alone=alone)
            assignment = Assignment(key, piece, next=run.answered, left=_left(work, piece))
            self._desk.give(work, session, assignment)
        return True


def _left(work: Work, piece: Piece) -> int | None:
    """Tests of a piece without an outcome; those that have one are not said again. None: not yet known."""
    if not piece.select:
        return None
    modules = [work.project.module(piece.module)] if piece.module else work.project.modules.values()
    select = set(piece.select)
    seen = sum(module.tests[test].seen for module in modules for test in select & module.tests.keys())
    return len(select) - seen
