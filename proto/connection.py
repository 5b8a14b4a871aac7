"""One CDProto connection without IO: bytes in, events out, bytes to send, and a deadline.

The caller moves bytes and owns the clock::

    connection.receive_data(data, now)      # or receive_eof(now), or handle_timer(now)
    for event in connection.events_received(): ...
    for data in connection.data_to_send(): sock.sendall(data)
    wait until more data or connection.next_deadline()

``events_received`` and ``data_to_send`` empty what they return. After ``Closed`` nothing comes.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from proto.chunks import ReceiveWindow, SendWindow
from proto.errors import (
    BadMessage,
    HandshakeTimeout,
    HandshakeTooLong,
    LocalProtocolError,
    PeerReported,
    ProtocolError,
    Silence,
    UnexpectedFrame,
)
from proto.frames import HEADER, Frame, FrameReader, FrameType, Limits, header, pack
from proto.handshake import Handshake, Identity, State
from proto.liveness import Due, Liveness, Timing
from proto.messages import AnyMessage, decode, encode


class HandshakeDone(Struct, frozen=True):
    """Both sides proved themselves; messages may flow."""

    peer: Identity


class MessageReceived(Struct, frozen=True):
    """One typed message."""

    message: AnyMessage


class ChunkReceived(Struct, frozen=True):
    """File bytes; give credit back with ``grant`` once they are consumed."""

    data: bytes


class CreditReceived(Struct, frozen=True):
    """``window`` bytes may be sent now."""

    window: int


class PeerSilent(Struct, frozen=True):
    """Nothing was heard for ``Timing.silence_after``."""


class PeerHeard(Struct, frozen=True):
    """A silent peer spoke again."""


class Closed(Struct, frozen=True):
    """The connection is over; ``error`` is None if the peer just closed it."""

    error: ProtocolError | None


Event: TypeAlias = (
    HandshakeDone | MessageReceived | ChunkReceived | CreditReceived | PeerSilent | PeerHeard | Closed
)


class _PeerError(Struct, frozen=True):
    """Payload of an ERROR frame, as msgpack."""

    code: str
    reason: str


class Connection:
    """See the module. ``secret`` may be empty where the transport itself is guarded (Unix sockets)."""

    def __init__(
        self,
        *,
        initiator: bool,
        local: Identity,
        secret: bytes,
        nonce: bytes,
        now: float,
        limits: Limits | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._timing = timing or Timing()
        self._reader = FrameReader(self._limits)
        self._handshake = Handshake(initiator=initiator, local=local, secret=secret, nonce=nonce)
        self._handshake_deadline = now + self._timing.handshake
        self._early = 0
        self._liveness = Liveness(self._timing, now)
        self._send_window = SendWindow(self._limits.window)
        self._receive_window = ReceiveWindow(self._limits.window)
        self._events: list[Event] = []
        self._out: list[bytes] = []
        self._closed = False
        for kind, payload in self._handshake.start():
            self._queue(kind, payload)

    @property
    def established(self) -> bool:
        """Whether the handshake is done and the connection still open."""
        return self._handshake.state is State.DONE and not self._closed

    @property
    def window(self) -> int:
        """File bytes that may be sent now."""
        return self._send_window.available

    # --- in ---------------------------------------------------------------------------------

    def receive_data(self, data: bytes | memoryview, now: float) -> None:
        """Take bytes as they came from the socket; never raises for what a peer does."""
        if self._closed:
            return
        if self._liveness.heard(now):
            self._events.append(PeerHeard())
        try:
            self._reader.feed(data)
            while (frame := self._reader.next_frame()) is not None:
                self._receive_frame(frame)
            if self._handshake.state is not State.DONE:
                self._check_early(self._early + self._reader.pending)
        except ProtocolError as error:
            self._fail(error)

    def receive_eof(self, now: float) -> None:
        """The peer closed its side."""
        self._liveness.heard(now)
        self._end(None)

    def handle_timer(self, now: float) -> None:
        """The deadline has come (harmless if it has not)."""
        if self._closed:
            return
        if self._handshake.state is not State.DONE:
            if now >= self._handshake_deadline:
                self._fail(HandshakeTimeout(f"no handshake within {self._timing.handshake:g} s"))
            return
        for due in self._liveness.due(now):
            if due is Due.PING:
                self._queue(FrameType.PING, int(now * 1e6).to_bytes(8, "big"))
            elif due is Due.SILENT:
                self._events.append(PeerSilent())
            else:
                self._fail(Silence(f"nothing heard for {self._timing.close_after:g} s"))

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is to be called, on the caller's clock; None when closed."""
        if self._closed:
            return None
        if self._handshake.state is not State.DONE:
            return self._handshake_deadline
        return self._liveness.next_deadline()

    def events_received(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    # --- out --------------------------------------------------------------------------------

    def send(self, message: AnyMessage) -> None:
        """Queue a message.

        Raises:
            LocalProtocolError: before the handshake is done, or larger than a frame.
        """
        self._check_established()
        self._out.append(pack(FrameType.MESSAGE, encode(message), self._limits))

    def send_chunk(self, data: bytes) -> None:
        """Queue file bytes.

        Raises:
            LocalProtocolError: more than a chunk, or than there is credit for.
        """
        self._check_established()
        if len(data) > self._limits.chunk:
            raise LocalProtocolError(f"a chunk of {len(data)} bytes; at most {self._limits.chunk} fit")
        self._send_window.take(len(data))
        # Two buffers: joining would copy a quarter of a megabyte for sixteen bytes.
        self._out += (header(FrameType.CHUNK, len(data)), data)

    def grant(self, count: int) -> None:
        """Give the peer credit for consumed bytes."""
        self._check_established()
        self._receive_window.grant(count)
        self._queue(FrameType.CREDIT, count.to_bytes(4, "big"))

    def close(self, reason: str = "") -> None:
        """End this side; with a reason the peer is told."""
        if not self._closed and reason:
            self._queue_error("closed", reason)
        self._closed = True

    def data_to_send(self) -> list[bytes]:
        """Buffers for the socket, in order."""
        out, self._out = self._out, []
        return out

    # --- inside -----------------------------------------------------------------------------

    def _receive_frame(self, frame: Frame) -> None:
        if frame.kind is FrameType.ERROR:
            raise _reported(frame.payload)
        if self._handshake.state is not State.DONE:
            self._shake(frame)
        elif frame.kind is FrameType.MESSAGE:
            try:
                self._events.append(MessageReceived(decode(frame.payload)))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadMessage(str(error)) from error
        elif frame.kind is FrameType.CHUNK:
            self._receive_window.arrived(len(frame.payload))
            self._events.append(ChunkReceived(frame.payload))
        elif frame.kind is FrameType.CREDIT:
            self._send_window.add(int.from_bytes(frame.payload, "big"))
            self._events.append(CreditReceived(self._send_window.available))
        elif frame.kind is FrameType.PING:
            self._queue(FrameType.PONG, frame.payload)
        elif frame.kind is not FrameType.PONG:
            raise UnexpectedFrame(f"{frame.kind.name} after the handshake")

    def _shake(self, frame: Frame) -> None:
        self._early += HEADER.size + len(frame.payload)
        self._check_early(self._early)
        for kind, payload in self._handshake.receive(frame):
            self._queue(kind, payload)
        if self._handshake.state is State.DONE and self._handshake.peer is not None:
            self._events.append(HandshakeDone(self._handshake.peer))

    def _check_early(self, count: int) -> None:
        if count > self._limits.handshake:
            raise HandshakeTooLong(f"more than {self._limits.handshake} bytes before the handshake was done")

    def _queue(self, kind: FrameType, payload: bytes) -> None:
        self._out.append(pack(kind, payload, self._limits))

    def _queue_error(self, code: str, reason: str) -> None:
        body = msgspec.msgpack.encode(_PeerError(code, reason[:500]))
        self._queue(FrameType.ERROR, body)

    def _fail(self, error: ProtocolError) -> None:
        if not isinstance(error, PeerReported):
            self._queue_error(error.code, str(error))
        self._end(error)

    def _end(self, error: ProtocolError | None) -> None:
        if not self._closed:
            self._closed = True
            self._events.append(Closed(error))

    def _check_established(self) -> None:
        if not self.established:
            raise LocalProtocolError("the connection is not established")


def _reported(payload: bytes) -> ProtocolError:
    try:
        said = msgspec.msgpack.decode(payload, type=_PeerError)
    except msgspec.DecodeError as error:
        return BadMessage(f"ERROR: {error}")
    return PeerReported(said.code, said.reason)
