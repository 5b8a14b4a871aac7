"""Connections between nodes over loopback: whose are let in."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from node.core import events as ev
from node.net.links import Links, listen
from node.reception import Reception
from proto.errors import ProtocolError
from proto.handshake import Identity, Role
from proto.liveness import Timing


class End:
    """One node's links, and what they tell."""

    def __init__(self, node: str, cluster: str) -> None:
        self.cluster = cluster
        self.posted: list[ev.AnyEvent] = []
        self._node = node
        reception = Reception(self.posted.append)
        reception.on_cluster = self._meet
        self.links = Links(self._identity, b"a secret of the cluster", Timing(), reception)
        sock = listen("127.0.0.1:0")
        self.address = "{}:{}".format(*sock.getsockname())
        self._serving = gevent.spawn(self.links.serve, sock)

    def close(self) -> None:
        self.links.close("the test is over")
        gevent.wait(timeout=0.1)
        self._serving.kill()

    def _identity(self, role: Role) -> Identity:
        return Identity(role=role, node=self._node, cluster=self.cluster, incarnation="1")

    def _meet(self, cluster: str) -> None:
        self.cluster = self.cluster or cluster


@pytest.fixture
def ends() -> Iterator[tuple[End, End, End]]:
    made = (End("a", "first"), End("b", "second"), End("c", ""))
    yield made
    for end in made:
        end.close()


def test_nodes_of_two_clusters_do_not_mix(ends: tuple[End, End, End]) -> None:
    first, second, _ = ends
    with pytest.raises(ProtocolError, match="node b belongs to another cluster"):
        first.links.connect(second.address)
    assert first.links.peers == {}
    assert first.posted == []


def test_a_node_without_a_cluster_belongs_to_the_first_it_meets(ends: tuple[End, End, End]) -> None:
    first, second, fresh = ends
    fresh.links.connect(first.address)
    assert fresh.cluster == "first"
    with pytest.raises(ProtocolError, match="another cluster"):
        fresh.links.connect(second.address)
