"""Two real machines joined in memory, and the pieces tests build byte streams from."""

from __future__ import annotations

from proto.connection import Connection, Event, Identity, Limits, Timing
from proto.frames import FrameType, header

SECRET = b"a shared secret"
INITIATOR_NONCE = bytes(range(32))
RESPONDER_NONCE = bytes(range(32, 64))
ALICE = Identity(role="node", node="alice", address="10.0.0.1:7000", cluster="c", epoch=3, incarnation="i1")
BOB = Identity(role="node", node="bob", address="10.0.0.2:7000", cluster="c", epoch=4, incarnation="i2")


def identity(role: str, node: str = "alice") -> Identity:
    """An identity of one role."""
    return Identity(role=role, node=node)  # type: ignore[arg-type]


def initiator(
    *,
    local: Identity = ALICE,
    secret: bytes = SECRET,
    nonce: bytes = INITIATOR_NONCE,
    now: float = 0.0,
    limits: Limits | None = None,
    timing: Timing | None = None,
) -> Connection:
    """The side that dials."""
    return Connection(
        initiator=True, local=local, secret=secret, nonce=nonce, now=now, limits=limits, timing=timing
    )


def responder(
    *,
    local: Identity = BOB,
    secret: bytes = SECRET,
    nonce: bytes = RESPONDER_NONCE,
    now: float = 0.0,
    limits: Limits | None = None,
    timing: Timing | None = None,
) -> Connection:
    """The side that is dialled."""
    return Connection(
        initiator=False, local=local, secret=secret, nonce=nonce, now=now, limits=limits, timing=timing
    )


class Pair:
    """An initiator and a responder; ``pump`` carries bytes until neither has more to say.

    ``captured`` holds every buffer as (sender, bytes), in order.
    """

    def __init__(self, left: Connection, right: Connection) -> None:
        self.left = left
        self.right = right
        self.captured: list[tuple[str, bytes]] = []

    def pump(self, now: float = 0.0) -> tuple[list[Event], list[Event]]:
        """Deliver everything both ways; what each side learnt."""
        moved = True
        while moved:
            moved = False
            for name, source, target in (
                ("initiator", self.left, self.right),
                ("responder", self.right, self.left),
            ):
                data = b"".join(source.data_to_send())
                if data:
                    moved = True
                    self.captured.append((name, data))
                    target.receive_data(data, now)
        return self.left.events_received(), self.right.events_received()


def open_pair(role: str = "node", limits: Limits | None = None, timing: Timing | None = None) -> Pair:
    """Two machines whose handshake is done and whose events are taken."""
    local = ALICE if role == "node" else identity(role)
    pair = Pair(initiator(local=local, limits=limits, timing=timing), responder(limits=limits, timing=timing))
    pair.pump()
    assert pair.left.established
    assert pair.right.established
    return pair


def frame(kind: FrameType, payload: bytes = b"", version: int = 1) -> bytes:
    """A frame's bytes without any check."""
    return header(kind, len(payload), version) + payload


def raw_header(
    *, magic: bytes = b"CD", version: int = 1, kind: int = 4, flags: int = 0, stream: int = 0, length: int = 0
) -> bytes:
    """A header with any values."""
    return (
        magic
        + bytes([version, kind])
        + flags.to_bytes(2, "big")
        + b"\0\0"
        + stream.to_bytes(4, "big")
        + length.to_bytes(4, "big")
    )


def described(events: list[Event]) -> list[object]:
    """Events in a form that compares by value, errors included."""
    return [
        (type(event).__name__, type(event.error).__name__, str(event.error))
        if hasattr(event, "error")
        else event
        for event in events
    ]
