"""Two masters that meet (two voters, a forged close): one yields, and greetings come to an end."""

from __future__ import annotations

from collections import deque

from node.core import effects as fx
from node.core import events as ev
from node.core.cluster import ClusterState
from node.core.settings import CoreSettings
from node.core.timing import LAN
from node.core.voting_events import Persist, Persisted, TruncateTail, found
from proto import messages as m

MOST = 500
"""Messages that the meeting may take."""


class Node:
    """A core that founded a cluster of its own; its disk is quick and its tables are empty."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outbox: deque[tuple[str, m.AnyMessage]] = deque()
        self.dropped = False
        """Whether it was told to give up what it had committed."""
        self.now = 100.0
        self.core = ClusterState(
            CoreSettings(),
            node=name,
            address=f"{name}:7000",
            incarnation=1,
            slots=1,
            alone=1,
            saved=found(name),
            members=(),
            timing=LAN,
            now=self.now,
        )
        for _ in range(20):
            self.now += 0.2
            self.take(ev.Tick(at=self.now))

    def take(self, event: ev.AnyEvent) -> None:
        """Handle an event; what is to be sent goes into the outbox."""
        for effect in self.core.handle(event, self.now):
            match effect:
                case fx.Send():
                    self.outbox.append((effect.node, effect.message))
                case Persist():
                    self.take(Persisted(number=effect.number))
                case TruncateTail():
                    self.dropped = self.dropped or effect.committed
                case fx.Load():
                    self.take(ev.Replayed(epoch=effect.epoch, records=(), highest=0, at=self.now))


def test_of_two_masters_that_meet_the_one_with_the_lower_epoch_yields():
    nodes = {name: Node(name) for name in ("a", "b")}
    lower, higher = nodes.values()
    assert lower.core.is_master
    assert higher.core.is_master
    lower.take(ev.PeerUp(node="b", address="b:7000", incarnation=1))
    higher.take(ev.PeerUp(node="a", address="a:7000", incarnation=1))
    carried = 0
    while any(node.outbox for node in nodes.values()):
        for name, node in nodes.items():
            while node.outbox:
                to, message = node.outbox.popleft()
                carried += 1
                assert carried < MOST, message
                nodes[to].take(ev.Received(node=name, message=message))
    assert higher.core.is_master
    assert not lower.core.is_master
    assert lower.dropped
    assert not higher.dropped
