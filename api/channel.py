"""One CDProto connection over a blocking Unix socket: the only place where bytes and clocks meet.

Only the plain ``socket`` and ``threading`` modules are used: under gunicorn's gevent worker they are
patched and block a greenlet, elsewhere they block a thread.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Literal

from proto.connection import Closed, Connection, Event, HandshakeDone
from proto.errors import LocalProtocolError
from proto.handshake import Identity
from proto.liveness import Timing
from proto.messages import AnyMessage

RECEIVE = 256 * 1024
POLL = 1.0
"""Seconds a receive waits at most, so that a deadline which moved closer is not slept through."""


STREAM_TIMING = Timing(silence_after=60.0, close_after=120.0)
"""A node that flushes a large file to its disk answers no pings of that stream meanwhile."""


class ChannelClosed(ConnectionError):
    """The connection cannot be used any more; the message says why."""


class Unsendable(ValueError):
    """The message is larger than a frame may be; the connection is as before."""


class Channel:
    """An authenticated connection to a node's control socket.

    ``receive`` belongs to one thread and ``flush`` to one thread; ``send`` may be called by any.
    """

    def __init__(self, sock: socket.socket, role: Literal["control", "stream"]) -> None:
        self._incoming = sock
        # A socket object has one timeout. The writer gets its own object, so that the two do not
        # change each other's; both stay non-blocking underneath.
        self._outgoing = sock.dup()
        self._lock = threading.Lock()
        self._ended: Closed | None = None
        self._connection = Connection(
            initiator=True,
            local=Identity(role=role, node=f"api-{os.getpid()}"),
            secret=b"",
            nonce=os.urandom(32),
            now=time.monotonic(),
            timing=STREAM_TIMING if role == "stream" else Timing(),
        )

    @classmethod
    def open(cls, path: Path, role: Literal["control", "stream"], *, timeout: float) -> Channel:
        """Connect to ``path`` and complete the handshake within ``timeout`` seconds.

        Raises:
            ChannelClosed: nobody listens there, or what listens does not complete the handshake.
        """
        end = time.monotonic() + timeout
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(str(path))
        except (OSError, ValueError) as error:
            sock.close()
            raise ChannelClosed(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        channel = cls(sock, role)
        try:
            channel._handshake(end)
        except BaseException:
            channel.close()
            raise
        return channel

    @property
    def window(self) -> int:
        """Bytes of file content the peer takes now (stream channels)."""
        return self._connection.window

    def send(self, message: AnyMessage) -> None:
        """Queue a message; ``flush`` writes it.

        Raises:
            ChannelClosed: the connection is closed.
            Unsendable: the message is too large.
        """
        with self._lock:
            try:
                self._connection.send(message)
            except LocalProtocolError as error:
                if self._connection.established:
                    raise Unsendable(str(error)) from error
                raise ChannelClosed("the connection is closed") from error

    def send_chunk(self, data: bytes) -> None:
        """Queue file bytes; the caller keeps within ``window`` and the size of a chunk.

        Raises:
            ChannelClosed: the connection is closed.
        """
        with self._lock:
            if not self._connection.established:
                raise ChannelClosed("the connection is closed")
            self._connection.send_chunk(data)

    def flush(self, *, timeout: float = 10.0) -> None:
        """Write all that is queued.

        Raises:
            ChannelClosed: the peer is gone, or took nothing for ``timeout`` seconds.
        """
        while True:
            with self._lock:
                buffers = self._connection.data_to_send()
            if not buffers:
                return
            try:
                self._outgoing.settimeout(timeout)
                self._outgoing.sendall(buffers[0] if len(buffers) == 1 else b"".join(buffers))
            except OSError as error:
                raise ChannelClosed(f"sending failed: {error.strerror or error}") from error

    def receive(self, *, timeout: float = POLL) -> list[Event]:
        """What arrived within ``timeout`` seconds; empty if nothing did.

        What arrived before the end is handed out first: a node says why before it closes.

        Raises:
            ChannelClosed: the connection ended.
        """
        if self._ended is not None:
            raise ChannelClosed(str(self._ended.error or "the node closed the connection"))
        with self._lock:
            deadline = self._connection.next_deadline()
        wait = min(timeout, POLL)
        if deadline is not None:
            wait = min(wait, deadline - time.monotonic())
        try:
            # Zero would mean "non-blocking", which fails instead of timing out.
            self._incoming.settimeout(max(0.001, wait))
            data = self._incoming.recv(RECEIVE)
        except TimeoutError:
            data = None
        except OSError as error:
            raise ChannelClosed(f"receiving failed: {error.strerror or error}") from error
        with self._lock:
            now = time.monotonic()
            if data is None:
                self._connection.handle_timer(now)
            elif data:
                self._connection.receive_data(data, now)
            else:
                self._connection.receive_eof(now)
            events = self._connection.events_received()
        return self._up_to_the_end(events)

    def shut(self) -> None:
        """Wake whoever blocks in ``receive`` or ``flush`` and let them end."""
        try:
            self._incoming.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The peer was faster; there is nobody left to wake.
            return

    def close(self) -> None:
        """Close both sockets; idempotent."""
        self.shut()
        self._incoming.close()
        self._outgoing.close()

    def _handshake(self, end: float) -> None:
        while True:
            self.flush()
            left = end - time.monotonic()
            if left <= 0:
                raise ChannelClosed("the node did not complete the handshake in time")
            events = self.receive(timeout=left)
            if any(isinstance(event, HandshakeDone) for event in events):
                self.flush()
                return

    def _up_to_the_end(self, events: list[Event]) -> list[Event]:
        for index, event in enumerate(events):
            if isinstance(event, Closed):
                self._ended = event
                if index == 0:
                    raise ChannelClosed(str(event.error or "the node closed the connection"))
                return events[:index]
        return events
