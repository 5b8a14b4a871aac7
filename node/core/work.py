"""What is in hand for one project: pieces that wait, sessions, assignments. Never logged.

A new master makes it anew from the ledger and from what the workers report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from node.core.evaluation import Evaluation, Project
from node.core.pieces import Piece, Pieces
from proto.messages import AssignmentId, TestId

STORY_LINES = 200
"""Lines of a project's story that are kept."""


@dataclass(eq=False)
class Assignment:
    """A piece given to a session."""

    id: AssignmentId
    piece: Piece
    next: int = 0
    """The number the next verdict has."""
    superseded: set[int] = field(default_factory=set)
    """Numbers of verdicts that came too late: sent again, they are answered as before."""
    left: int | None = None
    """Tests without a verdict; None until the module was collected."""
    running: TestId | None = None
    collected: bool = False
    """The session has said which of the tests it knows."""
    ran: int = 0
    seconds: float = 0.0
    """Of the ``ran`` tests that have a verdict."""
    asked: bool = False
    """Its session was asked to give it, or its tail, back, and has not answered."""
    refused: float | None = None
    """Expected seconds when its session would not give its tail; asked again when they have doubled."""

    @property
    def begun(self) -> bool:
        """Whether a test of it has started."""
        return self.running is not None or self.ran > 0

    @property
    def expected(self) -> float | None:
        """Seconds that the tests left will take, from those that ran; None while none has."""
        if self.left is None or not self.ran:
            return None
        return self.left * self.seconds / self.ran


@dataclass(eq=False)
class Session:
    """One pytest session on one slot of one node."""

    id: AssignmentId
    node: str
    slot: int
    evaluation: int
    project: int
    mode: Literal["lazy", "whole"]
    purpose: Literal["main", "alone", "audit"]
    opened: bool = False
    closing: bool = False
    assignments: dict[AssignmentId, Assignment] = field(default_factory=dict)
    listing: dict[str, list[TestId]] = field(default_factory=dict)


@dataclass(eq=False)
class Work:
    """The scheduling state of one project that is being run.

    Sessions and assignments come and go through ``Desk`` only, which knows where each is.
    """

    evaluation: Evaluation
    project: Project
    mode: Literal["lazy", "whole"] | None = None
    held: bool = False
    """A new reign: nothing of it is dealt before every member has reported what it runs."""
    queue: Pieces = field(default_factory=Pieces)
    sessions: dict[AssignmentId, Session] = field(default_factory=dict)
    start_failures: int = 0
    audit_tries: int = 0
    audit_deadline: float | None = None
    audited: bool = False
    gave_up: str = ""
    """Why the plan was not audited or failures were not confirmed, if so."""
    began: float = 0.0
    refilled: bool = False
    """What had no outcome when all was done was queued once more."""
    split: bool = False
    groups: dict[str, AssignmentId] = field(default_factory=dict)
    """xdist_group -> the session that runs it."""
    collectors: dict[str, AssignmentId] = field(default_factory=dict)
    """Module -> the session that collected it first: its ids are those of the plan."""
    cut: set[str] = field(default_factory=set)
    """Modules that were given in parts."""
    strangers: dict[str, int] = field(default_factory=dict)
    """Module -> sessions that were given it and did not know it."""
    expected: dict[str, float] = field(default_factory=dict)
    """Module -> seconds its tests took the last time."""
    notes: list[str] = field(default_factory=list)
    story: deque[str] = field(default_factory=lambda: deque(maxlen=STORY_LINES))
    """What happened to sessions and assignments, for error messages."""

    @property
    def key(self) -> tuple[int, int]:
        """(evaluation, project)."""
        return self.evaluation.id, self.project.index

    def of(self, purpose: str) -> list[Session]:
        """The sessions opened for a purpose."""
        return [session for session in self.sessions.values() if session.purpose == purpose]

    @property
    def pieces_left(self) -> bool:
        """Whether any piece waits or is assigned outside the audit."""
        return bool(self.queue) or any(
            session.assignments or session.purpose == "alone"
            for session in self.sessions.values()
            if session.purpose != "audit"
        )

    def placed(self, test: TestId) -> bool:
        """Whether a piece that waits or is in hand names this test."""
        return test in self.named()[1]

    def named(self) -> tuple[set[str], set[TestId]]:
        """Modules that wait or are in hand as a whole, and tests that are named."""
        pieces = [*self.queue, *self._in_hand()]
        whole = {piece.module for piece in pieces if not piece.select}
        return whole, {test for piece in pieces for test in piece.select}

    def refill(self) -> None:
        """Queue what has no outcome, does not wait and is not in hand: the plan as the ledger has it."""
        if not self.project.listed:
            return
        whole, selected = self.named()
        for module in self.project.modules.values():
            if module.name in whole:
                continue
            if not module.planned:
                self.queue.append(Piece(module.name))
                continue
            missing = tuple(test for test in module.missing() if test not in selected)
            if missing:
                self.queue.append(Piece(module.name, missing))

    def _in_hand(self) -> Iterator[Piece]:
        return (one.piece for session in self.sessions.values() for one in session.assignments.values())
