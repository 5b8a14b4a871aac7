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
limit is checked on the header, before anything of the payload is waited for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from proto.errors import (
    BadFrame,
    BadMagic,
    BadVersion,
    FrameTooLarge,
    HandshakeTooLong,
    LocalProtocolError,
)

MAGIC = b"CD"
HEADER = struct.Struct("!2sBBHHII")


class FrameType(IntEnum):
    """What a frame carries."""

    HELLO = 1
    CHALLENGE = 2
    PROOF = 3
    MESSAGE = 4
    CHUNK = 5
    CREDIT = 6
    PING = 7
    PONG = 8
    ERROR = 9


UNAGREED = 0
"""The version of frames that are read before one is agreed; their layout never changes."""

UNVERSIONED = frozenset({FrameType.HELLO, FrameType.CHALLENGE, FrameType.ERROR})
"""Types that always carry version 0."""

FIXED_SIZES = {FrameType.PROOF: 32, FrameType.CREDIT: 4, FrameType.PING: 8, FrameType.PONG: 8}
"""Payload lengths that are not free to choose."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one connection, in bytes, equal on both sides. The defaults are those of version 1.

    Danger: larger ones cost that much memory per hostile peer.
    """

    handshake: int = 4096
    """All that may arrive before the handshake is done, headers included."""
    message: int = 4 << 20
    chunk: int = 256 << 10
    window: int = 1 << 20
    """File bytes in flight without credit. 4 MiB makes pings wait."""

    def __post_init__(self) -> None:
        for name in ("handshake", "message", "chunk", "window"):
            if not 0 < getattr(self, name) < 1 << 32:
                raise ValueError(f"the limit {name!r} is {getattr(self, name)}, not 1 to 2**32 - 1 bytes")

    def of(self, kind: FrameType) -> int:
        """The largest payload of a frame of this type."""
        if kind is FrameType.MESSAGE:
            return self.message
        if kind is FrameType.CHUNK:
            return self.chunk
        return FIXED_SIZES.get(kind, self.handshake - HEADER.size)


class Frame(NamedTuple):
    """A type and its payload."""

    kind: FrameType
    payload: bytes


def header(kind: FrameType, length: int, version: int) -> bytes:
    """The 16 bytes before a payload of ``length`` bytes."""
    return HEADER.pack(MAGIC, UNAGREED if kind in UNVERSIONED else version, kind, 0, 0, 0, length)


def pack(kind: FrameType, payload: bytes, limits: Limits, version: int) -> bytes:
    """A whole frame.

    Raises:
        LocalProtocolError: the payload is larger than a peer takes.
    """
    if len(payload) > limits.of(kind):
        raise LocalProtocolError(
            f"a {kind.name} frame of {len(payload)} bytes; at most {limits.of(kind)} fit"
        )
    return header(kind, len(payload), version) + payload


class FrameReader:
    """Cuts a byte stream into frames; any split of the stream gives the same frames.

    It starts with a stranger, who may send ``limits.handshake`` bytes in all, and without an agreed
    version. ``agree`` and ``trust`` act from the next frame on.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._start = 0
        self._version = UNAGREED
        self._stranger = True
        self._taken = 0

    def agree(self, version: int) -> None:
        """Frames that have a version must now be of this one."""
        self._version = version

    def trust(self) -> None:
        """The peer is authenticated: only the limits of each frame apply from here on."""
        self._stranger = False

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

    def drop(self) -> None:
        """Free what is buffered; the stream is over."""
        self._buffer = bytearray()
        self._start = 0

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None until more bytes come.

        Raises:
            RemoteProtocolError: the header breaks a rule; the stream is unusable from here on.
        """
        available = len(self._buffer) - self._start - HEADER.size
        if available < 0:
            return None
        magic, version, number, flags, reserved, stream, length = HEADER.unpack_from(
            self._buffer, self._start
        )
        if magic != MAGIC:
            raise self._foreign()
        kind = _TYPES.get(number)
        if kind is None:
            raise BadFrame(f"frame type {number} is not known")
        if version != (UNAGREED if kind in UNVERSIONED else self._version):
            raise BadVersion(
                f"a {kind.name} frame of version {version}; agreed is {self._version or 'none yet'}"
            )
        if flags or reserved or stream:
            raise BadFrame("flags, reserved and stream must be 0 in version 1")
        self._check_length(kind, length)
        if available < length:
            return None
        start = self._start + HEADER.size
        self._start = start + length
        if self._stranger:
            self._taken += HEADER.size + length
        with memoryview(self._buffer) as view:
            return Frame(kind, bytes(view[start : self._start]))

    def _check_length(self, kind: FrameType, length: int) -> None:
        if length > self._limits.of(kind):
            raise FrameTooLarge(
                f"a {kind.name} frame of {length} bytes; at most {self._limits.of(kind)} are taken"
            )
        if kind in FIXED_SIZES and length != FIXED_SIZES[kind]:
            raise BadFrame(f"a {kind.name} frame carries {FIXED_SIZES[kind]} bytes, not {length}")
        if kind is FrameType.CHUNK and not length:
            raise BadFrame("a CHUNK frame carries at least 1 byte")
        if self._stranger and self._taken + HEADER.size + length > self._limits.handshake:
            raise HandshakeTooLong(f"more than {self._limits.handshake} bytes before the handshake was done")

    def foreign(self) -> BadMagic | None:
        """The error if the bytes so far, too few for a header, cannot be CDProto.

        Asked at the end of the stream or of the peer's time only: before that more bytes may come,
        and an error that named fewer of them would depend on how the stream was split.
        """
        seen = bytes(self._buffer[self._start : self._start + len(MAGIC)])
        return None if MAGIC.startswith(seen) else self._foreign()

    def _foreign(self) -> BadMagic:
        seen = bytes(self._buffer[self._start : self._start + HEADER.size])
        return BadMagic(f"the peer {_speaks(seen)}; this port speaks CDProto")


_TYPES = {int(kind): kind for kind in FrameType}

_FOREIGN = (
    ((b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT "), "HTTP"),
    ((b"PRI * HTTP/2", b"HTTP/"), "HTTP"),
    ((b"\x16\x03",), "TLS"),
    ((b"SSH-",), "SSH"),
)


def _speaks(seen: bytes) -> str:
    for starts, name in _FOREIGN:
        if seen.startswith(starts):
            return f"speaks {name} ({seen!r})"
    return f"began with {seen!r}"
