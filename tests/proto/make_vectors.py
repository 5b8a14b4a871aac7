"""The byte-exact vectors: ``python -m tests.proto.make_vectors`` rewrites them, when the wire may change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgpack

from proto import messages as m
from proto.frames import HEADER, FrameType
from proto.messages import encode
from tests.proto.independent import Reader
from tests.proto.pairs import SECRET, Pair, frame, identity, initiator, raw_header, responder
from tests.proto.samples import MESSAGES

FOLDER = Path(__file__).parent / "vectors"
CONTENT = b"the content of a file"
SHA = hashlib.sha256(CONTENT).hexdigest()

Vector = tuple[list[bytes], dict[str, Any]]
"""The lines of ``.hex`` and what ``.json`` says of them."""


def plain(value: Any) -> Any:
    """``value`` for JSON: bytes as ``{"hex": ...}``."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def cut(data: bytes) -> Iterable[bytes]:
    """The frames of a buffer."""
    while data:
        length = HEADER.size + int.from_bytes(data[12:16], "big")
        yield data[:length]
        data = data[length:]


def conversation(pair: Pair, about: str) -> Vector:
    """All frames of a pair, in order."""
    reader = Reader(SECRET)
    lines, told = [], []
    for sender, data in pair.captured:
        for each in cut(data):
            lines.append(each)
            holds = plain(reader.read(sender, each))
            told.append({"from": sender, "frame": FrameType(each[3]).name, "holds": holds})
    return lines, {"about": about, "secret": SECRET.decode(), "frames": told}


def control() -> Vector:
    """A worker joins, is given work, answers, is pinged and leaves."""
    pair = Pair(initiator(), responder())
    pair.pump()
    kinds = (m.Join, m.Welcome, m.Run, m.Verdicts, m.Answered)
    for message in (next(one for one in MESSAGES if isinstance(one, kind)) for kind in kinds):
        (pair.left if isinstance(message, m.Join | m.Verdicts) else pair.right).send(message)
        pair.pump()
    pair.right.handle_timer(0.5)
    pair.pump(0.5)
    pair.left.close("the node stops")
    pair.pump(0.5)
    return conversation(pair, control.__doc__ or "")


def stream() -> Vector:
    """A file is fetched from byte 4 on, then one is stored."""
    pair = Pair(initiator(local=identity("stream")), responder())
    pair.pump()
    pair.left.send(m.Fetch(sha256=SHA, offset=4))
    pair.pump()
    pair.right.send(m.FileStart(size=len(CONTENT), offset=4))
    pair.right.send_chunk(CONTENT[4:11])
    pair.right.send_chunk(CONTENT[11:])
    pair.pump()
    pair.left.grant(len(CONTENT) - 4)
    pair.pump()
    pair.right.send(m.FileEnd(sha256=SHA, size=len(CONTENT)))
    pair.pump()
    pair.left.send(m.Store(size=len(CONTENT)))
    pair.left.send_chunk(CONTENT)
    pair.left.send(m.FileEnd(sha256=SHA, size=len(CONTENT)))
    pair.pump()
    pair.right.grant(len(CONTENT))
    pair.right.send(m.FileStored(sha256=SHA, size=len(CONTENT)))
    pair.pump()
    return conversation(pair, stream.__doc__ or "")


def all_messages() -> Vector:
    """Every message and every query."""
    lines = [encode(message) for message in MESSAGES]
    return lines, {"about": all_messages.__doc__, "maps": [plain(msgpack.unpackb(line)) for line in lines]}


def refused() -> Vector:
    """What ends a connection, and the code it ends with."""
    hello = b"".join(initiator().data_to_send())
    wrong_version = hello.replace(b"\xa8versions\x91\x01", b"\xa8versions\x91\x09")
    drain = frame(FrameType.MESSAGE, encode(m.Drain()))
    mistyped = frame(FrameType.MESSAGE, b"\x82\xa4type\xa3bye\xa6reason\x01")
    cases = [
        ("stranger", "bad-magic", "HTTP", b"GET / HTTP/1.1\r\nHost: node\r\n\r\n"),
        ("stranger", "bad-version", "no common version", wrong_version),
        ("stranger", "bad-version", "a message before a version is agreed", drain),
        ("stranger", "bad-frame", "an unknown type", raw_header(kind=200)),
        ("stranger", "frame-too-large", "a HELLO of 4081 bytes", raw_header(kind=1, version=0, length=4081)),
        ("stranger", "bad-message", "a HELLO that is an empty map", frame(FrameType.HELLO, b"\x80")),
        ("stranger", "bad-message", "text that is not UTF-8", frame(FrameType.HELLO, b"\x81\xa1\xff\xc0")),
        ("stranger", "unexpected-frame", "CHALLENGE to a responder", frame(FrameType.CHALLENGE, b"\x80")),
        ("stranger", "unexpected-frame", "a message instead of the proof", hello + drain),
        ("stranger", "authentication-failed", "a wrong proof", hello + frame(FrameType.PROOF, bytes(32))),
        ("stranger", "handshake-too-long", "4096 bytes and more", hello + raw_header(length=4000)),
        ("node", "bad-version", "another version", frame(FrameType.MESSAGE, drain[16:], version=2)),
        ("node", "bad-frame", "a flag", raw_header(flags=0x8000)),
        ("node", "bad-frame", "a stream", raw_header(stream=1)),
        ("node", "bad-frame", "a PING of 7 bytes", frame(FrameType.PING, bytes(7))),
        ("node", "frame-too-large", "a message of 4 MiB and 1", raw_header(length=4_194_305)),
        ("node", "bad-message", "an unknown message", frame(FrameType.MESSAGE, b"\x81\xa4type\xa3odd")),
        ("node", "bad-message", "a field of a wrong type", mistyped),
        ("node", "bad-message", "bytes after the map", frame(FrameType.MESSAGE, drain[16:] + b"\xc0")),
        ("node", "bad-message", "an answer to no PING", frame(FrameType.PONG, bytes(8))),
        ("node", "unexpected-frame", "a second PROOF", frame(FrameType.PROOF, bytes(32))),
        ("node", "unexpected-frame", "a CHUNK outside a stream", frame(FrameType.CHUNK, b"x")),
        ("stream", "bad-frame", "an empty CHUNK", frame(FrameType.CHUNK)),
        ("stream", "frame-too-large", "a CHUNK of 256 KiB and 1", raw_header(kind=5, length=262_145)),
        ("stream", "window-exceeded", "credit for what was not sent", frame(FrameType.CREDIT, b"\0\0\0\x01")),
    ]  # fmt: skip
    told = [{"to": to, "code": code, "what": what} for to, code, what, _ in cases]
    return [data for *_, data in cases], {"about": refused.__doc__, "cases": told}


VECTORS = {"control": control, "stream": stream, "messages": all_messages, "refused": refused}


def texts(name: str) -> tuple[str, str]:
    """The contents of ``NAME.hex`` and ``NAME.json``."""
    lines, told = VECTORS[name]()
    said = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
    return "".join(line.hex() + "\n" for line in lines), said


def main() -> None:
    """Rewrite all files."""
    FOLDER.mkdir(exist_ok=True)
    for name in VECTORS:
        for suffix, text in zip(("hex", "json"), texts(name), strict=True):
            (FOLDER / f"{name}.{suffix}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
