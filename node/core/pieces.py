"""Pieces of a project that wait for a session, in the order in which they are dealt."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from node.core.settings import SELECT_MOST
from proto.messages import AssignmentId, TestId

LONG = 0.25
"""A module that takes more than this share of what one slot has to do is long, and goes first."""


@dataclass(frozen=True)
class Piece:
    """A module, or some of its tests, for one session. An empty module means: wherever they are."""

    module: str
    select: tuple[TestId, ...] = ()
    alone: bool = False
    """In a fresh session of its own: it is suspected of killing its runner."""
    owner: AssignmentId | None = None
    """The session that these tests were taken from, as long as they run elsewhere."""
    bound: bool = False
    """Only the owner knows these tests, or must run them (an ``xdist_group``)."""
    group: str = ""
    """Its ``xdist_group``: such a piece is neither stolen nor cut."""

    def cut(self) -> Iterator[Piece]:
        """Itself in pieces that one ``Run`` may name."""
        if len(self.select) <= SELECT_MOST:
            yield self
            return
        for start in range(0, len(self.select), SELECT_MOST):
            part = self.select[start : start + SELECT_MOST]
            yield Piece(self.module, part, self.alone, self.owner, self.bound, self.group)


class Pieces:
    """A queue that never looks through itself: who wants a piece has it, or learns there is none, at once."""

    def __init__(self) -> None:
        self._free: deque[Piece] = deque()
        self._alone: deque[Piece] = deque()
        self._bound: dict[AssignmentId, deque[Piece]] = {}

    def __len__(self) -> int:
        return len(self._free) + len(self._alone) + sum(map(len, self._bound.values()))

    def __iter__(self) -> Iterator[Piece]:
        yield from self._alone
        for waiting in self._bound.values():
            yield from waiting
        yield from self._free

    @property
    def free(self) -> int:
        """Pieces that any main session may take."""
        return len(self._free)

    @property
    def alone(self) -> int:
        """Pieces that want a session of their own."""
        return len(self._alone)

    def append(self, piece: Piece) -> None:
        """Behind everything that waits."""
        for part in piece.cut():
            self._line(part).append(part)

    def extend(self, pieces: Iterable[Piece]) -> None:
        """Behind everything that waits, in their order."""
        for piece in pieces:
            self.append(piece)

    def requeue(self, piece: Piece) -> None:
        """Before everything that was not dealt yet; suspects go first of all."""
        for part in reversed(list(piece.cut())):
            self._line(part).appendleft(part)

    def take(self, session: AssignmentId) -> Piece | None:
        """The next piece for a main session: first what only it can run."""
        waiting = self._bound.get(session)
        if waiting:
            piece = waiting.popleft()
            if not waiting:
                del self._bound[session]
            return piece
        return self._free.popleft() if self._free else None

    def take_alone(self) -> Piece:
        """The next suspect.

        Raises:
            IndexError: there is none.
        """
        return self._alone.popleft()

    def waits_for(self, session: AssignmentId) -> bool:
        """Whether a piece waits that only this session can run."""
        return session in self._bound

    def release(self, session: AssignmentId) -> tuple[Piece, ...]:
        """The pieces that waited for a session which is gone; they are no longer in the queue."""
        return tuple(self._bound.pop(session, ()))

    def without(self, module: str, tests: Collection[TestId]) -> None:
        """A session has these tests of a module already; without any tests: the module."""
        for piece in list(self):
            rest = tuple(test for test in piece.select if test not in tests)
            if tests and rest == piece.select:
                continue
            if not tests and (piece.module != module or piece.select):
                continue
            line = self._line(piece)
            place = line.index(piece)
            if rest:
                line[place] = replace(piece, select=rest)
                continue
            del line[place]
            if piece.bound and piece.owner is not None and not line:
                del self._bound[piece.owner]

    def clear(self) -> None:
        """Nothing waits any more."""
        self._free.clear()
        self._alone.clear()
        self._bound.clear()

    def arrange(self, seconds: Mapping[str, float], slots: int, *, all_of_them: bool) -> None:
        """Order the free pieces by the time their modules took before.

        Long modules come first, the longest before the others: dealt late, one of them would run
        on while all other slots are idle. The short ones keep pytest's order, in which modules that
        share fixtures stand together; with ``all_of_them`` everything is ordered. A module that
        has no history is taken as an average one.
        """
        if not seconds or not self._free:
            return
        mean = sum(seconds.values()) / len(seconds)
        expected = [seconds.get(piece.module, mean) for piece in self._free]
        least = 0.0 if all_of_them else LONG * sum(expected) / max(1, slots)
        order = sorted(zip(expected, self._free, strict=True), key=lambda pair: -max(pair[0], least))
        self._free = deque(piece for _, piece in order)

    def _line(self, piece: Piece) -> deque[Piece]:
        if piece.alone:
            return self._alone
        if piece.bound and piece.owner is not None:
            return self._bound.setdefault(piece.owner, deque())
        return self._free
