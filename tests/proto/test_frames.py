"""Cutting a stream into frames; every limit is judged on the header alone."""

from __future__ import annotations

import pytest

from proto.errors import (
    BadFrame,
    BadMagic,
    BadVersion,
    FrameTooLarge,
    HandshakeTooLong,
    LocalProtocolError,
    RemoteProtocolError,
)
from proto.frames import HEADER, Frame, FrameReader, FrameType, Limits, header, pack
from tests.proto.pairs import frame, raw_header


def opened(limits: Limits | None = None) -> FrameReader:
    reader = FrameReader(limits or Limits())
    reader.agree(1)
    reader.trust()
    return reader


def test_the_header_is_as_drawn() -> None:
    assert header(FrameType.MESSAGE, 0x01020304, 1) == bytes.fromhex("4344 0104 0000 0000 00000000 01020304")
    assert header(FrameType.HELLO, 5, 1)[2] == 0
    assert HEADER.size == 16


def test_frames_come_out_whole_and_in_order() -> None:
    reader = opened()
    reader.feed(frame(FrameType.MESSAGE, b"one") + frame(FrameType.CHUNK, b"two")[:-1])
    assert reader.next_frame() == Frame(FrameType.MESSAGE, b"one")
    assert reader.next_frame() is None
    assert reader.pending == 16 + 2
    reader.feed(b"o")
    assert reader.next_frame() == Frame(FrameType.CHUNK, b"two")
    assert reader.next_frame() is None
    assert reader.pending == 0


def test_dropping_frees_what_waits() -> None:
    reader = opened()
    reader.feed(frame(FrameType.MESSAGE, b"one")[:-1])
    reader.drop()
    assert reader.pending == 0
    assert reader.next_frame() is None


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (raw_header(kind=0), BadFrame, "type 0 is not known"),
        (raw_header(kind=77), BadFrame, "type 77 is not known"),
        (raw_header(flags=1), BadFrame, "must be 0"),
        (raw_header(stream=9), BadFrame, "must be 0"),
        (b"CD\x01\x04\0\0\0\x01" + bytes(8), BadFrame, "must be 0"),
        (raw_header(version=2), BadVersion, "a MESSAGE frame of version 2; agreed is 1"),
        (raw_header(kind=FrameType.ERROR, version=1), BadVersion, "a ERROR frame of version 1"),
        (raw_header(length=(4 << 20) + 1), FrameTooLarge, "4194305 bytes; at most 4194304"),
        (raw_header(kind=FrameType.CHUNK, length=(256 << 10) + 1), FrameTooLarge, "at most 262144"),
        (raw_header(kind=FrameType.CHUNK), BadFrame, "at least 1 byte"),
        (raw_header(kind=FrameType.PING, length=7), BadFrame, "PING frame carries 8 bytes, not 7"),
        (raw_header(kind=FrameType.PONG, length=9), FrameTooLarge, "at most 8"),
        (raw_header(kind=FrameType.CREDIT, length=0), BadFrame, "4 bytes"),
        (raw_header(kind=FrameType.ERROR, version=0, length=4081), FrameTooLarge, "at most 4080"),
        (raw_header(length=0xFFFFFFFF), FrameTooLarge, "4294967295"),
    ],
)
def test_a_bad_header_is_refused_before_its_payload(
    data: bytes, error: type[RemoteProtocolError], says: str
) -> None:
    reader = opened()
    reader.feed(data)
    with pytest.raises(error, match=says):
        reader.next_frame()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", r"the peer speaks HTTP \(b'GET / HTTP/1\.1\\r\\n'\)"),
        (b"PRI * HTTP/2.0\r\n\r\n", "speaks HTTP"),
        (b"HTTP/1.1 400 Bad Request", "speaks HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef", "speaks TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "speaks SSH"),
        (b"\x00\x01\x02\x03 random bytes", r"began with b'\\x00\\x01\\x02\\x03 random"),
    ],
)
def test_another_protocol_is_named(data: bytes, says: str) -> None:
    reader = FrameReader(Limits())
    reader.feed(data)
    with pytest.raises(BadMagic, match=says):
        reader.next_frame()


@pytest.mark.parametrize(
    ("data", "foreign"), [(b"", False), (b"C", False), (b"CD\1", False), (b"hi\n", True)]
)
def test_a_short_stream_is_judged_at_its_end(data: bytes, foreign: bool) -> None:
    reader = FrameReader(Limits())
    reader.feed(data)
    assert reader.next_frame() is None
    assert (reader.foreign() is not None) is foreign


def test_a_stranger_may_send_4096_bytes_in_all() -> None:
    reader = FrameReader(Limits())
    reader.feed(frame(FrameType.HELLO, bytes(2000)) + frame(FrameType.HELLO, bytes(4096 - 2000 - 32)))
    assert reader.next_frame() is not None
    assert reader.next_frame() is not None
    reader.feed(raw_header(kind=FrameType.ERROR, version=0))
    with pytest.raises(HandshakeTooLong, match="more than 4096 bytes"):
        reader.next_frame()


def test_a_strangers_large_frame_is_refused_by_its_header() -> None:
    reader = FrameReader(Limits())
    reader.agree(1)
    reader.feed(raw_header(length=4 << 20))
    with pytest.raises(HandshakeTooLong):
        reader.next_frame()


def test_before_a_version_is_agreed_nothing_has_one() -> None:
    reader = FrameReader(Limits())
    reader.feed(raw_header(version=1))
    with pytest.raises(BadVersion, match="agreed is none yet"):
        reader.next_frame()


def test_packing_refuses_what_a_peer_would_refuse() -> None:
    limits = Limits(message=10)
    assert pack(FrameType.MESSAGE, bytes(10), limits, 1) == frame(FrameType.MESSAGE, bytes(10))
    with pytest.raises(LocalProtocolError, match="a MESSAGE frame of 11 bytes; at most 10 fit"):
        pack(FrameType.MESSAGE, bytes(11), limits, 1)


@pytest.mark.parametrize("name", ["handshake", "message", "chunk", "window"])
def test_limits_are_checked(name: str) -> None:
    for value in (0, 1 << 32):
        with pytest.raises(ValueError, match=name):
            Limits(**{name: value})


def test_many_small_frames_cost_linear_time() -> None:
    """The buffer's front is cut once per read: twenty times the frames take nowhere near 400 times."""
    import time

    def seconds(count: int) -> float:
        reader = opened()
        reader.feed(frame(FrameType.MESSAGE, b"x" * 20) * count)
        begin = time.perf_counter()
        while reader.next_frame() is not None:
            pass
        return time.perf_counter() - begin

    small = min(seconds(2_000) for _ in range(3))
    large = min(seconds(40_000) for _ in range(2))
    assert large < small * 20 * 5
