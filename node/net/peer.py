"""An authenticated control connection: one reader and one writer greenlet, a bounded outbox.

The reader turns bytes into messages; the writer is the only one that touches the sending side and
keeps the connection's timers. Neither calls upward while holding anything: what they learn goes to
the callbacks as one event at a time.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

import gevent
from gevent.event import Event as Flag

from node.net.wire import RECEIVE, Wire, is_reset
from proto.connection import Closed, MessageReceived
from proto.errors import LocalProtocolError
from proto.handshake import Identity
from proto.messages import AnyMessage, Bye

log = logging.getLogger("testring.net")

OUTBOX = 20_000
"""Messages waiting for one peer. A peer that lets more pile up is cut off: it rejoins and re-reports."""


class Peer:
    """Runs a control connection until it ends.

    Args:
        wire: a wire whose handshake is done; the peer owns it from here on.
        on_message: called for each message, in order.
        on_down: called once, with whether there is evidence of the peer's death and the reason.
    """

    def __init__(
        self,
        wire: Wire,
        on_message: Callable[[Peer, AnyMessage], None],
        on_down: Callable[[Peer, bool, str], None],
    ) -> None:
        if wire.peer is None:
            raise ValueError("the handshake comes first")
        self.identity: Identity = wire.peer
        self.since = time.monotonic()
        self.bye = False
        """It said that it is about to close."""
        self.replaced = False
        """A newer connection with the same node took its place."""
        self._wire = wire
        self._connection = wire.connection
        self._on_message = on_message
        self._on_down = on_down
        self._outbox: deque[AnyMessage] = deque()
        self._wake = Flag()
        self._closing = ""
        self._down = False
        self._reader = gevent.Greenlet(self._read)
        self._writer = gevent.Greenlet(self._write)

    @property
    def incarnation(self) -> int:
        """Which process of the node this is; 0 for one that does not count."""
        text = self.identity.incarnation
        return int(text) if text.isdigit() else 0

    @property
    def dialled(self) -> bool:
        """Whether this side opened the connection."""
        return self._wire.initiator

    def start(self) -> None:
        """Start both greenlets."""
        self._reader.start()
        self._writer.start()

    def send(self, message: AnyMessage) -> None:
        """Queue a message; a connection that is gone loses it."""
        if self._down or self._closing:
            return
        if len(self._outbox) >= OUTBOX:
            self._finish(False, f"{OUTBOX} messages wait for it and it does not read")
            return
        self._outbox.append(message)
        self._wake.set()

    def close(self, reason: str) -> None:
        """Close after what is queued was sent."""
        self._closing = reason or "closed"
        self._wake.set()

    def _read(self) -> None:
        for event in self._wire.take_events():
            self._dispatch(event)
        while not self._down:
            try:
                data = self._wire.sock.recv(RECEIVE)
            except OSError as error:
                self._finish(is_reset(error), f"receiving failed: {error.strerror or error}")
                return
            now = time.monotonic()
            if data:
                self._connection.receive_data(data, now)
            else:
                self._connection.receive_eof(now)
            self._take()
            self._wake.set()
            # A peer that always has more to say must not starve the others.
            gevent.sleep(0)

    def _write(self) -> None:
        while not self._down:
            deadline = self._connection.next_deadline()
            self._wake.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
            self._wake.clear()
            self._connection.handle_timer(time.monotonic())
            while self._outbox:
                self._send_one(self._outbox.popleft())
            closing = self._closing
            if closing:
                self._connection.close(closing)
            try:
                data = b"".join(self._connection.data_to_send())
                if data:
                    self._wire.sock.sendall(data)
            except OSError as error:
                self._finish(is_reset(error), f"sending failed: {error.strerror or error}")
                return
            if closing:
                self._finish(False, closing)
                return
            self._take()

    def _send_one(self, message: AnyMessage) -> None:
        try:
            self._connection.send(message)
        except LocalProtocolError as error:
            # A message no peer takes (too long) is a bug here; the connection need not die of it.
            log.error("%s for %s is not sent: %s", type(message).__name__, self.identity.node, error)

    def _take(self) -> None:
        for event in self._connection.events_received():
            self._dispatch(event)

    def _dispatch(self, event: object) -> None:
        if isinstance(event, MessageReceived):
            self.bye = self.bye or isinstance(event.message, Bye)
            self._on_message(self, event.message)
        elif isinstance(event, Closed):
            if event.error is None:
                self._finish(True, "it closed the connection")
            else:
                self._flush_error()
                self._finish(False, str(event.error))

    def _flush_error(self) -> None:
        """Best effort: tell the peer what it did wrong before closing."""
        try:
            self._wire.sock.sendall(b"".join(self._connection.data_to_send()))
        except OSError as error:
            log.debug("peer %s: the last word was not sent: %s", self.identity.node, error)

    def _finish(self, evidence: bool, reason: str) -> None:
        if self._down:
            return
        self._down = True
        self._wire.close()
        self._wake.set()
        self._on_down(self, evidence, reason)
