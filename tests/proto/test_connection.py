"""Two real machines joined in memory, and one machine against a peer that keeps no rule."""

from __future__ import annotations

import msgspec
import pytest

from proto.connection import (
    ChunkReceived,
    Closed,
    Connection,
    CreditReceived,
    HandshakeDone,
    Limits,
    MessageReceived,
    PeerHeard,
    PeerSilent,
    Timing,
)
from proto.errors import (
    AuthenticationFailed,
    BadMagic,
    BadMessage,
    BadVersion,
    FrameTooLarge,
    HandshakeTimeout,
    HandshakeTooLong,
    LocalProtocolError,
    PeerReported,
    ProtocolError,
    Silence,
    UnexpectedFrame,
    WindowExceeded,
)
from proto.frames import HEADER, FrameType
from proto.handshake import VERSIONS
from proto.messages import Bye, Drain, GetHealth, Join, Request, Response, encode
from proto.payloads import ErrorReport, read
from tests.proto.pairs import (
    ALICE,
    BOB,
    INITIATOR_NONCE,
    Pair,
    frame,
    identity,
    initiator,
    open_pair,
    raw_header,
    responder,
)


def reported(connection: Connection) -> ErrorReport:
    """What the last frame to send says; it must be an ERROR."""
    data = connection.data_to_send()[-1]
    assert data[2:4] == bytes([0, FrameType.ERROR])
    return read(ErrorReport, data[HEADER.size :])


def closed_with(connection: Connection) -> ProtocolError | None:
    """The error of the ``Closed`` that must be the last event."""
    last = connection.events_received()[-1]
    assert isinstance(last, Closed)
    return last.error


def test_the_handshake_tells_both_sides_who_the_other_is() -> None:
    pair = Pair(initiator(), responder())
    assert pair.pump() == ([HandshakeDone(BOB)], [HandshakeDone(ALICE)])
    assert pair.left.established
    assert [name for name, _ in pair.captured] == ["initiator", "responder"] * 2


def test_messages_travel_both_ways_in_order() -> None:
    pair = open_pair("control")
    request = Request(id=1, query=GetHealth())
    response = Response(id=1, status=200, body=b"{}")
    pair.left.send(request)
    pair.left.send(Drain())
    pair.right.send(response)
    left, right = pair.pump()
    assert left == [MessageReceived(response)]
    assert right == [MessageReceived(request), MessageReceived(Drain())]


def test_a_message_right_behind_the_last_proof_is_read() -> None:
    """The responder is done first and need not wait; its message may exceed the stranger's limit."""
    left, right = initiator(), responder()
    for _ in range(2):
        right.receive_data(b"".join(left.data_to_send()), 0.0)
        if right.established:
            right.send(Response(id=1, status=200, body=bytes(100_000)))
        left.receive_data(b"".join(right.data_to_send()), 0.0)
    assert [type(event) for event in left.events_received()] == [HandshakeDone, MessageReceived]


def test_chunks_are_bounded_by_credit() -> None:
    pair = open_pair("stream", Limits(window=10, chunk=8))
    assert pair.left.window == 10
    pair.left.send_chunk(b"12345678")
    pair.left.send_chunk(b"90")
    assert pair.left.window == 0
    with pytest.raises(LocalProtocolError, match="credit for 0"):
        pair.left.send_chunk(b"x")
    assert pair.pump() == ([], [ChunkReceived(b"12345678"), ChunkReceived(b"90")])
    pair.right.grant(3)
    pair.right.grant(7)
    assert pair.pump() == ([CreditReceived(3), CreditReceived(10)], [])
    assert pair.left.window == 10
    with pytest.raises(LocalProtocolError, match="granted"):
        pair.right.grant(1)


@pytest.mark.parametrize("size", [0, 9])
def test_a_chunk_of_a_wrong_size_is_not_sent(size: int) -> None:
    pair = open_pair("stream", Limits(window=100, chunk=8))
    with pytest.raises(LocalProtocolError, match=f"a chunk of {size} bytes; 1 to 8 fit"):
        pair.left.send_chunk(bytes(size))
    assert pair.left.data_to_send() == []
    assert pair.left.window == 100


def test_the_responder_of_a_stream_may_send_chunks_too() -> None:
    pair = open_pair("stream")
    pair.right.send_chunk(b"data")
    assert pair.pump() == ([ChunkReceived(b"data")], [])


