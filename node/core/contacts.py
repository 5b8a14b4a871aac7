"""Whom this node is connected to, whom it should be, and when it dials.

Two nodes that want each other do not dial in the same moment: the one with the smaller id waits a
little, so that one connection comes of it and not two. And nobody dials a node twice at once, nor again
within ``redial``: of two connections one is closed, and two nodes that answer that by dialling at once
would do nothing else any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from node.core import effects as fx
from node.core.timing import Timing


class Contacts:
    """Addresses are hints: the newest that a node gave itself, else what the roster says."""

    def __init__(self, node: str, timing: Timing) -> None:
        self._node = node
        self._timing = timing
        self._wanted: frozenset[str] = frozenset()
        self._next: dict[str, float] = {}
        """Wanted node -> when to try it."""
        self._rest: dict[str, float] = {}
        """Node -> when it may be dialled again."""
        self._under_way: set[str] = set()
        """Nodes that are being dialled, until ``Dialled`` comes."""
        self._quiet = 0.0
        """Until then ``want`` would do nothing, as long as nothing changes."""
        self._reached: tuple[str, ...] | None = None
        """Addresses of the connected nodes; None once a connection or an address has changed."""
        self.addresses: dict[str, str] = {}
        self.connected: dict[str, int] = {}
        """Node -> incarnation, of the authenticated control connections."""

    def learn(self, node: str, address: str) -> None:
        """The roster names an address; a connected node's own word counts more."""
        if node not in self.connected and address:
            self.addresses[node] = address
            self._changed()

    def up(self, node: str, address: str, incarnation: int) -> None:
        """A connection is there."""
        self.connected[node] = incarnation
        self._next.pop(node, None)
        if address:
            self.addresses[node] = address
        self._changed()

    def down(self, node: str, incarnation: int) -> bool:
        """A connection is gone; False if a later process of the node is connected already."""
        if self.connected.get(node) != incarnation:
            return False
        del self.connected[node]
        self._changed()
        return True

    def dialled(self, node: str) -> None:
        """An attempt ended."""
        self._under_way.discard(node)
        self._changed()

    def reached(self) -> tuple[str, ...]:
        """Addresses of the connected nodes, sorted."""
        if self._reached is None:
            known = (self.addresses.get(node, "") for node in self.connected)
            self._reached = tuple(sorted(filter(None, known)))
        return self._reached

    def _changed(self) -> None:
        self._quiet, self._reached = 0.0, None

    def want(self, nodes: Iterable[str], now: float) -> list[fx.AnyEffect]:
        """Dial those of ``nodes`` that are not connected and whose turn has come."""
        wanted = frozenset(nodes)
        if wanted == self._wanted and now < self._quiet:
            return []
        if wanted != self._wanted:
            self._wanted = wanted
            self._next = {node: at for node, at in self._next.items() if node in wanted}
            self._rest = {node: at for node, at in self._rest.items() if node in wanted or at > now}
        effects: list[fx.AnyEffect] = []
        due = float("inf")
        for node in sorted(wanted - {self._node, ""}):
            if node in self.connected or node not in self.addresses:
                continue
            if node not in self._next:
                pause = 0.0 if self._node > node else 2 * self._timing.redial
                self._next[node] = max(now + pause, self._rest.get(node, now))
            if now >= self._next[node]:
                effects += self.dial(node, now)
            due = min(due, self._next[node])
        self._quiet = due
        return effects

    def dial(self, node: str, now: float) -> list[fx.AnyEffect]:
        """Try now, unless it is being tried, has just been, or nobody knows where the node is."""
        if node in self._under_way or now < self._rest.get(node, now) or node not in self.addresses:
            return []
        self._under_way.add(node)
        self._rest[node] = self._next[node] = now + self._timing.redial
        return [fx.Dial(node=node, address=self.addresses[node])]

    def next_deadline(self) -> float | None:
        """When the next attempt is due."""
        waiting = [
            at
            for node, at in self._next.items()
            if node in self._wanted and node not in self._under_way and node not in self.connected
        ]
        return min(waiting, default=None)
