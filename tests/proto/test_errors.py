"""The error tree, its codes, and that a peer's words stay on one line."""

from __future__ import annotations

import pytest

from proto import errors
from proto.errors import CODES, PeerReported, ProtocolError, RemoteProtocolError, one_line


def test_every_remote_error_has_a_code_of_its_own() -> None:
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, RemoteProtocolError)
        and value is not RemoteProtocolError
    ]
    assert sorted(CODES.values(), key=repr) == sorted(classes, key=repr)
    assert len({cls.code for cls in classes} | {ProtocolError.code}) == len(classes) + 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("as it is", "as it is"),
        ("two\nlines\x1b[31m", "two?lines?[31m"),
        ("x" * 20, "xxxxxxx..."),
        ("x" * 10, "xxxxxxxxxx"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text, 10 if text[0] == "x" else 100) == line


def test_what_a_peer_reports_is_kept_printable_and_short() -> None:
    error = PeerReported("co\nde", "because\r\n" + "y" * 2000)
    assert error.reported == "co?de"
    assert error.reason.startswith("because??yyy")
    assert len(error.reason) == errors.REASON
    assert str(error).startswith("the peer reports co?de: because??")