@pytest.mark.parametrize("role", ["node", "control"])
def test_chunks_belong_on_streams(role: str) -> None:
    pair = open_pair(role)
    for side in (pair.left, pair.right):
        with pytest.raises(LocalProtocolError, match="role 'stream' only"):
            side.send_chunk(b"data")
    pair.right.receive_data(frame(FrameType.CHUNK, b"data"), 0.0)
    assert isinstance(closed_with(pair.right), UnexpectedFrame)
    assert "not a file stream" in reported(pair.right).reason


def test_nothing_is_sent_before_the_handshake_or_after_the_end() -> None:
    connection = initiator(local=identity("stream"))
    for attempt in (
        lambda: connection.send(Drain()),
        lambda: connection.send_chunk(b"x"),
        lambda: connection.grant(1),
    ):
        with pytest.raises(LocalProtocolError, match="not established"):
            attempt()
    pair = open_pair()
    pair.left.receive_eof(0.0)
    with pytest.raises(LocalProtocolError, match="not established"):
        pair.left.send(Drain())


def test_what_a_peer_would_refuse_is_refused_here_and_costs_nothing() -> None:
    pair = open_pair(limits=Limits(message=1000))
    with pytest.raises(LocalProtocolError, match=r"a MESSAGE frame of .* at most 1000 fit"):
        pair.left.send(Response(id=1, status=200, body=bytes(1000)))
    with pytest.raises(LocalProtocolError, match="Bye cannot be sent"):
        pair.left.send(Bye(reason="x" * 600))
    pair.left.send(Drain())
    assert pair.pump() == ([], [MessageReceived(Drain())])


def test_the_end_of_the_stream() -> None:
    pair = open_pair()
    pair.left.receive_data(frame(FrameType.MESSAGE, encode(Drain()))[:-1], 0.0)
    pair.left.receive_eof(0.0)
    pair.left.receive_eof(0.0)
    pair.left.receive_data(b"more", 0.0)
    pair.left.handle_timer(1e9)
    assert pair.left.events_received() == [Closed(None)]
    assert pair.left.data_to_send() == []
    assert pair.left.next_deadline() is None


def test_closing_with_a_reason_tells_the_peer() -> None:
    pair = open_pair()
    pair.left.send(Drain())
    pair.left.close("the node stops")
    pair.left.close("again")
    assert not pair.left.established
    left, (message, end) = pair.pump()
    assert left == []
    assert message == MessageReceived(Drain())
    assert isinstance(end, Closed)
    assert isinstance(end.error, PeerReported)
    assert (end.error.reported, end.error.reason) == ("closed", "the node stops")
    assert pair.right.data_to_send() == []


def test_closing_without_a_reason_sends_nothing() -> None:
    pair = open_pair()
    pair.left.close()
    assert pair.left.data_to_send() == []


# --- timers --------------------------------------------------------------------------------------


def test_an_idle_connection_is_kept_alive_by_pings() -> None:
    pair = open_pair()
    now = 0.0
    while now < 30.0:
        now = min(side.next_deadline() or now for side in (pair.left, pair.right))
        pair.left.handle_timer(now)
        pair.right.handle_timer(now)
        assert pair.pump(now) == ([], [])


def test_a_peer_that_falls_silent_and_speaks_again() -> None:
    pair = open_pair()
    for now in (0.5, 1.0, 1.5, 2.0):
        pair.left.handle_timer(now)
    assert pair.left.events_received() == [PeerSilent()]
    assert pair.pump(2.1) == ([PeerHeard()], [])
    assert pair.left.next_deadline() == pytest.approx(2.6)


def test_a_peer_that_stays_silent_is_given_up() -> None:
    pair = open_pair(timing=Timing(close_after=4.0))
    for step in range(1, 9):
        pair.left.handle_timer(step * 0.5)
    assert isinstance(closed_with(pair.left), Silence)
    assert reported(pair.left).code == "silence"


def test_timers_that_come_early_do_nothing() -> None:
    pair = open_pair()
    pair.left.handle_timer(0.4)
    assert pair.left.data_to_send() == []
    assert pair.left.next_deadline() == 0.5


