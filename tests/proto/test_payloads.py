"""Whatever bytes a typed payload has, reading them gives the payload or ``BadMessage``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.errors import BadMessage, LocalProtocolError
from proto.messages import Bye, Join, NotMaster, encode
from proto.payloads import Challenge, ErrorReport, Hello, read, read_message, write_message

DEEP = b"\x82\xa4type\xa5drain\xa1x" + b"\x91" * 100_000 + b"\xc0"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x80",
        b"\x81\xa4type\xa7unknown",
        b"\x81\xa4type\xa5drain\xc0",
        b"\x82\xa4type\xa3bye\xa6reason\x01",
        b"\x82\xa4type\xa3bye\xa6reason\xa1\xff",
        b"\x82\xa4type\xaaneighbours\xa9addresses\xdd\xff\xff\xff\xff",
        DEEP,
    ],
    ids=["empty", "reserved", "no-tag", "tag", "trailing", "type", "utf-8", "length", "depth"],
)
def test_unreadable_messages(data: bytes) -> None:
    with pytest.raises(BadMessage):
        read_message(data)


def test_unknown_keys_are_ignored() -> None:
    data = msgspec.msgpack.encode({"type": "bye", "reason": "so", "news": [1, {"x": None}]})
    assert read_message(data) == Bye(reason="so")


def complaint(reading: Callable[[], object]) -> str:
    """What ``BadMessage`` says, or nothing; any other exception is a failure."""
    try:
        reading()
    except BadMessage as error:
        return str(error)
    return ""


@given(st.binary(max_size=300))
def test_any_bytes_are_a_payload_or_a_clean_error(data: bytes) -> None:
    for kind in (Hello, Challenge, ErrorReport):
        assert complaint(partial(read, kind, data)).isprintable()


@given(st.binary(max_size=60), st.integers(0, 60))
def test_a_message_with_bytes_put_in_is_a_message_or_a_clean_error(data: bytes, at: int) -> None:
    whole = encode(Join(address="10.0.0.1:7000", slots=2))
    at = min(at, len(whole))
    assert complaint(partial(read_message, whole[:at] + data + whole[at + len(data) :])).isprintable()


def test_writing_is_the_inverse_of_reading() -> None:
    message = Join(address="a:1", slots=3)
    assert read_message(write_message(message)) == message


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (Bye(reason="x" * 513), "Bye cannot be sent: .*length <= 512"),
        (Bye(reason="\ud800"), "Bye cannot be sent: .*utf-8"),
        (NotMaster(epoch=1 << 70), "NotMaster cannot be sent"),
        (NotMaster(epoch=-1), "NotMaster cannot be sent: .*>= 0"),
        (NotMaster(epoch=object()), "NotMaster cannot be sent"),  # type: ignore[arg-type]
    ],
)
def test_what_a_peer_would_refuse_is_not_sent(message: Bye | NotMaster, says: str) -> None:
    with pytest.raises(LocalProtocolError, match=says):
        write_message(message)
