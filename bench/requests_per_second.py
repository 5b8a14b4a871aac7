"""Requests a second of the API against a bare Flask route, under the same gunicorn settings.

Every API request goes on to the master over its control socket; the bare route answers by itself.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable

from bench.rounds import interleaved, markdown, median, ratio
from cli.children import Child
from tests.support.cluster import Cluster

SECONDS = 2.0
CONNECTIONS = 8
_LISTENING = re.compile(r"Listening at: http://(?P<host>[\d.]+):(?P<port>\d+)")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def table(rounds: int) -> str:
    """One row per route."""
    arguments = ["-k", "gevent", "-w", "1", "--keep-alive", "30", "--no-control-socket", "-b", "127.0.0.1:0"]
    bare = Child("bare", "gunicorn", [*arguments, "bench.bare:app"], ready=_LISTENING)
    cluster = Cluster(1)
    try:
        bare_port = int(bare.wait_ready(30.0)["port"])
        port = int(cluster.url.rpartition(":")[2])
        ways: dict[str, Callable[[], float]] = {
            "bare Flask route": lambda: _rate(bare_port, "/"),
            "GET /health": lambda: _rate(port, "/health"),
            "GET /network": lambda: _rate(port, "/network"),
            "GET /stats": lambda: _rate(port, "/stats"),
            "GET /evaluation": lambda: _rate(port, "/evaluation"),
        }
        found = interleaved(ways, rounds)
    finally:
        cluster.close()
        bare.kill()
    base = found["bare Flask route"]
    rows = [[name, median(values, 0), ratio(values, base)] for name, values in found.items()]
    title = f"HTTP, one gunicorn worker, {CONNECTIONS} keep-alive connections"
    return markdown(title, ["route", "requests a second", "of bare Flask"], rows)


def _rate(port: int, path: str) -> float:
    """Requests a second over several connections for a while."""
    counts = [0] * CONNECTIONS
    end = time.monotonic() + SECONDS
    threads = [threading.Thread(target=_ask, args=(port, path, end, counts, n)) for n in range(CONNECTIONS)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - started)


def _ask(port: int, path: str, end: float, counts: list[int], number: int) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10.0) as sock:
        while time.monotonic() < end:
            sock.sendall(request)
            _answer(sock)
            counts[number] += 1


def _answer(sock: socket.socket) -> None:
    """Read one whole answer.

    Raises:
        RuntimeError: it is not a 200 with a length.
    """
    data = b""
    while (head := data.find(b"\r\n\r\n")) < 0:
        data += sock.recv(65_536)
    length = _LENGTH.search(data, 0, head + 2)
    if length is None or not data.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"unexpected answer: {data[:200]!r}")
    left = head + 4 + int(length[1]) - len(data)
    while left > 0:
        left -= len(sock.recv(65_536))