def test_a_flood_of_pings_gets_one_answer() -> None:
    pair = open_pair()
    pings = b"".join(frame(FrameType.PING, n.to_bytes(8, "big")) for n in range(1, 5001))
    pair.left.receive_data(pings, 0.0)
    assert pair.left.data_to_send() == [frame(FrameType.PONG, (5000).to_bytes(8, "big"))]


@pytest.mark.parametrize("number", [0, 2])
def test_an_answer_to_no_ping(number: int) -> None:
    pair = open_pair()
    pair.left.handle_timer(0.5)
    pair.left.receive_data(frame(FrameType.PONG, (1).to_bytes(8, "big")), 0.6)
    assert pair.left.events_received() == []
    pair.left.receive_data(frame(FrameType.PONG, number.to_bytes(8, "big")), 0.6)
    assert isinstance(closed_with(pair.left), BadMessage)


def test_a_handshake_has_its_time() -> None:
    connection = responder(now=100.0)
    assert connection.next_deadline() == 105.0
    connection.handle_timer(104.9)
    assert connection.events_received() == []
    connection.handle_timer(105.0)
    assert isinstance(closed_with(connection), HandshakeTimeout)
    assert reported(connection) == ErrorReport("handshake-timeout", "no handshake within 5 s")


def test_trickling_bytes_does_not_extend_the_handshakes_time() -> None:
    connection = responder()
    hello = b"".join(initiator().data_to_send())
    for step in range(10):
        connection.receive_data(hello[step : step + 1], step / 2)
    connection.handle_timer(5.0)
    assert isinstance(closed_with(connection), HandshakeTimeout)


@pytest.mark.parametrize("how", ["eof", "timer"])
def test_a_few_foreign_bytes_are_named_at_the_end(how: str) -> None:
    connection = responder()
    connection.receive_data(b"hi\n", 0.0)
    assert connection.events_received() == []
    if how == "eof":
        connection.receive_eof(1.0)
    else:
        connection.handle_timer(5.0)
    error = closed_with(connection)
    assert isinstance(error, BadMagic)
    assert "began with b'hi\\n'" in str(error)


# --- a peer that keeps no rule ---------------------------------------------------------------------


