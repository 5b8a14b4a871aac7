"""Frames: length-prefixed, bounded, and ignorant of what they carry.

The header is 16 bytes, big-endian::

     0               2       3       4               6               8
    +-------+-------+-------+-------+-------+-------+-------+-------+
    |  'C'     'D'  |version| type  |     flags     |   reserved    |
    +-------+-------+-------+-------+-------+-------+-------+-------+
    |           stream              |       payload length          |
    +-------+-------+-------+-------+-------+-------+-------+-------+
     8                              12                              16

``flags``, ``reserved`` and ``stream`` are 0 in version 1. The payload follows the header. Every
limit is checked on the header, before anything of the payload is stored.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from proto.errors import BadFrame, BadMagic, BadVersion, FrameTooLarge, LocalProtocolError

MAGIC = b"CD"
VERSION = 1
HEADER = struct.Struct("!2sBBHHII")

HTTP_STARTS = (b"GE", b"PO", b"HE", b"PU", b"DE", b"OP", b"PA", b"CO", b"HT")


class FrameType(IntEnum):
    """What a frame carries."""

    HELLO = 1
    PROOF = 2
    READY = 3
    MESSAGE = 4
    CHUNK = 5
    CREDIT = 6
    PING = 7
    PONG = 8
    ERROR = 9


@dataclass(frozen=True)
class Limits:
    """Bounds of one connection, in bytes. Larger ones cost that much memory per hostile peer."""

    handshake: int = 4096
    """All that may arrive before the handshake is done."""
    message: int = 4 << 20
    chunk: int = 256 << 10
    window: int = 1 << 20
    """File bytes in flight without credit. 4 MiB makes pings wait; see the transport measurements."""

    def of(self, kind: FrameType) -> int:
        """The largest payload of a frame of this type."""
        if kind is FrameType.MESSAGE:
            return self.message
        if kind is FrameType.CHUNK:
            return self.chunk
        if kind in FIXED_SIZES:
            return FIXED_SIZES[kind]
        return self.handshake


FIXED_SIZES = {
    FrameType.PROOF: 32,
    FrameType.READY: 0,
    FrameType.CREDIT: 4,
    FrameType.PING: 8,
    FrameType.PONG: 8,
}
"""Payload lengths that are not free to choose."""


@dataclass(frozen=True)
class Frame:
    """A type and its payload."""

    kind: FrameType
    payload: bytes


def header(kind: FrameType, length: int) -> bytes:
    """The 16 bytes before a payload of ``length`` bytes."""
    return HEADER.pack(MAGIC, VERSION, kind, 0, 0, 0, length)


def pack(kind: FrameType, payload: bytes, limits: Limits) -> bytes:
    """A whole frame.

    Raises:
        LocalProtocolError: the payload is larger than a peer takes.
    """
    if len(payload) > limits.of(kind):
        raise LocalProtocolError(
            f"a {kind.name} frame of {len(payload)} bytes; at most {limits.of(kind)} fit"
        )
    return header(kind, len(payload)) + payload


class FrameReader:
    """Cuts a byte stream into frames; any split of the stream gives the same frames."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._start = 0

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer) - self._start

    def feed(self, data: bytes | memoryview) -> None:
        """Add bytes as they arrived."""
        if self._start:
            # Once per read, not once per frame: cutting the front off moves the rest.
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None until more bytes come.

        Raises:
            RemoteProtocolError: the header breaks a rule; the stream is unusable from here on.
        """
        available = len(self._buffer) - self._start
        if available < HEADER.size:
            self._check_start(available)
            return None
        magic, version, number, flags, reserved, stream, length = HEADER.unpack_from(
            self._buffer, self._start
        )
        if magic != MAGIC:
            raise self._not_ours()
        if version != VERSION:
            raise BadVersion(f"the frame is of version {version}; this side speaks {VERSION}")
        try:
            kind = FrameType(number)
        except ValueError:
            raise BadFrame(f"frame type {number} is not known") from None
        if flags or reserved or stream:
            raise BadFrame("flags, reserved and stream must be 0 in version 1")
        if length > self._limits.of(kind):
            raise FrameTooLarge(
                f"a {kind.name} frame of {length} bytes; at most {self._limits.of(kind)} are taken"
            )
        if kind in FIXED_SIZES and length != FIXED_SIZES[kind]:
            raise BadFrame(f"a {kind.name} frame carries {FIXED_SIZES[kind]} bytes, not {length}")
        if available < HEADER.size + length:
            return None
        start = self._start + HEADER.size
        self._start = start + length
        with memoryview(self._buffer) as view:
            return Frame(kind, bytes(view[start : self._start]))

    def _check_start(self, available: int) -> None:
        """Name a foreign protocol by its first bytes, without waiting for a whole header."""
        seen = bytes(self._buffer[self._start : self._start + min(available, len(MAGIC))])
        if not MAGIC.startswith(seen):
            raise self._not_ours()

    def _not_ours(self) -> BadMagic:
        seen = bytes(self._buffer[self._start : self._start + 8])
        if seen[:2] in HTTP_STARTS:
            return BadMagic("the peer speaks HTTP; this port speaks CDProto")
        return BadMagic(f"the peer does not speak CDProto (it began with {seen.hex(' ')})")
