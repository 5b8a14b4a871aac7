"""What is in hand for one project: pieces that wait, sessions, assignments. Never logged.

After a restart it is made anew from the ledger; the workers' slots are empty then.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from node.core.evaluation import Evaluation, Project
from proto.messages import AssignmentId, TestId


@dataclass(frozen=True)
class Piece:
    """A module, or some of its tests, for one session. An empty module means: wherever they are."""

    module: str
    select: tuple[TestId, ...] = ()
    alone: bool = False
    """In a fresh session of its own: it is suspected of killing its runner."""


@dataclass
class Assignment:
    """A piece given to a session."""

    id: AssignmentId
    piece: Piece
    next: int = 0
    """The number the next verdict has."""
    left: int | None = None
    """Tests without a verdict; None until the module was collected."""
    running: TestId | None = None


@dataclass
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


@dataclass
class Work:
    """The scheduling state of one project that is being run."""

    evaluation: Evaluation
    project: Project
    mode: Literal["lazy", "whole"] | None = None
    queue: deque[Piece] = field(default_factory=deque)
    sessions: dict[AssignmentId, Session] = field(default_factory=dict)
    start_failures: int = 0
    audit_tries: int = 0
    audit_deadline: float | None = None
    audited: bool = False
    gave_up: str = ""
    """Why the plan was not audited or failures were not confirmed, if so."""
    began: float = 0.0
    split: bool = False
    groups: dict[str, AssignmentId] = field(default_factory=dict)
    """xdist_group -> the session that runs it."""
    notes: list[str] = field(default_factory=list)

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

    def requeue(self, piece: Piece) -> None:
        """Put a piece back, before what was not dealt yet; suspects go first of all."""
        self.queue.appendleft(piece)

    def placed(self, test: TestId) -> bool:
        """Whether a piece that waits or is in hand names this test."""
        pieces = [one.piece for session in self.sessions.values() for one in session.assignments.values()]
        return any(test in piece.select for piece in (*self.queue, *pieces))

    def refill(self) -> None:
        """Queue what has no outcome and is not in hand: the plan as the ledger has it."""
        self.queue.clear()
        if not self.project.listed:
            return
        pieces = [one.piece for session in self.sessions.values() for one in session.assignments.values()]
        whole = {piece.module for piece in pieces if not piece.select}
        selected = {test for piece in pieces for test in piece.select}
        for module in self.project.modules.values():
            if module.name in whole:
                continue
            if not module.planned:
                self.queue.append(Piece(module.name))
                continue
            missing = tuple(test for test in module.missing() if test not in selected)
            if missing:
                self.queue.append(Piece(module.name, missing))
