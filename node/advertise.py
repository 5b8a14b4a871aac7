"""``--advertise auto``: the address that other nodes reach this one by, asked of the kernel.

A container knows its address from nobody: every replica is started with the same variables.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

ANYWHERE = ("192.0.2.1", 9)
"""An address of no one (RFC 5737): the route to it is the default route. Nothing is sent."""


class NoAddress(Exception):
    """This machine has no address but loopback; the message says what to do."""


def own_address(seeds: Iterable[tuple[str, int]]) -> str:
    """``HOST:0``, to be completed with the port that is listened on.

    The interface that leads to a seed is taken: a container may have several, and only one of them is
    on the nodes' network. If no seed has a name yet: the address of this machine's own name, then
    the interface of the default route.

    Raises:
        NoAddress: there is none.
    """
    for place in (*seeds, (socket.gethostname(), 9), ANYWHERE):
        for family, address in _records(place):
            own = _source(family, address)
            if own and not ipaddress.ip_address(own).is_loopback:
                return f"[{own}]:0" if ":" in own else f"{own}:0"
    raise NoAddress("this machine has no address but loopback: give one with --advertise HOST")


def _records(place: tuple[str, int]) -> list[tuple[int, tuple[str | int, ...]]]:
    try:
        found = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)
    except OSError:
        return []
    return [(family, address) for family, _, _, _, address in found]


def _source(family: int, address: tuple[str | int, ...]) -> str:
    """The local address of the route to ``address``; connecting a datagram socket sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0]).partition("%")[0]
    except OSError:
        return ""
