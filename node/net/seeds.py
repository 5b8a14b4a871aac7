"""Finding the cluster: dial the seeds, follow hints to the master, dial again when it is lost."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import gevent
from gevent import socket as gsocket
from gevent.event import Event as Flag

from node.config import Settings, split_address
from node.net.links import Backoff, Links
from node.net.peer import Peer
from proto.errors import ProtocolError

log = logging.getLogger("testring.net")

FOUND_SECONDS = 3.0
"""A founder that was also told to join gives the seeds so long to answer."""


class Seeds:
    """Dials until a master is known.

    Args:
        own: this node's address, which it never dials.
        settled: whether this node is, or is connected to, a master.
    """

    def __init__(self, settings: Settings, links: Links, own: str, settled: Callable[[], bool]) -> None:
        self._settings = settings
        self._links = links
        self._own = own
        self._settled = settled
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
            if self._settled():
                backoff.reset()
                self._look.clear()
                self._look.wait(1.0)
                continue
            for address in self._addresses():
                # Looked at anew each time: they dial us meanwhile.
                if address not in {peer.identity.address for peer in self._links.peers.values()}:
                    self._try(address)
            backoff.wait()

    def redirect(self, hint: str) -> None:
        """``hint`` is the address of the master as somebody knows it."""
        if self._settled():
            return
        self._hint = hint or self._hint
        self._look.set()

    def lost(self, _node: str) -> None:
        """A peer is gone: look at once."""
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
