"""Work for sessions that have nothing left: what other sessions of their project hold.

First whole modules that wait behind another one in their session, then the tail of a module that
runs. The runner of that module decides whether its tail is worth giving, since it alone knows what
the module's fixtures and its import took (``inject/_testring_session.py``, ``share``); what it gives
comes back as ``HandedBack`` and waits in the queue, where an idle session finds it.
"""

from __future__ import annotations

from collections.abc import Iterator

from node.core import effects as fx
from node.core.settings import CoreSettings
from node.core.work import Assignment, Session, Work
from proto import messages as m


class Stealing:
    """Chooses what to ask back for a project's idle sessions."""

    def __init__(self, settings: CoreSettings) -> None:
        self._settings = settings

    def ask(self, work: Work, idle: int, empty: bool) -> Iterator[fx.AnyEffect]:
        """Ask so many sessions to give something back as there are idle ones; each holds one request.

        ``empty``: one of the idle holds nothing, not even a last test.
        """
        for _ in range(idle - self.asked(work)):
            found = self._next(work, empty)
            if found is None:
                return
            session, assignment, tail = found
            assignment.asked = True
            work.story.append(f"{assignment.id} is asked back{' in part' if tail else ''}")
            yield fx.Send(node=session.node, message=m.Withdraw(assignment=assignment.id, tail=tail))

    def asked(self, work: Work) -> int:
        """Requests that are not answered yet."""
        return sum(a.asked for session in work.sessions.values() for a in session.assignments.values())

    def worth_a_session(self, work: Work) -> bool:
        """Whether a free slot should open a session only to steal: starting one takes a second or so."""
        if not _may(work) or work.queue:
            return False
        mains = [session for session in work.of("main") if not session.closing]
        idle = sum(not session.assignments for session in mains)
        worth = 0
        for session in mains:
            for assignment in session.assignments.values():
                expected = assignment.expected or 0.0
                long = expected >= self._settings.steal_open and _may_be_cut(assignment)
                worth += long and not assignment.asked and not _refuses(assignment)
        return worth > idle

    def _next(self, work: Work, empty: bool) -> tuple[Session, Assignment, bool] | None:
        """What to ask for next, and whether only its tail; None if there is nothing."""
        if not _may(work):
            return None
        best: tuple[float, Session, Assignment] | None = None
        for session in work.of("main"):
            ahead = next(iter(session.assignments.values()), None)
            # Two sessions with one last test each would pass a module to and fro.
            soon = ahead is not None and ahead.left is not None and ahead.left <= 1 and not empty
            for place, assignment in enumerate(session.assignments.values()):
                if assignment.asked or not _may_be_cut(assignment):
                    continue
                if place > 0 and not assignment.begun and assignment.refused is None:
                    if soon:
                        continue
                    return session, assignment, False
                if place > 0 or _refuses(assignment) or (assignment.left is not None and assignment.left < 2):
                    continue
                expected = assignment.expected
                value = self._settings.steal_least if expected is None else expected
                if value >= self._settings.steal_least and (best is None or value > best[0]):
                    best = (value, session, assignment)
        return None if best is None else (best[1], best[2], True)


def _may(work: Work) -> bool:
    return work.split and work.evaluation.options.strategy != "in-order"


def _may_be_cut(assignment: Assignment) -> bool:
    piece = assignment.piece
    return bool(piece.module) and not (piece.group or piece.bound or piece.alone)


def _refuses(assignment: Assignment) -> bool:
    """It said no, and what is left of it has not turned out to be twice as long since."""
    if assignment.refused is None:
        return False
    return (assignment.expected or 0.0) < 2 * assignment.refused
