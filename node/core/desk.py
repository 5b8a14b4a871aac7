"""All the work in hand, and where each session and assignment of it is found at once.

The one place where sessions and assignments come and go, so that its indexes are never stale. It
also knows which projects an event has changed: only those are looked at afterwards, so what an
event costs does not grow with the number of projects, modules or tests.
"""

from __future__ import annotations

from node.core.work import Assignment, Session, Work
from proto.messages import AnyMessage, AssignmentId


class Desk:
    """Works by (evaluation, project), their sessions by slot and id, assignments by id."""

    def __init__(self) -> None:
        self.works: dict[tuple[int, int], Work] = {}
        self.taken: dict[tuple[str, int], AssignmentId] = {}
        """(node, slot) -> its session."""
        self.moves = 0
        """Sessions that took a slot or left it so far."""
        self.touched: dict[tuple[int, int], Work] = {}
        """Changed since they were last looked at."""
        self.woken = True
        """Something changed that concerns every project: slots, an evaluation's state."""
        self._sessions: dict[AssignmentId, tuple[Work, Session]] = {}
        self._assignments: dict[AssignmentId, tuple[Work, Session]] = {}

    def touch(self, work: Work) -> None:
        """This project is to be looked at."""
        self.touched[work.key] = work

    def wake(self) -> None:
        """Everything is to be looked at."""
        self.woken = True

    def of(self, evaluation: int) -> list[Work]:
        """The works of one evaluation."""
        return [work for key, work in self.works.items() if key[0] == evaluation]

    # --- sessions and assignments -------------------------------------------------------------

    def open(self, work: Work, session: Session) -> None:
        """A session takes its slot."""
        work.sessions[session.id] = session
        self._sessions[session.id] = (work, session)
        self.taken[session.node, session.slot] = session.id
        self.moves += 1
        work.story.append(
            f"{session.id} opens on {session.node}/{session.slot}: {session.mode} {session.purpose}"
        )
        self.touch(work)

    def close(self, work: Work, session: Session, why: str) -> None:
        """A session is gone; its assignments are the caller's, and nobody finds them any more."""
        work.sessions.pop(session.id, None)
        self._sessions.pop(session.id, None)
        self.moves += 1
        for assignment in session.assignments:
            self._assignments.pop(assignment, None)
        if self.taken.get((session.node, session.slot)) == session.id:
            del self.taken[session.node, session.slot]
        work.story.append(f"{session.id} is gone: {why}; held {len(session.assignments)}")
        self.touch(work)

    def give(self, work: Work, session: Session, assignment: Assignment) -> None:
        """A session holds one more assignment."""
        session.assignments[assignment.id] = assignment
        self._assignments[assignment.id] = (work, session)
        piece = assignment.piece
        if piece.module and piece.select:
            work.cut.add(piece.module)
        tests = f" ({len(piece.select)} tests)" if piece.select else ""
        work.story.append(f"{session.id} is given {assignment.id}: {piece.module or 'a selection'}{tests}")
        self.touch(work)

    def drop(self, work: Work, session: Session, assignment: AssignmentId, why: str) -> Assignment | None:
        """A session holds an assignment no longer; None if it did not."""
        found = session.assignments.pop(assignment, None)
        if found is not None:
            del self._assignments[assignment]
            work.story.append(f"{assignment} {why}")
            self.touch(work)
        return found

    # --- finding ------------------------------------------------------------------------------

    def session(self, session: AssignmentId | None) -> Session | None:
        """The session of this id, if it is open."""
        found = self._sessions.get(session) if session is not None else None
        return found[1] if found is not None else None

    def find(self, message: AnyMessage) -> tuple[Work | None, Session | None]:
        """The work and the session that a message of a worker is about."""
        key = getattr(message, "session", None)
        if key is not None:
            return self._sessions.get(key, (None, None))
        return self._assignments.get(getattr(message, "assignment", None) or _NOBODY, (None, None))

    def holds(self, assignment: AssignmentId) -> bool:
        """Whether some session has this assignment."""
        return assignment in self._assignments

    # --- checking itself ----------------------------------------------------------------------

    def check(self) -> None:
        """Raise unless the indexes say what the works say.

        Raises:
            AssertionError: they differ.
        """
        sessions = {s.id: (w, s) for w in self.works.values() for s in w.sessions.values()}
        assignments = {a: pair for pair in sessions.values() for a in pair[1].assignments}
        assert self._sessions == sessions, "the index of sessions is stale"
        assert self._assignments == assignments, "the index of assignments is stale"
        taken = {(s.node, s.slot): s.id for _, s in sessions.values()}
        assert len(taken) == len(sessions), "two sessions share a slot"
        assert self.taken == taken, "the index of slots is stale"


_NOBODY = AssignmentId(0, "", 0)
