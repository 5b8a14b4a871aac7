"""Any split of the stream gives the same events; any garbage gives one clean error within the limits."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from proto.connection import Closed, Connection, Event, HandshakeDone, Limits
from proto.errors import PeerReported, RemoteProtocolError
from proto.frames import FrameType
from proto.messages import AssignmentId, Bye, Collected, Fetch, FileEnd, Started, TestId, encode
from tests.proto.pairs import (
    ALICE,
    Pair,
    described,
    frame,
    identity,
    initiator,
    open_pair,
    raw_header,
    responder,
)

ASSIGNMENT = AssignmentId(1, "alice", 7)

messages = st.one_of(
    st.builds(Bye, reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=40)),
    st.builds(
        Started,
        assignment=st.just(ASSIGNMENT),
        test=st.builds(TestId, nodeid=st.text("ab/:.", max_size=30), occurrence=st.integers(0, 9)),
    ),
    st.builds(Fetch, sha256=st.just("0" * 64), offset=st.integers(0, 2**40)),
    st.just(Collected(assignment=ASSIGNMENT, module="m", tests=(TestId("a"), TestId("a", 1)))),
)
steps = st.lists(
    st.one_of(
        messages.map(lambda message: frame(FrameType.MESSAGE, encode(message))),
        st.binary(min_size=1, max_size=50).map(lambda data: frame(FrameType.CHUNK, data)),
        st.integers(1, 99).map(lambda number: frame(FrameType.PING, number.to_bytes(8, "big"))),
    ),
    max_size=12,
)
ends = st.one_of(
    st.just(b""),
    st.binary(max_size=60),
    st.just(raw_header(flags=1)),
    st.just(b"GET / HTTP/1.1\r\n\r\n"),
    st.just(frame(FrameType.MESSAGE, b"\xc1")),
)


def recorded(role: str) -> bytes:
    """What an initiator sends in a whole handshake."""
    pair = Pair(initiator(local=identity(role)), responder())
    pair.pump()
    return b"".join(data for name, data in pair.captured if name == "initiator")


def fed(connection: Connection, pieces: list[bytes]) -> list[object]:
    """The events of ``pieces`` and an end, in a form that compares."""
    events: list[Event] = []
    for piece in pieces:
        connection.receive_data(piece, 0.0)
        events += connection.events_received()
    connection.receive_eof(0.0)
    return described(events + connection.events_received())


@given(st.data(), steps, ends)
def test_any_split_gives_the_same_events(data: st.DataObject, parts: list[bytes], end: bytes) -> None:
    stream = recorded("stream") + b"".join(parts) + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = fed(responder(), [stream])
    assert fed(responder(), pieces) == whole
    assert whole[0] == HandshakeDone(identity("stream"))
    assert whole[-1][0] == "Closed"  # type: ignore[index]


def test_byte_by_byte_gives_the_same_events() -> None:
    stream = recorded("stream") + frame(FrameType.CHUNK, b"abc") + frame(FrameType.MESSAGE, encode(Bye()))
    assert fed(responder(), [bytes([byte]) for byte in stream]) == fed(responder(), [stream])


def check_clean(connection: Connection, data: bytes, known: int) -> None:
    """``data`` does no more than end the connection, once, with a code for the peer."""
    connection.receive_data(data, 0.0)
    connection.receive_eof(0.0)
    events = connection.events_received()
    closed = [event for event in events if isinstance(event, Closed)]
    assert closed == events[-1:]
    error = closed[0].error
    assert error is None or isinstance(error, RemoteProtocolError | PeerReported)
    assert str(error).isprintable()
    assert sum(map(len, connection.data_to_send())) <= 4096 + known


garbage = st.one_of(
    st.binary(max_size=400),
    st.builds(
        lambda kind, version, length, rest: raw_header(kind=kind, version=version, length=length) + rest,
        st.integers(0, 12),
        st.integers(0, 2),
        st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1)),
        st.binary(max_size=80),
    ),
    st.lists(
        st.builds(
            lambda kind, payload: frame(kind, payload),
            st.sampled_from(list(FrameType)),
            st.binary(max_size=64),
        ),
        max_size=6,
    ).map(b"".join),
)


@settings(max_examples=300)
@given(garbage)
def test_garbage_from_a_stranger(data: bytes) -> None:
    check_clean(responder(), data, 0)
    left = initiator()
    left.data_to_send()
    check_clean(left, data, 0)


@settings(max_examples=300)
@given(garbage, st.sampled_from(["node", "stream"]))
def test_garbage_from_an_authenticated_peer(data: bytes, role: str) -> None:
    check_clean(open_pair(role).right, data, 24)


@given(st.binary(min_size=1, max_size=8), st.integers(0, 10_000))
def test_a_damaged_handshake_never_opens(damage: bytes, at: int) -> None:
    stream = recorded("node")
    at %= len(stream)
    damaged = stream[:at] + damage + stream[at + len(damage) :]
    connection = responder()
    connection.receive_data(damaged, 0.0)
    assert (HandshakeDone(identity("node")) in connection.events_received()) is damaged.startswith(stream)


def test_a_promise_of_much_takes_no_memory() -> None:
    """4 MiB announced, little sent; a stranger's flood; lengths inside msgpack that lie."""
    lies = b"\x82\xa4type\xaaneighbours\xa9addresses\xdd\xff\xff\xff\xff"
    tracemalloc.start()
    try:
        for data in (
            raw_header(length=4 << 20) + b"x",
            raw_header(kind=FrameType.HELLO, version=0, length=4000) + b"x" * 100,
            frame(FrameType.MESSAGE, lies),
        ):
            peer, stranger = open_pair().right, responder(local=ALICE)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            peer.receive_data(data, 0.0)
            stranger.receive_data(data, 0.0)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 64 * 1024
    finally:
        tracemalloc.stop()


def test_limits_of_a_test_are_kept_in_a_real_conversation() -> None:
    """The smallest window there is still moves a file."""
    pair = open_pair("stream", Limits(window=1, chunk=1))
    got = b""
    for byte in b"slow":
        pair.left.send_chunk(bytes([byte]))
        _, (event,) = pair.pump()
        got += event.data  # type: ignore[union-attr]
        pair.right.grant(1)
        pair.pump()
    pair.left.send(FileEnd(sha256="0" * 64, size=4))
    assert got == b"slow"
