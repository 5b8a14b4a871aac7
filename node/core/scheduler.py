"""Which project gets which slot, and which session the next piece.

Modules are dealt in turn to the open sessions, each holding one that runs and, while the queue is
long, one more. A session whose project has nothing left is closed at once: its last test waits for
"next" or "close".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from node.core import effects as fx
from node.core.membership import Roster, Slot
from node.core.work import Assignment, Piece, Session, Work
from proto import messages as m
from proto.messages import AssignmentId


class Scheduler:
    """Deals work to slots.

    Args:
        number: gives the next assignment id.
    """

    def __init__(self, roster: Roster, number: Callable[[], AssignmentId]) -> None:
        self._roster = roster
        self._number = number

    def schedule(self, works: Iterable[Work], holding: Iterable[Work]) -> list[fx.AnyEffect]:
        """Open, feed and close sessions of ``works`` until nothing more can be done now.

        Args:
            holding: all that have sessions, those that nothing may be dealt to among them.
        """
        active = [work for work in works if not work.project.state]
        taken = {(session.node, session.slot) for work in holding for session in work.sessions.values()}
        effects = list(self._open(active, taken))
        for work in active:
            effects += self._feed(work)
        return effects

    def _open(self, works: list[Work], taken: set[tuple[str, int]]) -> Iterator[fx.AnyEffect]:
        free = [slot for slot in self._roster.slots() if (slot.node, slot.index) not in taken]
        waiting = [work for work in works if self._wants(work)]
        while free and waiting:
            # One session each in turn, so that no project takes every slot while others wait.
            crowded = len(waiting) > 1 and len(waiting) >= len(free) + sum(len(w.sessions) for w in waiting)
            for work in list(waiting):
                if not free:
                    break
                yield from self._open_one(work, free.pop(0), crowded)
                if not self._wants(work):
                    waiting.remove(work)

    def _wants(self, work: Work) -> str:
        """The purpose of the session this project needs next, or nothing."""
        options = work.evaluation.options
        if options.slots and len(work.sessions) >= options.slots:
            return ""
        if any(piece.alone for piece in work.queue):
            return "alone"
        main = work.of("main")
        if not work.project.listed:
            single = work.mode == "whole" or options.slots == 1 or options.collection == "whole"
            return "" if main and (single or work.start_failures) else "main"
        pieces = sum(not piece.alone for piece in work.queue)
        feeding = sum(not session.closing for session in main)
        if pieces and feeding < (1 if work.mode == "whole" else pieces):
            return "main"
        return "audit" if self.audit_due(work) else ""

    def audit_due(self, work: Work) -> bool:
        """Whether a whole collection is needed and not under way."""
        if not work.split or work.gave_up or work.of("audit") or work.queue:
            return False
        modules = work.project.modules.values()
        if any(module.unconfirmed_count for module in modules) or not work.audited:
            return True
        return not work.pieces_left and any(module.missing_count for module in modules)

    def _open_one(self, work: Work, slot: Slot, crowded: bool) -> Iterator[fx.AnyEffect]:
        purpose = self._wants(work)
        options = work.evaluation.options
        if work.mode is None:
            single = crowded or options.slots == 1 or len(self._roster.slots()) == 1
            whole = options.collection == "whole" or (options.collection == "auto" and single)
            work.mode = "whole" if whole else "lazy"
        mode = "whole" if purpose == "audit" else work.mode
        session = Session(self._number(), slot.node, slot.index, *work.key, mode, "main")
        if purpose == "alone":
            piece = next(piece for piece in work.queue if piece.alone)
            work.queue.remove(piece)
            session.purpose = "alone"
            session.assignments[session.id] = Assignment(session.id, piece)
        elif purpose == "audit":
            session.purpose = "audit"
        work.sessions[session.id] = session
        project = work.project
        yield fx.Send(
            node=slot.node,
            message=m.OpenSession(
                session=session.id,
                slot=slot.index,
                evaluation=work.evaluation.id,
                project=project.index,
                name=project.source.name,
                package=project.package,
                size=project.size,
                mode=mode,
                options=options,
                purpose=session.purpose,
            ),
        )

    def _feed(self, work: Work) -> Iterator[fx.AnyEffect]:
        mains = [session for session in work.of("main") if session.opened and not session.closing]
        for session in mains:
            while self._hungry(work, session, len(mains)):
                piece = self._next_piece(work)
                if piece is None:
                    break
                yield self.give(session, piece)
            if self._hungry(work, session, len(mains)):
                session.closing = True
                yield fx.Send(node=session.node, message=m.CloseSession(session=session.id))

    def _hungry(self, work: Work, session: Session, sessions: int) -> bool:
        """Whether the session has, or is about to have, nothing left to run."""
        if not session.assignments:
            return True
        if len(session.assignments) > 1:
            return False
        if len(work.queue) >= sessions:
            return True
        (assignment,) = session.assignments.values()
        return assignment.left is not None and assignment.left <= 1

    def _next_piece(self, work: Work) -> Piece | None:
        for piece in work.queue:
            if not piece.alone:
                work.queue.remove(piece)
                return piece
        return None

    def give(self, session: Session, piece: Piece) -> fx.AnyEffect:
        """Assign a piece to an open session."""
        assignment = Assignment(self._number(), piece, left=len(piece.select) or None)
        session.assignments[assignment.id] = assignment
        return fx.Send(
            node=session.node,
            message=m.Run(
                assignment=assignment.id, session=session.id, module=piece.module, select=piece.select
            ),
        )
