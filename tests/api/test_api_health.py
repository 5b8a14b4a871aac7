"""What a container engine is told of the service."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from api.health import main, reach


class Answer(BaseHTTPRequestHandler):
    status, body = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body if self.path == "/health" else b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answer]]:
    """A service whose answer the test chooses."""

    class Chosen(Answer):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Chosen)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("TESTRING_API_BIND", f"127.0.0.1:{server.server_port}")
    yield Chosen
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("status", "body", "argv", "code"),
    [
        (200, {"nodes": 4}, [], 0),
        (200, {"nodes": 4}, ["4"], 0),
        (200, {"nodes": 4}, ["5"], 1),
        (503, {"detail": "no master"}, [], 1),
        (503, {"detail": "no master"}, ["--alive"], 0),
    ],
)
def test_exit_codes(answer: type[Answer], status: int, body: object, argv: list[str], code: int) -> None:
    answer.status, answer.body = status, json.dumps(body).encode()
    assert main(argv) == code


def test_no_service(answer: type[Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    answer.body = b"<html>"
    assert main(["--alive"]) == 1
    monkeypatch.setenv("TESTRING_API_BIND", "127.0.0.1:1")
    assert main(["--alive"]) == 1
    monkeypatch.setenv("TESTRING_API_BIND", "0.0.0.0:1")
    assert main(["--alive"]) == 1


def test_where_it_answers() -> None:
    assert reach("0.0.0.0:8080") == ("127.0.0.1", 8080)
    assert reach("[::]:80, 127.0.0.1:81") == ("::1", 80)
    assert reach("127.0.0.1:1") == ("127.0.0.1", 1)
