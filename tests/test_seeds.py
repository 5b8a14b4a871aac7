"""Whom a node looks for: the seeds while it knows no master; as a master, those it was connected to once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent
import pytest

from node.config import Settings
from node.core import events as ev
from node.net import seeds
from node.net.links import Links, listen
from node.net.seeds import Seeds
from node.reception import Reception
from proto.errors import ProtocolError
from proto.handshake import Identity, Role
from proto.liveness import Timing

SECONDS = 5.0


class End:
    """One node's links on a fixed port."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.posted: list[ev.AnyEvent] = []
        self.links = Links(
            self._identity, b"a secret of the cluster", Timing(), Reception(self.posted.append)
        )
        self._sock = listen("127.0.0.1:0")
        self.address = "{}:{}".format(*self._sock.getsockname())
        self._serving = gevent.spawn(self.links.serve, self._sock)

    def close(self) -> None:
        self.links.close("the test is over")
        gevent.wait(timeout=0.1)
        self._serving.kill()

    def _identity(self, role: Role) -> Identity:
        return Identity(role=role, node=self.node, address=self.address, cluster="one", incarnation="1")


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    made = (End("a"), End("b"))
    yield made
    for end in made:
        end.close()


def until(condition: Callable[[], bool]) -> bool:
    """Wait while the greenlets go on; whether it came true in time."""
    with gevent.Timeout(SECONDS, False):
        while not condition():
            gevent.sleep(0.02)
    return condition()


@pytest.mark.parametrize("joins", [True, False], ids=["a seed", "a former peer"])
def test_a_master_looks_for_whom_it_lost(ends, monkeypatch, joins):
    monkeypatch.setattr(seeds, "SEEK_SECONDS", 0.1)
    one, other = ends
    settings = Settings(join=(other.address,) if joins else ())
    looking = Seeds(settings, one.links, one.address, lambda: True, lambda: True)
    if not joins:
        one.links.connect(other.address)
    follow = gevent.spawn(looking.follow)
    gevent.sleep(0)
    if not joins:
        looking._remember()
        one.links.disconnect(other.node, "parted")
        assert until(lambda: other.node not in one.links.peers)
        looking.lost(other.node)
    assert until(lambda: other.node in one.links.peers)
    follow.kill()
    before = one.links.peers[other.node]
    looking._seek()
    assert one.links.peers[other.node] is before, "whoever is connected is not dialled again"


def test_a_node_does_not_connect_to_itself(ends):
    one, _ = ends
    with pytest.raises(ProtocolError, match="is this node itself"):
        one.links.connect(one.address)
    assert one.links.peers == {}
