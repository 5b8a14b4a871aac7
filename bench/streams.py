"""Throughput of one CDProto file stream against a plain socket loop, over loopback.

Each sender is a process of its own; the receiver writes the file and hashes it, as a worker does.
``python -m bench.streams WAY PATH`` is the sender.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gevent.socket

from bench.rounds import interleaved, markdown, median, ratio
from node.net import transfer
from node.net.wire import Wire
from proto.connection import Identity

MEBIBYTES = 200
CHUNK = 256 * 1024
SECRET = b"a secret only for this benchmark"


def table(rounds: int) -> str:
    """One row per way."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "file"
        block = os.urandom(1 << 20)
        with source.open("wb") as file:
            for _ in range(MEBIBYTES):
                file.write(block)
        target = Path(scratch) / "received"
        ways: dict[str, Callable[[], float]] = {
            "plain": lambda: _measured(
                "plain", source, lambda port: _receive_plain(port, target, hashed=False)
            ),
            "plain-hash": lambda: _measured(
                "plain", source, lambda port: _receive_plain(port, target, hashed=True)
            ),
            "cdproto": lambda: _measured("cdproto", source, lambda port: _receive_cdproto(port, target)),
        }
        found = interleaved(ways, rounds)
    names = {
        "plain": "socket loop: sendall, recv_into, write",
        "plain-hash": "the same, receiver computes sha256",
        "cdproto": "CDProto stream: authenticated, windowed, sha256, fsync",
    }
    rows = [[text, median(found[key], 0), ratio(found[key], found["plain"])] for key, text in names.items()]
    return markdown(
        f"File stream, {MEBIBYTES} MiB over loopback", ["way", "MiB/s", "of the socket loop"], rows
    )


def _measured(way: str, source: Path, receive: Callable[[int], None]) -> float:
    """MiB/s of one transfer, the connection's set-up included."""
    command = [sys.executable, "-m", "bench.streams", way, str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        port = int(sender.stdout.readline())
        started = time.monotonic()
        receive(port)
        return MEBIBYTES / (time.monotonic() - started)


def _receive_plain(port: int, target: Path, *, hashed: bool) -> None:
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    with socket.create_connection(("127.0.0.1", port)) as sock, target.open("wb") as file:
        while count := sock.recv_into(view):
            file.write(view[:count])
            if hashed:
                digest.update(view[:count])


def _receive_cdproto(port: int, target: Path) -> None:
    sock = gevent.socket.create_connection(("127.0.0.1", port))
    with Wire(sock, initiator=True, local=Identity(role="stream", node="bench-in"), secret=SECRET) as wire:
        wire.handshake()
        wire.next_message()
        transfer.receive_file(wire, target, limit=1 << 32)


def _send_plain(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        sock, _ = listener.accept()
        with sock, path.open("rb") as file:
            while block := file.read(CHUNK):
                sock.sendall(block)


def _send_cdproto(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    listener = gevent.socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    sock, _ = listener.accept()
    with Wire(sock, initiator=False, local=Identity(role="node", node="bench-out"), secret=SECRET) as wire:
        wire.handshake()
        transfer.send_file(wire, path, digest, 0)
        wire.flush()
        # The receiver closes once it has everything.
        try:
            wire.next_message()
        except ConnectionError:
            return


if __name__ == "__main__":
    {"plain": _send_plain, "cdproto": _send_cdproto}[sys.argv[1]](Path(sys.argv[2]))
