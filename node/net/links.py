"""Who is connected: the TCP listener, dialling with backoff, and the table of live peers."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Protocol

import gevent
from gevent import socket as gsocket

from node.config import split_address
from node.net.peer import Peer
from node.net.wire import Wire
from proto.errors import ProtocolError
from proto.handshake import Identity, Role
from proto.liveness import Timing
from proto.messages import AnyMessage, Bye

log = logging.getLogger("testring.net")

BACKLOG = 256
MAX_HANDSHAKES = 256
"""Connections that have not authenticated yet; further ones are closed at once."""

CROSSING = 1.0
"""Seconds between two connections with one peer that count as dialled in the same moment."""


class ListenError(Exception):
    """The address cannot be listened on; the message says what to do."""


class LinkEvents(Protocol):
    """What the owner of the links is told."""

    def cluster_seen(self, cluster: str) -> None: ...
    def peer_up(self, peer: Peer) -> None: ...
    def peer_said(self, peer: Peer, message: AnyMessage) -> None: ...
    def peer_down(self, peer: Peer, evidence: bool, reason: str) -> None: ...
    def stream(self, wire: Wire) -> None: ...


def listen(address: str) -> gsocket.socket:
    """A listening TCP socket on ``HOST:PORT``.

    Raises:
        ListenError: another process has it (a second master?), or the host is not this machine's.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = gsocket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ListenError(
                f"{address} is in use: is another node running there? Stop it or choose a port with --listen"
            ) from error
        raise ListenError(
            f"{address} cannot be listened on: {error.strerror}; choose with --listen"
        ) from error
    sock.listen(BACKLOG)
    return sock


class Links:
    """Accepts and dials control connections between nodes and hands out streams.

    Args:
        identity: what this node says of itself, asked anew for each connection (its epoch changes).
        secret: the cluster's secret.
        timing: heartbeat intervals.
        events: who is told.
    """

    def __init__(
        self, identity: Callable[[Role], Identity], secret: bytes, timing: Timing, events: LinkEvents
    ) -> None:
        self.peers: dict[str, Peer] = {}
        self._identity = identity
        self._secret = secret
        self._timing = timing
        self._events = events
        self._greeting = 0
        self._closed = False
        self._socket: gsocket.socket | None = None

    def serve(self, sock: gsocket.socket) -> None:
        """Accept until ``close``; one greenlet per connection until it is authenticated."""
        self._socket = sock
        while not self._closed:
            try:
                connected, address = sock.accept()
            except OSError as error:
                if self._closed:
                    return
                log.warning("accepting failed: %s", error)
                # Out of descriptors: let some connections end before trying again.
                gevent.sleep(0.1)
                continue
            if self._greeting >= MAX_HANDSHAKES:
                log.warning("%s:%s refused: %d connections are shaking hands", *address[:2], self._greeting)
                connected.close()
                continue
            gevent.spawn(self._greet, connected, f"{address[0]}:{address[1]}")

    def dial(self, address: str, role: Role = "stream", seconds: float = 5.0) -> Wire:
        """An authenticated connection to ``HOST:PORT``.

        Raises:
            OSError: nobody answers there.
            ProtocolError: somebody else does, or the secrets differ.
        """
        sock = gsocket.create_connection(split_address(address), timeout=seconds)
        return self._prepare(sock, initiator=True, role=role)

    def connect(self, address: str) -> Peer:
        """Dial a control connection and keep it as a peer (errors as ``dial``)."""
        wire = self.dial(address, "node")
        return self._adopt(wire)

    def fresh(self, node: str) -> Peer | None:
        """The connection with a node if it is no older than a moment."""
        peer = self.peers.get(node)
        return peer if peer is not None and time.monotonic() - peer.since < CROSSING else None

    def send(self, node: str, message: AnyMessage) -> None:
        """Queue a message for a peer; one that is not connected loses it."""
        peer = self.peers.get(node)
        if peer is not None:
            peer.send(message)

    def disconnect(self, node: str, reason: str) -> None:
        """Say ``Bye`` and close, after what is queued was sent."""
        peer = self.peers.get(node)
        if peer is not None:
            peer.send(Bye(reason=reason))
            peer.close(reason)

    def close(self, reason: str) -> None:
        """Stop listening and part from every peer."""
        self._closed = True
        if self._socket is not None:
            self._socket.close()
        for node in list(self.peers):
            self.disconnect(node, reason)

    def _prepare(self, sock: gsocket.socket, *, initiator: bool, role: Role) -> Wire:
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(
            sock, initiator=initiator, local=self._identity(role), secret=self._secret, timing=self._timing
        )
        try:
            peer = wire.handshake()
            self._events.cluster_seen(peer.cluster)
            own = self._identity(role)
            if own.cluster and peer.cluster and own.cluster != peer.cluster:
                raise ProtocolError(f"node {peer.node} belongs to another cluster than this one")
            if own.node == peer.node and "stream" not in (role, peer.role):
                raise ProtocolError(f"{peer.node} is this node itself")
        except BaseException:
            wire.close()
            raise
        return wire

    def _greet(self, sock: gsocket.socket, address: str) -> None:
        self._greeting += 1
        try:
            wire = self._prepare(sock, initiator=False, role="node")
        except (ProtocolError, OSError) as error:
            log.warning("%s is not let in: %s", address, error)
            return
        finally:
            self._greeting -= 1
        role = wire.peer.role if wire.peer else ""
        if role == "node":
            self._adopt(wire)
        elif role == "stream":
            with wire:
                try:
                    self._events.stream(wire)
                except (ProtocolError, OSError) as error:
                    log.info("stream from %s ended: %s", address, error)
        else:
            log.warning("%s is not let in: role %r is for the control socket", address, role)
            wire.close()

    def _adopt(self, wire: Wire) -> Peer:
        peer = Peer(wire, self._events.peer_said, self._gone)
        node = peer.identity.node
        before = self.peers.get(node)
        if before is not None and self._crossed(before, peer):
            # Both dialled in the same moment; both ends keep the same one of the two connections.
            peer.close("another connection was there before")
            peer.start()
            return before
        if before is not None:
            # The same node dialled again: its old connection is dead whatever TCP thinks of it.
            before.close("replaced by a newer connection")
            before.replaced = True
            self._gone(before, False, "replaced by a newer connection")
        self.peers[node] = peer
        self._events.peer_up(peer)
        peer.start()
        return peer

    def _crossed(self, before: Peer, after: Peer) -> bool:
        """Whether the older of two connections is to be kept: the one that the smaller id dialled."""
        own = self._identity("node").node
        smaller_dialled = before.dialled == (own < before.identity.node)
        return (
            before.incarnation == after.incarnation
            and before.dialled != after.dialled
            and smaller_dialled
            and after.since - before.since < CROSSING
        )

    def _gone(self, peer: Peer, evidence: bool, reason: str) -> None:
        if self.peers.get(peer.identity.node) is peer:
            del self.peers[peer.identity.node]
            self._events.peer_down(peer, evidence, reason)


class Backoff:
    """Growing pauses between attempts, with jitter, so that a crowd does not dial in step."""

    def __init__(self, first: float = 0.05, most: float = 2.0) -> None:
        self._first, self._most, self._pause = first, most, first

    def wait(self) -> None:
        """Sleep for the next pause."""
        jitter = int.from_bytes(os.urandom(2), "big") / 65_535
        gevent.sleep(self._pause * (0.5 + jitter / 2))
        self._pause = min(self._pause * 2, self._most)

    def reset(self) -> None:
        """Start again from the first pause."""
        self._pause = self._first
