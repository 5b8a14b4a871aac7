"""What a runner says on its channel, as typed events. Its bytes are never trusted.

The other side is ``inject/_testring_session.py``, whose docstring lists the lines. Tests share the
runner's process, so anything may arrive here: a line that is too long, is no JSON or is not one of
these events is a ``ChannelCorrupted``, and never more than that.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from proto.messages import Count, Handing, Name, Outcome, TestId, Text

LINE_LIMIT = 4 << 20
"""Bytes of one line: a traceback and an output at their bounds, escaped, fit."""


class ChannelCorrupted(Exception):
    """The channel carried something that the plugin does not write."""


class Event(Struct, frozen=True, array_like=True, tag=str.lower):
    """Base of the events; ``number`` is the session's own number of an assignment."""


class Listing(Event, frozen=True):
    module: Name
    tests: tuple[TestId, ...]


class Opened(Event, frozen=True):
    modules: tuple[Name, ...]
    command: tuple[Text, ...]
    versions: dict[Name, Name]
    notes: tuple[Text, ...]


class Collecting(Event, frozen=True):
    number: Count
    module: Name


class Collected(Event, frozen=True):
    number: Count
    module: Name
    tests: tuple[TestId, ...]
    groups: dict[Name, tuple[TestId, ...]]
    last: bool


class Started(Event, frozen=True):
    number: Count
    test: TestId


class Result(Struct, frozen=True):
    """What decided a test; ``seconds`` are those of setup, call and teardown."""

    outcome: Outcome
    seconds: float = 0.0
    message: Text = ""
    traceback: Text = ""
    output: Text = ""
    reports: tuple[Name, ...] = ()


class Verdict(Event, frozen=True):
    number: Count
    module: Name
    test: TestId
    result: Result


class Done(Event, frozen=True):
    number: Count


class Handed(Event, frozen=True):
    number: Count
    tests: tuple[TestId, ...]
    why: Handing


class Stopped(Event, frozen=True):
    reason: Text


class Ended(Event, frozen=True):
    exit_code: int


AnyEvent = Listing | Opened | Collecting | Collected | Started | Verdict | Done | Handed | Stopped | Ended

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
_encoder = msgspec.json.Encoder()


class Lines:
    """Cuts received bytes into events."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[AnyEvent]:
        """The events that ``data`` completes; those before a bad line come before its error.

        Raises:
            ChannelCorrupted: a line is too long, no JSON, or no known event.
        """
        self._rest += data
        if b"\n" not in data:
            if len(self._rest) > LINE_LIMIT:
                raise ChannelCorrupted(f"a line of more than {LINE_LIMIT} bytes")
            return
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        try:
            for line in lines:
                yield _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ChannelCorrupted(str(error)) from error


def command(*words: object) -> bytes:
    """One command line for the runner."""
    return _encoder.encode(words) + b"\n"
