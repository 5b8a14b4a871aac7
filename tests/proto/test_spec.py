"""SPEC.md is complete and true: a reader written from it alone follows recorded conversations."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, get_args

import msgpack
import pytest

from proto import messages as m
from proto.connection import Closed, HandshakeDone
from proto.errors import CODES
from proto.frames import FrameType
from tests.proto import make_vectors, spec_tables
from tests.proto.independent import Reader
from tests.proto.make_vectors import FOLDER, VECTORS, plain
from tests.proto.pairs import open_pair, responder
from tests.proto.samples import MESSAGES


def vector(name: str) -> tuple[list[bytes], dict[str, Any]]:
    """What is stored under a name."""
    lines = (FOLDER / f"{name}.hex").read_text().split()
    return [bytes.fromhex(line) for line in lines], json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", VECTORS)
def test_the_code_still_makes_the_stored_vectors_byte_for_byte(name: str) -> None:
    stored = tuple((FOLDER / f"{name}.{suffix}").read_text(encoding="utf-8") for suffix in ("hex", "json"))
    assert stored == make_vectors.texts(name)


def test_rewriting_the_vectors_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_vectors, "FOLDER", tmp_path)
    make_vectors.main()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        p.name: p.read_bytes() for p in FOLDER.iterdir()
    }


@pytest.mark.parametrize("name", ["control", "stream"])
def test_an_independent_reader_follows_a_recorded_conversation(name: str) -> None:
    lines, told = vector(name)
    reader = Reader(told["secret"].encode())
    held = [plain(reader.read(one["from"], data)) for one, data in zip(told["frames"], lines, strict=True)]
    assert held == [one["holds"] for one in told["frames"]]
    assert reader.proved == ["initiator", "responder"]


def test_the_independent_reader_puts_the_resumed_file_together() -> None:
    lines, told = vector("stream")
    reader, parts, fetched, end = Reader(told["secret"].encode()), b"the ", None, None
    for one, data in zip(told["frames"], lines, strict=True):
        held = reader.read(one["from"], data)
        if one["frame"] == "CHUNK" and one["from"] == "responder":
            parts += held
        elif one["frame"] == "MESSAGE" and held["type"] == "fetch":
            fetched = held
        elif one["frame"] == "MESSAGE" and held["type"] == "file-end" and end is None:
            end = held
    assert fetched is not None
    assert fetched["offset"] == 4
    assert end == {"type": "file-end", "sha256": hashlib.sha256(parts).hexdigest(), "size": len(parts)}
    assert reader.credit == {"initiator": 1 << 20, "responder": 1 << 20}


def test_the_independent_reader_notices_another_secret() -> None:
    lines, told = vector("control")
    reader = Reader(b"not it")
    for one, data in zip(told["frames"][:2], lines[:2], strict=True):
        reader.read(one["from"], data)
    with pytest.raises(AssertionError):
        reader.read("initiator", lines[2])


def test_the_code_takes_a_recorded_conversation() -> None:
    lines, told = vector("control")
    connection = responder()
    for one, data in zip(told["frames"], lines, strict=True):
        if one["from"] == "initiator":
            connection.receive_data(data, 0.0)
            if one["frame"] == "PROOF":
                connection.handle_timer(0.5)
    first, *between, last = connection.events_received()
    assert isinstance(first, HandshakeDone)
    assert len(between) == 2
    assert isinstance(last, Closed)
    assert "the peer reports closed: the node stops" in str(last.error)


def test_every_message_and_query_has_a_vector_that_reads_back() -> None:
    lines, told = vector("messages")
    assert tuple(m.decode(line) for line in lines) == MESSAGES
    assert [plain(msgpack.unpackb(line)) for line in lines] == told["maps"]
    kinds = {type(message) for message in MESSAGES}
    assert kinds == set(get_args(m.AnyMessage))
    assert {type(one.query) for one in MESSAGES if isinstance(one, m.Request)} == set(get_args(m.Query))


def cases() -> list[Any]:
    lines, told = vector("refused")
    return [
        pytest.param(case["to"], case["code"], data, id=case["what"])
        for case, data in zip(told["cases"], lines, strict=True)
    ]


@pytest.mark.parametrize(("to", "code", "data"), cases())
def test_what_is_refused_and_with_which_code(to: str, code: str, data: bytes) -> None:
    connection = responder() if to == "stranger" else open_pair(to).right
    connection.receive_data(data, 0.0)
    (event,) = connection.events_received()
    assert isinstance(event, Closed)
    assert event.error is not None
    assert event.error.code == code
    sent = connection.data_to_send()[-1]
    assert sent[3] == FrameType.ERROR
    assert msgpack.unpackb(sent[16:])["code"] == code


def test_every_code_that_bytes_can_cause_has_a_vector() -> None:
    _, told = vector("refused")
    assert {case["code"] for case in told["cases"]} == set(CODES) - {"handshake-timeout", "silence"}


def test_the_tables_of_the_specification_follow_from_the_code() -> None:
    written = spec_tables.SPEC.read_text(encoding="utf-8").split(spec_tables.MARK)[1]
    assert written.strip() == spec_tables.tables().strip(), "run python -m tests.proto.spec_tables"


def test_the_specification_draws_the_header_that_the_code_documents() -> None:
    from proto import frames

    drawing = [line for line in (frames.__doc__ or "").splitlines() if line.startswith("    ")]
    assert "\n".join(drawing) in spec_tables.SPEC.read_text(encoding="utf-8")


def test_arrays_may_be_shorter_and_longer_than_known() -> None:
    for test in (["a"], ["a", 0], ["a", 0, "of a later release"]):
        data = msgpack.packb({"type": "started", "assignment": [1, "n", 2, None], "test": test})
        assert m.decode(data) == m.Started(assignment=m.AssignmentId(1, "n", 2), test=m.TestId("a"))


def test_an_assignment_id_reads_as_one_word() -> None:
    assert str(m.AssignmentId(3, "n1", 7)) == "3.n1.7"
