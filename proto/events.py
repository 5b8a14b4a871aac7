"""What a connection tells its owner."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from proto.errors import ProtocolError
from proto.messages import AnyMessage
from proto.payloads import Identity


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
