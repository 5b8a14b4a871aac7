"""What the links tell, passed on: most of it to the inbox, some to those who deal with it elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from node.core import events as ev
from node.net.peer import Peer
from node.net.wire import Wire
from proto.messages import AnyMessage

log = logging.getLogger("testring.node")


class Reception:
    """Told by ``Links``; ``takes`` and the two lists are filled while the node is put together.

    Args:
        post: the node's inbox.
    """

    def __init__(self, post: Callable[[ev.AnyEvent], None]) -> None:
        self._post = post
        self.takes: dict[type, Callable[[Peer, Any], object]] = {}
        """Message type -> who takes it instead of the core."""
        self.on_up: list[Callable[[], object]] = []
        self.on_down: list[Callable[[str], object]] = []
        """Told the node whose connection is gone."""
        self.on_cluster: Callable[[str], object] = lambda _cluster: None
        """Told the cluster that an authenticated node says it belongs to; empty if it belongs to none."""
        self.serve: Callable[[Wire], None]
        """Serves one file stream."""

    def cluster_seen(self, cluster: str) -> None:
        """Before anything else of a new connection."""
        self.on_cluster(cluster)

    def peer_up(self, peer: Peer) -> None:
        """A control connection is authenticated."""
        identity = peer.identity
        self._post(ev.PeerUp(node=identity.node, address=identity.address, incarnation=peer.incarnation))
        for told in self.on_up:
            told()

    def peer_down(self, peer: Peer, evidence: bool, reason: str) -> None:
        """It is gone; ``evidence``: the peer's own side closed it."""
        node = peer.identity.node
        log.info("node %s at %s is gone: %s", node, peer.identity.address, reason)
        for told in self.on_down:
            told(node)
        self._post(
            ev.PeerDown(
                node=node,
                incarnation=peer.incarnation,
                by_peer=evidence,
                bye=peer.bye,
                replaced=peer.replaced,
                reason=reason,
            )
        )

    def peer_said(self, peer: Peer, message: AnyMessage) -> None:
        """One message of a peer."""
        take = self.takes.get(type(message))
        if take is not None:
            take(peer, message)
        else:
            self._post(ev.Received(node=peer.identity.node, message=message))

    def stream(self, wire: Wire) -> None:
        """One file stream of another node."""
        self.serve(wire)
