"""Finding the cluster: dial the seeds, follow hints to the master, dial again when it is lost."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable

import gevent
from gevent import socket as gsocket
from gevent.event import Event as Flag

from node.config import Settings, split_address
from node.core.cluster import ClusterState
from node.net.links import Backoff, Links
from node.net.peer import Peer
from proto.errors import ProtocolError

log = logging.getLogger("testring.net")

FOUND_SECONDS = 3.0
"""A founder that was also told to join gives the seeds so long to answer."""
MISSED_MOST = 8
"""Addresses of lost peers that a master looks for; the oldest go."""
MISSED_LIMITS = 5
"""Suspect limits between two such looks."""


class Seeds:
    """Dials until a master is known.

    Args:
        own: this node's address, which it never dials.
        core: asked whether this node is, or is connected to, a master, and where a node is.
    """

    def __init__(self, settings: Settings, links: Links, own: str, core: Callable[[], ClusterState]) -> None:
        self._settings = settings
        self._core = core
        self._links = links
        self._own = own
        self._missed: deque[str] = deque(maxlen=MISSED_MOST)
        self._hint = ""
        self._look = Flag()
        self._said = ""

    def answer(self) -> bool:
        """Whether a seed answers that is in a cluster; one that waits for its founder has epoch 0."""
        with gevent.Timeout(FOUND_SECONDS, False):
            peers = map(self._try, self._addresses())
            return any(peer is not None and peer.identity.epoch > 0 for peer in peers)
        return False

    def follow(self) -> None:
        """Dial the seeds, and whoever is said to be master, whenever there is none."""
        backoff = Backoff()
        while True:
            if self._core().master:
                backoff.reset()
                self._look.clear()
                self._look.wait(1.0)
                continue
            self._visit(self._addresses())
            backoff.wait()

    def reunite(self) -> None:
        """While this node is master, look now and then for peers that it lost and the seeds: a close that
        somebody forged may have made two masters, and neither of them needs the other."""
        while True:
            gevent.sleep(MISSED_LIMITS * self._settings.timing.suspect)
            if self._core().is_master:
                self._visit([*self._missed, *self._addresses()])

    def _visit(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            # Looked at anew each time: they dial us meanwhile.
            if address not in {peer.identity.address for peer in self._links.peers.values()}:
                self._try(address)

    def redirect(self, hint: str) -> None:
        """``hint`` is the address of the master as somebody knows it."""
        if self._core().master:
            return
        self._hint = hint or self._hint
        self._look.set()

    def lost(self, node: str) -> None:
        """A peer is gone: look at once."""
        address = self._core().address_of(node)
        if address and address not in self._missed:
            self._missed.append(address)
        self._look.set()

    def _try(self, address: str) -> Peer | None:
        try:
            with gevent.Timeout(FOUND_SECONDS, TimeoutError("it does not answer")):
                peer = self._links.connect(address)
        except (OSError, ProtocolError) as error:
            self._tell(f"{address} does not let this node in yet: {error}")
            return None
        self._tell(f"connected to {address}")
        return peer

    def _tell(self, text: str) -> None:
        # Said once, not at every attempt.
        if text != self._said:
            self._said = text
            log.info("%s", text)

    def _addresses(self) -> list[str]:
        """Every address behind the seeds: a name may have many records."""
        found: list[str] = [self._hint] if self._hint else []
        for seed in self._settings.join:
            host, port = split_address(seed)
            try:
                records = gsocket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError as error:
                self._tell(f"{seed} has no address yet: {error}")
                continue
            for record in records:
                ip = record[4][0]
                found.append(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}")
        return [address for address in dict.fromkeys(found) if address != self._own]
