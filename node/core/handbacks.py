"""Tests that a live session will not run: withdrawn, given to an idle session, or unknown to it."""

from __future__ import annotations

from dataclasses import replace

from node.core.desk import Desk
from node.core.losses import Losses
from node.core.pieces import Piece
from node.core.settings import CoreSettings
from node.core.work import Assignment, Session, Work
from proto import messages as m
from proto.messages import AssignmentId, TestId

MOST_STRANGERS = 2
"""Sessions that may say they do not know a module before it is left to the whole collection."""


class Handbacks:
    """They wait again, or go back to who knows them."""

    def __init__(self, settings: CoreSettings, desk: Desk, losses: Losses) -> None:
        self._settings = settings
        self._desk = desk
        self._losses = losses

    def take(self, work: Work, session: Session, message: m.HandedBack) -> None:
        """Tests, or an assignment, that a session hands back."""
        assignment = session.assignments.get(message.assignment)
        if assignment is None:
            return
        self._desk.touch(work)
        if message.why == "unbegun":
            self._desk.drop(work, session, assignment.id, "is handed back")
            self._losses.requeue(work, assignment)
        elif message.why == "unknown":
            self._unknown(work, session, assignment, message.tests)
        else:
            self._answered(work, session, assignment, message.tests)

    def _answered(
        self, work: Work, session: Session, assignment: Assignment, named: tuple[TestId, ...]
    ) -> None:
        """A request to give something back was answered; the assignment goes on with the rest."""
        tests = self._take_out(work, session, assignment, named)
        assignment.asked = False
        if tests:
            work.story.append(f"{assignment.id} gives {len(tests)} tests of {assignment.piece.module}")
            work.queue.requeue(Piece(assignment.piece.module, tests, owner=session.id))
        else:
            work.story.append(f"{assignment.id} keeps its tests")
            assignment.refused = assignment.expected or self._settings.steal_least

    def _unknown(
        self, work: Work, session: Session, assignment: Assignment, named: tuple[TestId, ...]
    ) -> None:
        """Ids that this session has not: their owner runs them, else the whole collection decides."""
        piece = assignment.piece
        if session.purpose == "audit":
            return
        if not named and not piece.select:
            work.strangers[piece.module] = work.strangers.get(piece.module, 0) + 1
            if work.strangers[piece.module] <= MOST_STRANGERS:
                self._losses.requeue(work, assignment)
            return
        tests = self._take_out(work, session, assignment, named or piece.select)
        owner = self._owner(work, piece, session)
        work.story.append(f"{session.id} does not know {len(tests)} tests of {piece.module}")
        if tests and owner is not None:
            work.queue.requeue(Piece(piece.module, tests, owner=owner, bound=True))

    def _take_out(
        self, work: Work, session: Session, assignment: Assignment, named: tuple[TestId, ...]
    ) -> tuple[TestId, ...]:
        """Those of ``named`` that are of this assignment and have no outcome: runners are not trusted."""
        piece = assignment.piece
        known = work.project.module(piece.module).tests
        mine = set(piece.select) if piece.select else known.keys()
        states = [(test, known.get(test)) for test in dict.fromkeys(named) if test in mine]
        tests = tuple(t for t, s in states if s is None or (s.verdict is None and s.provisional is None))
        if assignment.left is not None:
            assignment.left -= len(tests)
        # Said again to a new master, they may be with others already.
        elsewhere = self._losses.held_elsewhere(work, assignment)
        if piece.select and tests:
            gone = set(tests)
            rest = tuple(test for test in piece.select if test not in gone)
            assignment.piece = replace(piece, select=rest)
            if not rest:  # an empty selection would mean the whole module
                self._desk.drop(work, session, assignment.id, "has nothing left")
        return tuple(test for test in tests if test not in elsewhere)

    def _owner(self, work: Work, piece: Piece, session: Session) -> AssignmentId | None:
        for candidate in (piece.owner, work.collectors.get(piece.module)):
            found = self._desk.session(candidate)
            if found is not None and found is not session and found.purpose == "main" and not found.closing:
                return found.id
        return None
