"""Finding the cluster: dial the seeds, follow hints to the master, dial again when it is lost.

A master looks for others as well: of two nodes that each took the other for dead nobody would dial.
"""

from __future__ import annotations

import logging
import socket
import time
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

SEEK_SECONDS = 2.0
"""Between two attempts of a master to reach somebody it was connected to once, or a seed."""

MOST_MET = 64
"""Former peers that are remembered for that."""


class Seeds:
    """Dials until a master is known.

    Args:
        own: this node's address, which it never dials.
        settled: whether this node is, or is connected to, a master.
        reigns: whether it is one.
    """

    def __init__(
        self,
        settings: Settings,
        links: Links,
        own: str,
        settled: Callable[[], bool],
        reigns: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._links = links
        self._own = own
        self._settled = settled
        self._reigns = reigns
        self._hint = ""
        self._look = Flag()
        self._said = ""
        self._met: dict[str, str] = {}
        """Address -> node that answered there last."""
        self._sought = time.monotonic()
        self._turn = 0

    def answer(self) -> bool:
        """Whether a seed answers that is in a cluster; one that waits for its founder has epoch 0."""
        # All at once: one that says nothing must not use up the time of the others.
        asked = [gevent.spawn(self._try, address) for address in self._addresses()]
        peers = (done.value for done in gevent.iwait(asked, timeout=FOUND_SECONDS))
        return any(peer is not None and peer.identity.epoch > 0 for peer in peers)

    def follow(self) -> None:
        """Dial the seeds, and whoever is said to be master, whenever there is none."""
        backoff = Backoff()
        while True:
            if self._settled():
                backoff.reset()
                self._look.clear()
                self._look.wait(1.0)
                self._remember()
                if self._reigns() and time.monotonic() - self._sought >= SEEK_SECONDS:
                    self._sought = time.monotonic()
                    gevent.spawn(self._seek)
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

    def _remember(self) -> None:
        for peer in list(self._links.peers.values()):
            self._meet(peer.identity.address, peer)

    def _meet(self, address: str, peer: Peer) -> None:
        self._met.pop(address, None)
        self._met[address] = peer.identity.node
        while len(self._met) > MOST_MET:
            del self._met[next(iter(self._met))]

    def _seek(self) -> None:
        """Try one of those that are not connected, in turn."""
        places = dict.fromkeys((*self._met, *self._addresses()))
        absent = [
            address
            for address in places
            # A seed may be another name of a node that is connected: dialled again, it would be replaced.
            if address != self._own and self._met.get(address) not in self._links.peers
        ]
        if not absent:
            return
        address = absent[self._turn % len(absent)]
        self._turn += 1
        try:
            with gevent.Timeout(FOUND_SECONDS, TimeoutError("it does not answer")):
                self._meet(address, self._links.connect(address))
        except (OSError, ProtocolError) as error:
            log.debug("%s is looked for in vain: %s", address, error)

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
