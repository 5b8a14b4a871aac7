"""The master's side of a merge: what a returning node had committed alone becomes part of the log.

An evaluation that is known to both is taken whole from the side that ended it in the lower epoch, else
the master's own goes on; the other history is kept beside it. One that only the other side knows is
taken as it is. So every id that was given out lives on, and no test ever has two verdicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core.desk import Desk
from node.core.evaluation import Ledger
from node.core.holders import Holders
from node.core.lifecycle import Lifecycle
from proto import messages as m
from proto.messages import AnyMessage
from proto.voting import NO_EPOCH, Epoch, History, OfferHistory, WantHistory

HISTORY = OfferHistory | History
Key = tuple[str, str, int]
"""(node, history, evaluation)"""


@dataclass
class Incoming:
    """One node's offer that is being taken in."""

    offer: OfferHistory
    stands: Literal["present", "returned"] | None = None
    """Which side it is taken from; None until the tables were asked."""
    next: int = 0
    """The part that is waited for."""
    waits: bool = False
    """For packages: the records that name them follow the bytes."""


class Merging:
    """One offer of each node at a time; the parts of one travel one by one, each once the one before is
    committed.

    Args:
        epoch: of this reign.
        record: makes a record part of the state and of the log.
        tell: sends a message once everything recorded so far is committed.
    """

    def __init__(
        self,
        epoch: Epoch,
        ledger: Ledger,
        desk: Desk,
        lifecycle: Lifecycle,
        holders: Holders,
        record: Callable[[rec.AnyRecord], None],
        tell: Callable[[str, AnyMessage], None],
    ) -> None:
        self._epoch = epoch
        self._ledger = ledger
        self._desk = desk
        self._lifecycle = lifecycle
        self._holders = holders
        self._record = record
        self._tell = tell
        self._incoming: dict[str, Incoming] = {}
        self._settled: set[Key] = set()
        """In this reign: the tables may not say so yet."""

    def receive(self, node: str, message: OfferHistory | History) -> list[fx.AnyEffect]:
        """A returning node offers an evaluation, or sends a part of it."""
        if isinstance(message, OfferHistory):
            self._incoming[node] = Incoming(message)
            return [fx.Compare(node=node, offer=message)]
        incoming = self._incoming.get(node)
        if incoming is None or incoming.stands is None or incoming.waits:
            return []
        offer = incoming.offer
        if (message.history, message.evaluation, message.part) != (
            offer.history,
            offer.evaluation,
            incoming.next,
        ):
            return []
        problem = _problem(message)
        if problem:
            del self._incoming[node]
            return [fx.Say(text=f"what {node} kept of evaluation {message.evaluation} {problem}")]
        return self._take(node, incoming, message, incoming.stands)

    def compared(self, event: ev.Compared) -> list[fx.AnyEffect]:
        """The tables were asked: which side stands?"""
        incoming = self._incoming.get(event.node)
        if incoming is None or incoming.stands is not None:
            return []
        offer = incoming.offer
        if (offer.history, offer.evaluation) != (event.history, event.evaluation):
            return []
        ended = self._ended(event)
        key = (event.node, event.history, event.evaluation)
        if event.settled or key in self._settled or (ended is not None and ended == offer.ended):
            self._settle(event.node)
            return []
        unknown = not event.known and offer.evaluation not in self._ledger.evaluations
        over = offer.ended != NO_EPOCH
        returned = unknown or (over and (ended is None or offer.ended < ended))
        incoming.stands = "returned" if returned else "present"
        if returned and not over and offer.packages:
            incoming.waits = True
            return [fx.Equip(node=self._epoch.node, packages=offer.packages, source=event.node)]
        self._want(event.node, incoming)
        return []

    def equipped(self, event: ev.Equipped) -> None:
        """Packages have come to a disk."""
        for node, incoming in self._incoming.items():
            packages = incoming.offer.packages
            if not incoming.waits or not event.packages >= packages.keys():
                continue
            if event.node == self._epoch.node and event.ok:
                self._holders.expect(packages, node)
            if self._holders.expected(packages):
                incoming.waits = False
                self._want(node, incoming)

    def _ended(self, event: ev.Compared) -> Epoch | None:
        """The epoch in which this side ended it."""
        if event.ended is not None or not event.known:
            return event.ended
        # Ended a moment ago, and not in the tables yet.
        return None if event.evaluation in self._ledger.evaluations else self._epoch

    def _take(
        self, node: str, incoming: Incoming, message: History, stands: Literal["present", "returned"]
    ) -> list[fx.AnyEffect]:
        effects: list[fx.AnyEffect] = []
        if message.last and stands == "returned":
            effects += self._give_up(message.evaluation)
        self._record(
            rec.Merged(
                evaluation=message.evaluation,
                node=node,
                history=message.history,
                part=message.part,
                last=message.last,
                stands=stands,
                body=message.body,
            )
        )
        if not message.last:
            incoming.next += 1
            self._want(node, incoming)
            return effects
        self._settled.add((node, message.history, message.evaluation))
        self._settle(node)
        self._desk.wake()
        side = "its" if stands == "returned" else "the present"
        text = f"evaluation {message.evaluation} of {node} is merged: {side} history stands"
        return [*effects, fx.Say(text=text)]

    def _give_up(self, evaluation: int) -> list[fx.AnyEffect]:
        """What this side runs of it counts no more."""
        effects: list[fx.AnyEffect] = []
        for work in self._desk.of(evaluation):
            for session in list(work.sessions.values()):
                close = m.CloseSession(session=session.id, kill=True)
                effects.append(fx.Send(node=session.node, message=close))
                self._desk.close(work, session, "another history of the evaluation stands")
            del self._desk.works[work.key]
        self._lifecycle.forget(evaluation)
        return effects

    def _want(self, node: str, incoming: Incoming) -> None:
        offer = incoming.offer
        want = WantHistory(history=offer.history, evaluation=offer.evaluation, part=incoming.next)
        self._tell(node, want)

    def _settle(self, node: str) -> None:
        offer = self._incoming.pop(node).offer
        self._holders.unexpect(offer.packages)
        self._tell(node, WantHistory(history=offer.history, evaluation=offer.evaluation, settled=True))


def _problem(message: History) -> str:
    """What is wrong with a part, or empty."""
    try:
        past = rec.decode_past(message.body)
    except msgspec.DecodeError as error:
        return f"cannot be read: {error}"
    strange = [record for _, record in past if record.evaluation != message.evaluation]
    return f"is about evaluation {strange[0].evaluation}" if strange else ""
