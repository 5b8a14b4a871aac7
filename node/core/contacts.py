"""Whom this node is connected to, whom it should be, and when it dials.

Two nodes that want each other do not dial in the same moment: the one with the smaller id waits a
little, so that one connection comes of it and not two.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from node.core import effects as fx
from node.core.timing import Timing


class _Attempt(Struct, kw_only=True):
    """Dialling one node: ``next`` is when to try again; ``under_way`` until ``Dialled`` came."""

    next: float
    under_way: bool = False


class Contacts:
    """Addresses are hints: the newest that a node gave itself, else what the roster says."""

    def __init__(self, node: str, timing: Timing) -> None:
        self._node = node
        self._timing = timing
        self._attempts: dict[str, _Attempt] = {}
        self._wanted: frozenset[str] = frozenset()
        self.addresses: dict[str, str] = {}
        self.connected: dict[str, int] = {}
        """Node -> incarnation, of the authenticated control connections."""

    def learn(self, node: str, address: str) -> None:
        """The roster names an address; a connected node's own word counts more."""
        if node not in self.connected and address:
            self.addresses[node] = address

    def up(self, node: str, address: str, incarnation: int) -> None:
        """A connection is there."""
        self.connected[node] = incarnation
        self._attempts.pop(node, None)
        if address:
            self.addresses[node] = address

    def down(self, node: str, incarnation: int) -> bool:
        """A connection is gone; False if a later process of the node is connected already."""
        if self.connected.get(node) != incarnation:
            return False
        del self.connected[node]
        return True

    def dialled(self, node: str) -> None:
        """An attempt ended."""
        attempt = self._attempts.get(node)
        if attempt is not None:
            attempt.under_way = False

    def want(self, nodes: Iterable[str], now: float) -> list[fx.AnyEffect]:
        """Dial those of ``nodes`` that are not connected and whose turn has come."""
        wanted = frozenset(nodes) - {self._node}
        if wanted != self._wanted:
            self._wanted = wanted
            for node in [node for node in self._attempts if node not in wanted]:
                if not self._attempts[node].under_way:
                    del self._attempts[node]
        effects: list[fx.AnyEffect] = []
        for node in wanted:
            if node in self.connected or node not in self.addresses:
                continue
            attempt = self._attempts.get(node)
            if attempt is None:
                pause = 0.0 if self._node > node else 2 * self._timing.redial
                attempt = self._attempts[node] = _Attempt(next=now + pause)
            if not attempt.under_way and now >= attempt.next:
                effects += self.dial(node, now)
        return effects

    def dial(self, node: str, now: float) -> list[fx.AnyEffect]:
        """Try now, unless an attempt is under way or nobody knows where the node is."""
        attempt = self._attempts.setdefault(node, _Attempt(next=now))
        if attempt.under_way or node not in self.addresses:
            return []
        attempt.under_way, attempt.next = True, now + self._timing.redial
        return [fx.Dial(node=node, address=self.addresses[node])]

    def next_deadline(self) -> float | None:
        """When the next attempt is due."""
        waiting = [
            attempt.next
            for node, attempt in self._attempts.items()
            if node in self._wanted and not attempt.under_way
        ]
        return min(waiting, default=None)