def test_http_is_named_to_both_ends() -> None:
    connection = responder()
    connection.receive_data(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n", 0.0)
    assert isinstance(closed_with(connection), BadMagic)
    report = reported(connection)
    assert report.code == "bad-magic"
    assert report.reason == "the peer speaks HTTP (b'GET /metrics HTT'); this port speaks CDProto"


def test_a_wrong_secret_is_told_to_both_sides() -> None:
    pair = Pair(initiator(secret=b"one"), responder(secret=b"other"))
    (left,), (right,) = pair.pump()
    assert isinstance(left, Closed)
    assert isinstance(right, Closed)
    assert isinstance(right.error, AuthenticationFailed)
    assert isinstance(left.error, PeerReported)
    assert left.error.reported == "authentication-failed"
    assert "does not hold this cluster's secret" in left.error.reason


def test_a_connection_to_itself_by_reflection_fails() -> None:
    """Every byte comes back to who sent it."""
    connection = initiator()
    for _ in range(4):
        connection.receive_data(b"".join(connection.data_to_send()), 0.0)
    assert isinstance(closed_with(connection), UnexpectedFrame)


def test_a_session_replayed_against_a_fresh_nonce_fails() -> None:
    pair = Pair(initiator(), responder())
    pair.pump()
    recorded = b"".join(data for name, data in pair.captured if name == "initiator")
    fresh = responder(nonce=b"f" * 32)
    fresh.receive_data(recorded + frame(FrameType.MESSAGE, encode(Drain())), 0.0)
    (event,) = fresh.events_received()
    assert isinstance(event, Closed)
    assert isinstance(event.error, AuthenticationFailed)


def test_a_peer_of_another_version_is_told_which_are_spoken() -> None:
    hello = {"versions": [9], "nonce": INITIATOR_NONCE, "identity": {"role": "node", "node": "x"}}
    connection = responder()
    connection.receive_data(frame(FrameType.HELLO, msgspec.msgpack.encode(hello)), 0.0)
    assert isinstance(closed_with(connection), BadVersion)
    assert reported(connection).reason == f"the peer speaks [9]; this side speaks {list(VERSIONS)}"


def test_a_message_before_the_handshake_is_not_read() -> None:
    connection = responder()
    connection.receive_data(frame(FrameType.MESSAGE, encode(Drain())), 0.0)
    assert isinstance(closed_with(connection), BadVersion)


def test_a_message_instead_of_the_proof_is_not_read() -> None:
    connection = responder()
    connection.receive_data(b"".join(initiator().data_to_send()), 0.0)
    connection.receive_data(frame(FrameType.MESSAGE, encode(Drain())), 0.0)
    assert isinstance(closed_with(connection), UnexpectedFrame)


def test_a_stranger_may_send_4_kib_in_all() -> None:
    connection = responder()
    connection.receive_data(b"".join(initiator().data_to_send()), 0.0)
    connection.receive_data(raw_header(kind=FrameType.MESSAGE, length=4 << 20), 0.0)
    assert isinstance(closed_with(connection), HandshakeTooLong)
    assert reported(connection).code == "handshake-too-long"


def test_an_oversized_message_is_refused_by_its_header() -> None:
    pair = open_pair()
    pair.right.receive_data(raw_header(length=(4 << 20) + 1), 0.0)
    assert isinstance(closed_with(pair.right), FrameTooLarge)


def test_what_came_before_the_error_is_kept_and_what_comes_after_is_not() -> None:
    pair = open_pair()
    good = frame(FrameType.MESSAGE, encode(Join(address="a:1", slots=1)))
    pair.right.receive_data(good + frame(FrameType.MESSAGE, b"\xc1") + good, 0.0)
    first, last = pair.right.events_received()
    assert isinstance(first, MessageReceived)
    assert isinstance(last, Closed)
    assert isinstance(last.error, BadMessage)
    pair.right.receive_data(good, 0.0)
    assert pair.right.events_received() == []


def test_a_ping_before_an_error_is_not_answered_after_it() -> None:
    pair = open_pair()
    pair.right.receive_data(frame(FrameType.PING, bytes(8)) + frame(FrameType.MESSAGE, b"\xc1"), 0.0)
    (data,) = pair.right.data_to_send()
    assert data[3] == FrameType.ERROR


@pytest.mark.parametrize("kind", [FrameType.HELLO, FrameType.CHALLENGE, FrameType.PROOF])
def test_the_handshake_is_not_repeated(kind: FrameType) -> None:
    pair = open_pair()
    pair.right.receive_data(frame(kind, bytes(32)), 0.0)
    error = closed_with(pair.right)
    assert isinstance(error, UnexpectedFrame)
    assert "after the handshake" in str(error)


@pytest.mark.parametrize("chunks", [[b"x" * 8, b"x" * 3], [b"x" * 8, b"x", b"x", b"x"]])
def test_a_peer_that_sends_beyond_its_credit(chunks: list[bytes]) -> None:
    pair = open_pair("stream", Limits(window=10, chunk=8))
    pair.right.receive_data(b"".join(frame(FrameType.CHUNK, chunk) for chunk in chunks), 0.0)
    assert isinstance(closed_with(pair.right), WindowExceeded)
    assert reported(pair.right).code == "window-exceeded"


@pytest.mark.parametrize("count", [0, 5, 0xFFFFFFFF])
def test_a_peer_that_grants_what_was_not_sent(count: int) -> None:
    pair = open_pair("stream")
    pair.left.send_chunk(b"1234")
    pair.left.receive_data(frame(FrameType.CREDIT, count.to_bytes(4, "big")), 0.0)
    assert isinstance(closed_with(pair.left), WindowExceeded)


@pytest.mark.parametrize("payload", [b"", b"\x80", b"\x82\xa4code\xa1\xff\xa6reason\xa0"])
def test_an_unreadable_error_is_an_error(payload: bytes) -> None:
    pair = open_pair()
    pair.left.receive_data(frame(FrameType.ERROR, payload), 0.0)
    assert isinstance(closed_with(pair.left), BadMessage)


def test_an_error_is_heard_during_the_handshake_too() -> None:
    connection = initiator()
    report = msgspec.msgpack.encode(ErrorReport("busy", "come\nback"))
    connection.receive_data(frame(FrameType.ERROR, report), 0.0)
    error = closed_with(connection)
    assert isinstance(error, PeerReported)
    assert str(error) == "the peer reports busy: come?back"
