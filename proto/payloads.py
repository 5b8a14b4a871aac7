"""The typed payloads of frames other than MESSAGE, and how any typed payload is read.

They are msgpack maps like messages, but without a tag: the frame's type says which one it is.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from proto.errors import BadMessage, LocalProtocolError, one_line
from proto.messages import AnyMessage, decode, encode
from proto.voting import AppendEntries

Word = Annotated[str, Meta(max_length=256)]
Version = Annotated[int, Meta(ge=1, le=255)]
NONCE = 32
"""Bytes of a nonce."""
Nonce = Annotated[bytes, Meta(min_length=NONCE, max_length=NONCE)]
Role = Literal["node", "control", "stream"]


class Identity(Struct, frozen=True, kw_only=True):
    """What a side says of itself; part of what its proof covers."""

    role: Role
    """``node``: control connection between nodes; ``control``: requests; ``stream``: files."""
    node: Word
    address: Word = ""
    cluster: Word = ""
    epoch: Annotated[int, Meta(ge=0)] = 0
    incarnation: Word = ""


class Hello(Struct, frozen=True, kw_only=True):
    """Payload of HELLO: what the initiator speaks and who it says it is."""

    versions: Annotated[tuple[Version, ...], Meta(min_length=1, max_length=16)]
    nonce: Nonce
    identity: Identity


class Challenge(Struct, frozen=True, kw_only=True):
    """Payload of CHALLENGE: the version chosen and who the responder says it is."""

    version: Version
    nonce: Nonce
    identity: Identity


class ErrorReport(Struct, frozen=True):
    """Payload of ERROR: a code for programs and one line for people."""

    code: str
    reason: str = ""


Payload = TypeVar("Payload", bound=Struct)

# A peer may send text that is not UTF-8 or nest without end: msgspec raises these as they are.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read(kind: type[Payload], data: bytes) -> Payload:
    """The payload in ``data``.

    Raises:
        BadMessage: it is not msgpack, or not a ``kind``.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except _UNREADABLE as error:
        raise BadMessage(one_line(f"{kind.__name__}: {error}")) from error


def read_message(data: bytes) -> AnyMessage:
    """The message in ``data``.

    Raises:
        BadMessage: it is not msgpack, or not a message.
    """
    try:
        return decode(data)
    except _UNREADABLE as error:
        raise BadMessage(one_line(f"message: {error}")) from error


def write_message(message: AnyMessage) -> bytes:
    """The bytes of a message, read back once: what a peer refuses ends the connection.

    Not read back are records for a backup: opaque bytes and counts of this node's own log, hundreds in a
    message and the same for each backup.

    Raises:
        LocalProtocolError: a field is out of its bounds, of another type or not UTF-8.
    """
    try:
        payload = encode(message)
        if not isinstance(message, AppendEntries):
            read_message(payload)
    except (BadMessage, TypeError, ValueError, OverflowError) as error:
        name = type(message).__name__
        raise LocalProtocolError(one_line(f"{name} cannot be sent: {error}")) from error
    return payload
