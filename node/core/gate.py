"""The one ordering rule of a reign: what tells the outside of a record waits until it is committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from node.core import answers
from node.core import effects as fx
from node.core import records as rec
from node.core.evaluation import Ledger

Log = Callable[[tuple[rec.AnyRecord, ...]], int | None]


class Gate:
    """New records on their way into the log, and the effects that wait for them.

    Args:
        log: puts records into the replicated log; the position of the last, or None if this node may
            not append any more (it is about to step down).
    """

    def __init__(self, ledger: Ledger, log: Log) -> None:
        self._ledger = ledger
        self._log = log
        self._records: list[rec.AnyRecord] = []
        self._waiting: list[fx.AnyEffect] = []
        self._gated: deque[tuple[int, list[fx.AnyEffect]]] = deque()
        self.sealed = False
        """The log takes no more of this reign, and the ledger is ahead of it for good: nothing may be
        told or dealt; ``abandoned`` answers those who wait."""

    def record(self, record: rec.AnyRecord) -> None:
        """A fact: part of the ledger now, of the log soon."""
        self._ledger.apply(record)
        self._records.append(record)

    def later(self, effect: fx.AnyEffect) -> None:
        """Do this when everything recorded so far is committed."""
        self._waiting.append(effect)

    def flush(self) -> list[fx.AnyEffect]:
        """Hand the new records to the log; what waits for nothing may be done now."""
        if self.sealed:
            return []
        if self._records:
            records, self._records = self._records, []
            position = self._log(tuple(part for record in records for part in rec.parts(record)))
            if position is None:
                self.sealed = True
                return []
            self._gated.append((position, self._waiting))
        elif self._gated:
            self._gated[-1][1].extend(self._waiting)
        else:
            waiting, self._waiting = self._waiting, []
            return waiting
        self._waiting = []
        return []

    def committed(self, position: int) -> list[fx.AnyEffect]:
        """Everything up to ``position`` is committed: what waited for it may go out."""
        effects: list[fx.AnyEffect] = []
        while self._gated and self._gated[0][0] <= position:
            effects += self._gated.popleft()[1]
        return effects

    def abandoned(self) -> list[fx.AnyEffect]:
        """The reign is over: nobody knows what becomes of what was not committed; askers try again."""
        waiting = [*self._waiting, *(effect for _, effects in self._gated for effect in effects)]
        return [answers.unsettled(effect.ticket) for effect in waiting if isinstance(effect, fx.Answer)]
