"""One CDProto connection without IO: bytes in, events out, bytes to send, and a deadline.

The caller moves bytes and owns the clock::

    connection.receive_data(data, now)      # or receive_eof(now), or handle_timer(now)
    for event in connection.events_received(): ...
    for data in connection.data_to_send(): sock.sendall(data)
    wait until more data or connection.next_deadline()

``events_received`` and ``data_to_send`` empty what they return. After ``Closed`` nothing comes.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from proto.chunks import ReceiveWindow, SendWindow
from proto.errors import (
    CLOSED,
    BadMessage,
    HandshakeTimeout,
    LocalProtocolError,
    PeerReported,
    ProtocolError,
    RemoteProtocolError,
    Silence,
    UnexpectedFrame,
    one_line,
)
from proto.events import (
    ChunkReceived,
    Closed,
    CreditReceived,
    Event,
    HandshakeDone,
    MessageReceived,
    PeerHeard,
    PeerSilent,
)
from proto.frames import Frame, FrameReader, FrameType, Limits, header, pack
from proto.handshake import Handshake, Side, State
from proto.liveness import Due, Liveness, Timing
from proto.messages import AnyMessage
from proto.payloads import ErrorReport, Identity, read, read_message, write_message

__all__ = [
    "ChunkReceived",
    "Closed",
    "Connection",
    "CreditReceived",
    "Event",
    "HandshakeDone",
    "Identity",
    "Limits",
    "MessageReceived",
    "PeerHeard",
    "PeerSilent",
    "Timing",
]

STREAM_ONLY = frozenset({FrameType.CHUNK, FrameType.CREDIT})
"""Frames that have a place only on a connection whose initiator's role is ``stream``."""


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
        self._local = local
        self._reader = FrameReader(self._limits)
        self._handshake = Handshake(
            initiator=initiator, local=local, secret=secret, nonce=nonce, limits=self._limits
        )
        self._handshake_deadline = now + self._timing.handshake_timeout
        self._liveness = Liveness(self._timing, now)
        self._send_window = SendWindow(self._limits.window)
        self._receive_window = ReceiveWindow(self._limits.window)
        self._pings = 0
        self._pong: bytes | None = None
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
        except (RemoteProtocolError, PeerReported) as error:
            self._fail(error)

    def receive_eof(self, now: float) -> None:
        """The peer closed its side."""
        self._end(self._reader.foreign())

    def handle_timer(self, now: float) -> None:
        """The deadline has come (harmless if it has not)."""
        if self._closed:
            return
        if self._handshake.state is not State.DONE:
            if now >= self._handshake_deadline:
                timeout = HandshakeTimeout(f"no handshake within {self._timing.handshake_timeout:g} s")
                self._fail(self._reader.foreign() or timeout)
            return
        for due in self._liveness.due(now):
            if due is Due.PING:
                self._pings += 1
                self._queue(FrameType.PING, self._pings.to_bytes(8, "big"))
            elif due is Due.SILENT:
                self._events.append(PeerSilent())
            else:
                self._fail(Silence(f"nothing heard for {self._timing.close_after:g} s"))

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` is to be called, on the caller's clock; None for never."""
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
            LocalProtocolError: before the handshake is done, or the message is one that the peer
                would refuse: larger than a frame, a field out of its bounds, text that is not UTF-8.
        """
        self._check_established()
        self._queue(FrameType.MESSAGE, write_message(message))

    def send_chunk(self, data: bytes) -> None:
        """Queue file bytes.

        Raises:
            LocalProtocolError: none, more than a chunk, or than there is credit for; or the
                connection is not a file stream.
        """
        self._check_established()
        if not self._is_stream():
            raise LocalProtocolError("chunks are sent on connections of the role 'stream' only")
        if not 0 < len(data) <= self._limits.chunk:
            raise LocalProtocolError(f"a chunk of {len(data)} bytes; 1 to {self._limits.chunk} fit")
        self._send_window.take(len(data))
        # Two buffers: joining would copy a quarter of a megabyte for sixteen bytes.
        self._out += (header(FrameType.CHUNK, len(data), self._handshake.version), data)

    def grant(self, count: int) -> None:
        """Give the peer credit for consumed bytes.

        Raises:
            LocalProtocolError: none, or more than arrived.
        """
        self._check_established()
        self._receive_window.grant(count)
        self._queue(FrameType.CREDIT, count.to_bytes(4, "big"))

    def close(self, reason: str = "") -> None:
        """End this side; with a reason the peer is told."""
        if not self._closed and reason:
            self._report(CLOSED, reason)
        self._shut()

    def data_to_send(self) -> list[bytes]:
        """Buffers for the socket, in order."""
        if self._pong is not None:
            self._queue(FrameType.PONG, self._pong)
            self._pong = None
        out, self._out = self._out, []
        return out

    # --- inside -----------------------------------------------------------------------------

    def _receive_frame(self, frame: Frame) -> None:
        if frame.kind is FrameType.ERROR:
            report = read(ErrorReport, frame.payload)
            raise PeerReported(report.code, report.reason)
        action = OPEN.get(frame.kind)
        if self._handshake.state is not State.DONE:
            self._shake(frame)
        elif action is None:
            raise UnexpectedFrame(f"{frame.kind.name} after the handshake")
        elif frame.kind in STREAM_ONLY and not self._is_stream():
            raise UnexpectedFrame(f"{frame.kind.name} on a connection that is not a file stream")
        else:
            action(self, frame.payload)

    def _shake(self, frame: Frame) -> None:
        answers = self._handshake.receive(frame)
        self._reader.agree(self._handshake.version)
        for kind, payload in answers:
            self._queue(kind, payload)
        peer = self._handshake.peer
        if self._handshake.state is State.DONE and peer is not None:
            self._reader.trust()
            self._events.append(HandshakeDone(peer))

    def _on_message(self, payload: bytes) -> None:
        self._events.append(MessageReceived(read_message(payload)))

    def _on_chunk(self, payload: bytes) -> None:
        self._receive_window.arrived(len(payload))
        self._events.append(ChunkReceived(payload))

    def _on_credit(self, payload: bytes) -> None:
        self._send_window.add(int.from_bytes(payload, "big"))
        self._events.append(CreditReceived(self._send_window.available))

    def _on_ping(self, payload: bytes) -> None:
        # One answer covers all pings before it, so a flood of them cannot fill the way out.
        self._pong = payload

    def _on_pong(self, payload: bytes) -> None:
        if not 0 < int.from_bytes(payload, "big") <= self._pings:
            raise BadMessage("PONG answers a ping that was never sent")

    def _queue(self, kind: FrameType, payload: bytes) -> None:
        self._out.append(pack(kind, payload, self._limits, self._handshake.version))

    def _report(self, code: str, reason: str) -> None:
        self._queue(FrameType.ERROR, msgspec.msgpack.encode(ErrorReport(code, one_line(reason))))

    def _fail(self, error: ProtocolError) -> None:
        if not isinstance(error, PeerReported):
            self._report(error.code, str(error))
        self._end(error)

    def _end(self, error: ProtocolError | None) -> None:
        if not self._closed:
            self._events.append(Closed(error))
        self._shut()

    def _shut(self) -> None:
        self._closed = True
        # ERROR is the last frame; nothing of the peer's is read after it.
        self._pong = None
        self._reader.drop()

    def _is_stream(self) -> bool:
        initiator = self._local if self._handshake.side is Side.INITIATOR else self._handshake.peer
        return initiator is not None and initiator.role == "stream"

    def _check_established(self) -> None:
        if not self.established:
            raise LocalProtocolError("the connection is not established")


OPEN: dict[FrameType, Callable[[Connection, bytes], None]] = {
    FrameType.MESSAGE: Connection._on_message,
    FrameType.CHUNK: Connection._on_chunk,
    FrameType.CREDIT: Connection._on_credit,
    FrameType.PING: Connection._on_ping,
    FrameType.PONG: Connection._on_pong,
}
"""What is done with a frame after the handshake. A missing key is the protocol error."""
