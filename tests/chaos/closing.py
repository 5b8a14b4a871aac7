"""A proxy before each node that can close everything, on both sides at once: a forged death.

Middleboxes do that: a firewall that restarts sends FIN or RST to both ends of connections it no longer
knows, and refuses new ones. To each end it looks as if the other's process had died.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Sequence

from tests.chaos.network import NetworkError

_LINGER_NONE = struct.pack("ii", 1, 0)
_BYTES = 65536


class Passage:
    """One connection: a socket to each end, and a thread for each way."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._ends = (near, far)
        self._severed = False
        for end in self._ends:
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        """Pass bytes both ways until both have ended."""
        near, far = self._ends
        back = threading.Thread(target=self._pass, args=(far, near), name="way back", daemon=True)
        back.start()
        self._pass(near, far)
        back.join()
        for end in self._ends:
            end.close()

    def sever(self, *, reset: bool) -> None:
        """End it at both ends at once."""
        self._severed = True
        for end in self._ends:
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
                # A close says nothing to the other end while a thread still reads here: this wakes it.
                end.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            end.close()

    def _pass(self, here: socket.socket, there: socket.socket) -> None:
        try:
            while data := here.recv(_BYTES):
                there.sendall(data)
            if not self._severed:
                there.shutdown(socket.SHUT_WR)
        except OSError:
            # One end was reset: the other way must not wait for ever.
            for end in self._ends if not self._severed else ():
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


class Door:
    """Passes TCP connections on to ``target``, or refuses them; its own address never changes."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        # Bound and never listening: it holds the port while connections are refused.
        self._reserved = _bound(("127.0.0.1", 0))
        self._place: tuple[str, int] = self._reserved.getsockname()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._passages: set[Passage] = set()
        self.open()

    @property
    def address(self) -> str:
        return f"{self._place[0]}:{self._place[1]}"

    def open(self) -> None:
        """Accept and pass on."""
        with self._lock:
            listener = self._listener = _bound(self._place)
            listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), name="door", daemon=True).start()

    def shut(self) -> None:
        """Refuse new connections."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            # Wakes the thread that accepts, which a mere close would not.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def sever(self, *, reset: bool) -> None:
        """End every connection that passes, at both of its ends: by RST, or by FIN."""
        with self._lock:
            passages, self._passages = self._passages, set()
        for passage in passages:
            passage.sever(reset=reset)

    def close(self) -> None:
        """Shut for good."""
        self.shut()
        self.sever(reset=False)
        self._reserved.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, timeout=5.0)
            except OSError:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
                near.close()
                continue
            passage = Passage(near, far)
            with self._lock:
                passing = self._listener is listener
                if passing:
                    self._passages.add(passage)
            if not passing:
                passage.sever(reset=True)
                return
            threading.Thread(target=self._carry, args=(passage,), name="passage", daemon=True).start()

    def _carry(self, passage: Passage) -> None:
        passage.run()
        with self._lock:
            self._passages.discard(passage)


class Proxied:
    """Nodes on loopback that reach one another through a door each: a ``Network`` of ``nodes.Fleet``.

    ``addresses`` are the doors', which the nodes advertise; ``listens`` is where they are in fact.
    """

    can_cut = can_cut_oneway = False

    def __init__(self, nodes: int) -> None:
        # Held together, so that no port is given twice.
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(nodes)]
        places = [probe.getsockname() for probe in probes]
        for probe in probes:
            probe.close()
        self.listens = [f"{host}:{port}" for host, port in places]
        self._doors = [Door(place) for place in places]
        self.addresses = [door.address for door in self._doors]

    def command(self, node: int, module: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
        """(module, arguments) that run ``python -m module`` as this node: it advertises its door."""
        return module, [*arguments, "--advertise", self.addresses[node]]

    def part(self, *, reset: bool) -> None:
        """Each node sees the other's connections closed and its redials refused."""
        for door in self._doors:
            door.shut()
        for door in self._doors:
            door.sever(reset=reset)

    def join(self) -> None:
        """Let them meet again."""
        for door in self._doors:
            door.open()

    def cut(self, node: int) -> None:
        """Not possible here: doors close aloud."""
        raise NetworkError(f"node {node} cannot be cut off by a door")

    def cut_oneway(self, node: int, *, mute: bool) -> None:
        """Not possible here."""
        raise NetworkError(f"node {node} cannot be {'muted' if mute else 'deafened'} by a door")

    def heal(self, node: int) -> None:
        """Nothing was cut."""

    def close(self) -> None:
        """Shut all doors."""
        for door in self._doors:
            door.close()


def _bound(place: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(place)
    return sock
