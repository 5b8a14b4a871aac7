"""Credit on both sides, and what makes a received file whole."""

from __future__ import annotations

import hashlib

import pytest

from proto.chunks import FileError, FileReceiver, ReceiveWindow, SendWindow
from proto.errors import LocalProtocolError, WindowExceeded
from proto.messages import FileEnd, FileStart

CONTENT = b"0123456789" * 10
SHA = hashlib.sha256(CONTENT).hexdigest()
END = FileEnd(sha256=SHA, size=100)


def test_credit_is_spent_and_given_back() -> None:
    window = SendWindow(100)
    window.take(60)
    assert window.available == 40
    with pytest.raises(LocalProtocolError, match="41 bytes to send but credit for 40"):
        window.take(41)
    window.add(60)
    assert window.available == 100


@pytest.mark.parametrize("count", [0, 61])
def test_credit_for_what_is_not_on_the_way(count: int) -> None:
    window = SendWindow(100)
    window.take(60)
    with pytest.raises(WindowExceeded, match=f"credit for {count} bytes where 60 are on the way"):
        window.add(count)


def test_bytes_beyond_the_credit() -> None:
    window = ReceiveWindow(100)
    window.arrived(100)
    with pytest.raises(WindowExceeded, match="a chunk of 1 bytes but credit for 0"):
        window.arrived(1)
    window.grant(30)
    window.arrived(30)


@pytest.mark.parametrize("count", [-1, 0, 11])
def test_granting_what_never_arrived(count: int) -> None:
    window = ReceiveWindow(100)
    window.arrived(10)
    with pytest.raises(LocalProtocolError):
        window.grant(count)


def test_a_whole_file() -> None:
    receiver = FileReceiver(sha256=SHA, size=100, limit=100)
    receiver.start(FileStart(size=100))
    receiver.update(CONTENT[:33])
    receiver.update(CONTENT[33:])
    assert receiver.finish(END) == SHA


def test_nothing_need_be_known_before() -> None:
    receiver = FileReceiver(limit=1000)
    receiver.start(FileStart())
    receiver.update(CONTENT)
    assert receiver.finish(END) == SHA


def test_a_resumed_file_hashes_what_is_held_first() -> None:
    receiver = FileReceiver(sha256=SHA, offset=40, limit=100)
    receiver.start(FileStart(size=100, offset=40))
    receiver.rehash(CONTENT[:25])
    with pytest.raises(LocalProtocolError, match="25 of the 40 bytes"):
        receiver.update(CONTENT[40:])
    with pytest.raises(LocalProtocolError, match="25 of the 40 bytes"):
        receiver.finish(END)
    with pytest.raises(LocalProtocolError, match="more than the 40 bytes"):
        receiver.rehash(CONTENT[25:41])
    receiver.rehash(CONTENT[25:40])
    receiver.update(CONTENT[40:])
    assert receiver.finish(END) == SHA


@pytest.mark.parametrize("known", [{"size": 101}, {"offset": 101}])
def test_too_large_is_known_before_it_arrives(known: dict[str, int]) -> None:
    with pytest.raises(FileError, match="at most 100 bytes") as caught:
        FileReceiver(limit=100, **known)
    assert caught.value.code == "too-large"


def test_too_large_as_announced_by_the_sender() -> None:
    with pytest.raises(FileError, match="at most 99 bytes"):
        FileReceiver(limit=99).start(FileStart(size=100))


def test_too_large_as_it_arrives() -> None:
    receiver = FileReceiver(limit=99)
    receiver.update(CONTENT[:99])
    with pytest.raises(FileError, match="at most 99 bytes"):
        receiver.update(b"x")
    assert receiver.size == 99


@pytest.mark.parametrize(
    ("start", "says"),
    [(FileStart(offset=1), "starts at 1, not at 0"), (FileStart(size=7), "7 bytes, not 100")],
)
def test_another_start_than_agreed(start: FileStart, says: str) -> None:
    with pytest.raises(FileError, match=says) as caught:
        FileReceiver(size=100, limit=100).start(start)
    assert caught.value.code == "damaged"


def test_more_than_was_announced() -> None:
    receiver = FileReceiver(size=10, limit=100)
    with pytest.raises(FileError, match="more than the 10 bytes announced"):
        receiver.update(CONTENT)


@pytest.mark.parametrize(
    ("sent", "end"),
    [
        (CONTENT[:-1], END),
        (CONTENT[:-1] + b"x", END),
        (CONTENT, FileEnd(sha256=SHA, size=99)),
        (CONTENT, FileEnd(sha256="0" * 64, size=100)),
    ],
)
def test_a_damaged_file(sent: bytes, end: FileEnd) -> None:
    receiver = FileReceiver(limit=100)
    receiver.update(sent)
    with pytest.raises(FileError, match="arrived damaged") as caught:
        receiver.finish(end)
    assert caught.value.code == "damaged"


def test_less_than_was_announced() -> None:
    receiver = FileReceiver(size=101, limit=200)
    receiver.update(CONTENT)
    with pytest.raises(FileError, match="arrived damaged"):
        receiver.finish(END)


def test_another_file_than_the_one_asked_for() -> None:
    receiver = FileReceiver(sha256="0" * 64, limit=100)
    receiver.update(CONTENT)
    with pytest.raises(FileError, match=f"the content is {SHA}, not 000"):
        receiver.finish(END)
