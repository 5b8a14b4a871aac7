"""Finding the cluster: dial the seeds, follow hints to the master, dial again when it is lost."""

from __future__ import annotations

import logging
import socket

import gevent
from gevent import socket as gsocket
from gevent.event import Event as Flag

from node.config import Settings, split_address
from node.net.links import Backoff, Links
from proto.errors import ProtocolError

log = logging.getLogger("testring.net")

FOUND_SECONDS = 3.0
"""A founder that was also told to join gives the seeds so long to answer."""


class Seeds:
    """Keeps one control connection to the master.

    Args:
        own: this node's address, which it never dials.
    """

    def __init__(self, settings: Settings, links: Links, own: str) -> None:
        self._settings = settings
        self._links = links
        self._own = own
        self._hint = ""
        self._lost = Flag()
        self._said = ""

    def may_found(self) -> bool:
        """Whether this node is to be the master: it may, and no seed answers."""
        if not self._settings.master:
            return False
        with gevent.Timeout(FOUND_SECONDS, False):
            for address in self._addresses():
                if self._try(address):
                    return False
        return True

    def follow(self) -> None:
        """Dial until a seed answers, and again whenever no peer is left."""
        backoff = Backoff()
        while True:
            if self._links.peers:
                backoff.reset()
                self._lost.clear()
                self._lost.wait(1.0)
                continue
            for address in self._addresses():
                if self._try(address):
                    break
            else:
                backoff.wait()

    def redirect(self, hint: str) -> None:
        """The dialled node is not the master; ``hint`` is the address to ask."""
        self._hint = hint
        self._lost.set()

    def lost(self) -> None:
        """A peer is gone: look at once."""
        self._lost.set()

    def _try(self, address: str) -> bool:
        try:
            self._links.connect(address)
        except (OSError, ProtocolError) as error:
            self._tell(f"{address} does not let this node in yet: {error}")
            return False
        self._tell(f"connected to {address}")
        return True

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
