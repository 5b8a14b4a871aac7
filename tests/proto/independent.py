"""A second reader of CDProto, written from SPEC.md alone: ``struct``, ``msgpack`` and the stdlib's HMAC."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import msgpack

HELLO, CHALLENGE, PROOF, MESSAGE, CHUNK, CREDIT, PING, PONG, ERROR = range(1, 10)
LARGEST = {MESSAGE: 4194304, CHUNK: 262144, PROOF: 32, CREDIT: 4, PING: 8, PONG: 8}


class Reader:
    """Reads both directions of one conversation, frame by frame, and checks what it can."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.version = 0
        self.hello = self.challenge = b""
        self.proved: list[str] = []
        self.credit = {"initiator": 1 << 20, "responder": 1 << 20}

    def read(self, sender: str, data: bytes) -> Any:
        """What one frame holds: a map, bytes or a number."""
        magic, version, kind, flags, reserved, stream, length = struct.unpack_from(">2sBBHHII", data)
        assert (magic, flags, reserved, stream, len(data)) == (b"CD", 0, 0, 0, 16 + length)
        assert version == (0 if kind in (HELLO, CHALLENGE, ERROR) else self.version)
        assert length <= LARGEST.get(kind, 4080)
        payload = data[16:]
        if kind not in (HELLO, CHALLENGE, PROOF, ERROR):
            assert self.proved == ["initiator", "responder"]
        if kind == PROOF:
            assert hmac.compare_digest(payload, self.expected(sender))
            self.proved.append(sender)
            return payload
        if kind == CHUNK:
            self.credit[sender] -= length
            assert length > 0 <= self.credit[sender]
            return payload
        if kind in (CREDIT, PING, PONG):
            number = int.from_bytes(payload, "big")
            if kind == CREDIT:
                self.credit["responder" if sender == "initiator" else "initiator"] += number
            return number
        content = msgpack.unpackb(payload)
        if kind == HELLO:
            self.hello = payload
        elif kind == CHALLENGE:
            assert content["version"] in msgpack.unpackb(self.hello)["versions"]
            self.challenge, self.version = payload, content["version"]
        return content

    def expected(self, sender: str) -> bytes:
        """The proof that ``sender`` must give."""
        covered = b"CDProto proof\0" + bytes([self.version]) + sender.encode() + b"\0"
        for payload in (self.hello, self.challenge):
            covered += struct.pack(">I", len(payload)) + payload
        return hmac.new(self.secret, covered, hashlib.sha256).digest()
