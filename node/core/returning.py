"""The side of a node whose history is not the cluster's: it gives to the master what it had committed alone.

Two voters and a forged close make two masters. When they meet, the lower epoch's sets its tables aside,
follows the other, and offers each evaluation, one after the other, until the master says that it is settled.
"""

from __future__ import annotations

from node.core import effects as fx
from node.core import events as ev
from proto import voting as v


class Returning:
    """Offers that wait; the first one is under way whenever there is a master."""

    def __init__(self) -> None:
        self._offers: list[v.OfferHistory] = []

    def take(self, event: ev.Parted | ev.HistoryRead, master: str) -> list[fx.AnyEffect]:
        """What the shell says of them. ``master``: who has welcomed this node, or empty."""
        if isinstance(event, ev.Parted):
            self._offers = list(event.offers)
            return self.offer(master)
        if not master or not self._under_way(event.history, event.evaluation):
            return []
        part = v.History(
            history=event.history,
            evaluation=event.evaluation,
            part=event.part,
            last=event.last,
            body=event.body,
        )
        return [fx.Send(node=master, message=part)]

    def offer(self, master: str) -> list[fx.AnyEffect]:
        """Offer the first one, to a new master too."""
        return [fx.Send(node=master, message=self._offers[0])] if master and self._offers else []

    def wanted(self, message: v.WantHistory, master: str) -> list[fx.AnyEffect]:
        """The master asks for a part, or has all."""
        if not self._under_way(message.history, message.evaluation):
            return []
        if not message.settled:
            return [fx.ReadHistory(history=message.history, evaluation=message.evaluation, part=message.part)]
        del self._offers[0]
        done = fx.DropHistory(history=message.history, evaluation=message.evaluation)
        return [done, *self.offer(master)]

    def _under_way(self, history: str, evaluation: int) -> bool:
        first = self._offers[0] if self._offers else None
        return first is not None and (first.history, first.evaluation) == (history, evaluation)
