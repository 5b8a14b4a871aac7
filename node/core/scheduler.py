"""Which project gets which slot, and which session the next piece.

Modules are dealt in turn to the open sessions, each holding one that runs and, while the queue is
long, one more. A session whose project has nothing left to deal asks others for some of theirs; if
there is nothing to be had, it is closed at once: its last test waits for "next" or "close".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from node.core import effects as fx
from node.core.desk import Desk
from node.core.membership import Roster, Slot
from node.core.pieces import Piece
from node.core.stealing import Stealing
from node.core.work import Assignment, Session, Work
from proto import messages as m
from proto.messages import AssignmentId


class Scheduler:
    """Deals work to slots.

    Args:
        number: gives the next assignment id.
    """

    def __init__(
        self, roster: Roster, desk: Desk, stealing: Stealing, number: Callable[[], AssignmentId]
    ) -> None:
        self._roster = roster
        self._desk = desk
        self._stealing = stealing
        self._number = number
        self._slots: list[Slot] = []
        self._accepting: set[str] = set()
        self._full_at = -1
        """The desk's count of moves when no slot was free."""

    def refresh(self) -> None:
        """Take the roster's slots anew: a node has joined, left or begun to drain."""
        self._slots = self._roster.slots()
        self._accepting = {slot.node for slot in self._slots}
        self._full_at = -1

    def schedule(self, works: list[Work], touched: Iterable[Work]) -> list[fx.AnyEffect]:
        """Open sessions of all ``works``, feed and close those of the ``touched`` ones."""
        effects = list(self._open(works))
        for work in touched:
            effects += self._feed(work, works)
        return effects

    def arrange(self, work: Work) -> None:
        """Order what waits as the submission's strategy says."""
        options = work.evaluation.options
        if options.strategy in ("auto", "longest-first"):
            slots = len(self._slots)
            slots = min(slots, options.slots) if options.slots else slots
            work.queue.arrange(work.expected, slots, all_of_them=options.strategy == "longest-first")

    def audit_due(self, work: Work) -> bool:
        """Whether a whole collection is needed and not under way."""
        if not work.split or work.gave_up or work.queue or work.of("audit"):
            return False
        counts = work.project.counts
        return bool(counts.unconfirmed) or not work.audited or (bool(counts.missing) and not work.pieces_left)

    def give(self, work: Work, session: Session, piece: Piece) -> fx.AnyEffect:
        """Assign a piece to an open session."""
        assignment = Assignment(self._number(), piece, left=len(piece.select) or None)
        self._desk.give(work, session, assignment)
        if piece.group:
            work.groups[piece.group] = session.id
        return fx.Send(
            node=session.node,
            message=m.Run(
                assignment=assignment.id, session=session.id, module=piece.module, select=piece.select
            ),
        )

    # --- opening ------------------------------------------------------------------------------

    def _open(self, works: list[Work]) -> Iterator[fx.AnyEffect]:
        if self._full_at == self._desk.moves:
            return
        taken = self._desk.taken
        free = [slot for slot in self._slots if (slot.node, slot.index) not in taken]
        if not free:
            self._full_at = self._desk.moves
            return
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
        if work.queue.alone:
            return "alone"
        main = work.of("main")
        if not work.project.listed:
            single = work.mode == "whole" or options.slots == 1 or options.collection == "whole"
            return "" if main and (single or work.start_failures) else "main"
        feeding = sum(not session.closing for session in main)
        if work.queue.free and feeding < (1 if work.mode == "whole" else work.queue.free):
            return "main"
        if self._stealing.worth_a_session(work):
            return "main"
        return "audit" if self.audit_due(work) else ""

    def _open_one(self, work: Work, slot: Slot, crowded: bool) -> Iterator[fx.AnyEffect]:
        purpose = self._wants(work)
        options = work.evaluation.options
        if work.mode is None:
            single = crowded or options.slots == 1 or len(self._slots) == 1
            whole = options.collection == "whole" or (options.collection == "auto" and single)
            work.mode = "whole" if whole else "lazy"
        mode = "whole" if purpose == "audit" else work.mode
        session = Session(self._number(), slot.node, slot.index, *work.key, mode, "main")
        if purpose == "alone":
            session.purpose = "alone"
        elif purpose == "audit":
            session.purpose = "audit"
        self._desk.open(work, session)
        if purpose == "alone":
            # The piece is held for this session; until it has opened, under the session's own id.
            self._desk.give(work, session, Assignment(session.id, work.queue.take_alone()))
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

    # --- feeding ------------------------------------------------------------------------------

    def _feed(self, work: Work, works: list[Work]) -> Iterator[fx.AnyEffect]:
        mains = [session for session in work.of("main") if not session.closing]
        opened = [session for session in mains if session.opened and session.node in self._accepting]
        # Those with nothing at all first: the others still have their last test to run.
        for session in sorted(filter(_dry, opened), key=lambda one: len(one.assignments)):
            yield from self._give_next(work, session)
        for session in opened:
            if len(session.assignments) == 1 and (
                work.queue.free >= len(mains) or work.queue.waits_for(session.id)
            ):
                yield from self._give_next(work, session)
        for session in mains:
            # Its node takes no more work: it drains, or was the master's while it was alone.
            if session.opened and session.node not in self._accepting and self._roster.hears(session.node):
                yield self._close(work, session)
        idle = [session for session in opened if _dry(session) and not work.queue.waits_for(session.id)]
        if idle:
            yield from self._idle(work, works, idle)

    def _give_next(self, work: Work, session: Session) -> Iterator[fx.AnyEffect]:
        piece = work.queue.take(session.id)
        if piece is not None:
            yield self.give(work, session, piece)

    def _idle(self, work: Work, works: list[Work], idle: list[Session]) -> Iterator[fx.AnyEffect]:
        """Let idle sessions wait for what was asked back, if anything was, or end."""
        others = any(self._wants(other) for other in works if other is not work)
        if not others:
            yield from self._stealing.ask(work, len(idle), any(not one.assignments for one in idle))
        asked = self._stealing.asked(work)
        spare = len(idle) - asked
        if asked and not others:
            # All may wait: what one is given the next one can halve. But the audit needs one slot.
            ending = any(session.closing for session in work.sessions.values())
            spare = min(spare, int(self.audit_due(work) and not ending))
        # Those that hold nothing go first: the others' last test is still to come.
        for session in sorted(idle, key=lambda one: len(one.assignments)):
            if spare > 0 and not _lends(work, session):
                spare -= 1
                yield self._close(work, session)

    def _close(self, work: Work, session: Session) -> fx.AnyEffect:
        session.closing = True
        work.story.append(f"{session.id} is closed")
        return fx.Send(node=session.node, message=m.CloseSession(session=session.id))


def _dry(session: Session) -> bool:
    """Whether the session has, or is about to have, nothing left to run."""
    if len(session.assignments) > 1:
        return False
    return all(a.left is not None and a.left <= 1 for a in session.assignments.values())


def _lends(work: Work, session: Session) -> bool:
    """Whether tests of this session are with another one that may not know them."""
    return any(
        assignment.piece.owner == session.id and not assignment.collected
        for other in work.sessions.values()
        if other is not session
        for assignment in other.assignments.values()
    )
