"""An attempt's texts as one small blob: bounded, and compressed where that pays."""

from __future__ import annotations

import zlib

import msgspec
from msgspec import Struct

TEXT_KEPT = 64 << 10
"""Characters kept of a traceback, an output or a build log: half from the head, half from the tail."""
MESSAGE_KEPT = 4 << 10
_WORTH_COMPRESSING = 300
"""Bytes; below this zlib costs more than it saves."""
_RAW, _ZLIB = b"r", b"z"


class Detail(Struct, frozen=True, kw_only=True, array_like=True):
    """What an attempt says beside its outcome."""

    message: str = ""
    traceback: str = ""
    output: str = ""
    reports: tuple[str, ...] = ()
    unconfirmed: bool = False
    split_sensitive: bool = False


NOTHING = Detail()
_decoder = msgspec.msgpack.Decoder(Detail)
_encoder = msgspec.msgpack.Encoder()


def bounded(text: str, most: int = TEXT_KEPT) -> str:
    """``text``, or its head and tail around a line that says how much is missing."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[len(text) - half :]}"


def pack(detail: Detail) -> bytes | None:
    """The blob; None when there is nothing to say."""
    if detail == NOTHING:
        return None
    data = _encoder.encode(detail)
    if len(data) < _WORTH_COMPRESSING:
        return _RAW + data
    return _ZLIB + zlib.compress(data, 1)


def unpack(blob: bytes | None) -> Detail:
    """The detail in a blob that ``pack`` made."""
    if blob is None:
        return NOTHING
    return _decoder.decode(zlib.decompress(blob[1:]) if blob[:1] == _ZLIB else blob[1:])
