"""A CDProto connection over a gevent socket, driven by one greenlet: handshakes and file streams.

``Wire`` joins the sans-IO ``Connection`` to a socket. It blocks only the greenlet that calls it.
A control connection starts as a wire and, once authenticated, is handed to ``peer.Peer``.
"""

from __future__ import annotations

import os
import time
from collections import deque
from types import TracebackType

from gevent import Timeout
from gevent import socket as gsocket

from proto.connection import (
    ChunkReceived,
    Closed,
    Connection,
    CreditReceived,
    Event,
    HandshakeDone,
    MessageReceived,
    PeerHeard,
    PeerSilent,
)
from proto.errors import ProtocolError
from proto.handshake import Identity
from proto.liveness import Timing
from proto.messages import Abort, AnyMessage

RECEIVE = 256 * 1024


class WireClosed(ConnectionError):
    """The connection ended; ``evidence`` is true if the peer's own side said so (FIN or RST)."""

    def __init__(self, reason: str, *, evidence: bool) -> None:
        super().__init__(reason)
        self.evidence = evidence


class Wire:
    """One authenticated (or authenticating) connection.

    Args:
        sock: a connected gevent socket; the wire owns it.
        initiator: this side dialled.
        local: what this side says of itself.
        secret: the cluster's secret, or empty on a Unix socket.
    """

    def __init__(
        self,
        sock: gsocket.socket,
        *,
        initiator: bool,
        local: Identity,
        secret: bytes,
        timing: Timing | None = None,
    ) -> None:
        self.sock = sock
        self.initiator = initiator
        self.connection = Connection(
            initiator=initiator,
            local=local,
            secret=secret,
            nonce=os.urandom(32),
            now=time.monotonic(),
            timing=timing or Timing(),
        )
        self.peer: Identity | None = None
        self._events: deque[Event] = deque()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def handshake(self) -> Identity:
        """The peer's identity, once it has proved it.

        Raises:
            ProtocolError: it speaks something else, or holds another secret.
            WireClosed: it went away.
        """
        event = self.next_event()
        if not isinstance(event, HandshakeDone):
            raise WireClosed("the handshake did not complete", evidence=False)
        self.peer = event.peer
        self.flush()
        return event.peer

    def next_event(self) -> Event:
        """The next event, answering pings and keeping deadlines meanwhile.

        Raises:
            ProtocolError: the peer broke the protocol or a deadline of it passed.
            WireClosed: the connection ended.
        """
        while not self._events:
            self.flush()
            self._receive()
            self._events.extend(
                event
                for event in self.connection.events_received()
                if not isinstance(event, PeerSilent | PeerHeard)
            )
        event = self._events.popleft()
        if isinstance(event, Closed):
            self.flush()
            if event.error is not None:
                raise event.error
            raise WireClosed("the peer closed the connection", evidence=True)
        return event

    def next_message(self) -> AnyMessage:
        """The next message; credit is taken in on the way.

        Raises:
            ProtocolError: a chunk came where a message was due.
        """
        while True:
            event = self.next_event()
            if isinstance(event, MessageReceived):
                return event.message
            if isinstance(event, ChunkReceived):
                raise ProtocolError("a chunk came where a message was due")

    def send(self, message: AnyMessage) -> None:
        """Send one message now."""
        self.connection.send(message)
        self.flush()

    def send_chunk(self, data: bytes) -> None:
        """Send file bytes, waiting for credit as long as the window is smaller than ``data``."""
        while self.connection.window < len(data):
            event = self.next_event()
            if isinstance(event, MessageReceived) and isinstance(event.message, Abort):
                raise WireClosed(f"the receiver stopped: {event.message.reason}", evidence=False)
            if not isinstance(event, CreditReceived):
                raise ProtocolError(f"{type(event).__name__} came where credit was due")
        self.connection.send_chunk(data)
        self.flush()

    def flush(self) -> None:
        """Hand what the connection wants sent to the socket."""
        for data in self.connection.data_to_send():
            try:
                self.sock.sendall(data)
            except OSError as error:
                raise WireClosed(
                    f"sending failed: {error.strerror or error}", evidence=is_reset(error)
                ) from error

    def _receive(self) -> None:
        deadline = self.connection.next_deadline()
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        data: bytes | None = None
        with Timeout(wait, False):
            try:
                data = self.sock.recv(RECEIVE)
            except OSError as error:
                raise WireClosed(
                    f"receiving failed: {error.strerror or error}", evidence=is_reset(error)
                ) from error
        now = time.monotonic()
        if data is None:
            self.connection.handle_timer(now)
        elif data:
            self.connection.receive_data(data, now)
        else:
            self.connection.receive_eof(now)

    def take_events(self) -> list[Event]:
        """Events that were received but not yet read (for a hand-over to ``Peer``)."""
        events = list(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        """Close the socket; idempotent."""
        self.sock.close()


def is_reset(error: OSError) -> bool:
    """Whether the error is the peer's own doing: a reset, a broken pipe, a refusal."""
    return isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionRefusedError)
