"""A small server that answers as a script says, and records what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import main

Answer = tuple[int, Any, dict[str, str]]


class Asked:
    """One request as the server saw it."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.path, self.headers, self.body = method, path, headers, body


class FakeServer:
    """``answers[(method, path)]`` is a list of (status, body, headers); the last one is repeated."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[Answer]] = {}
        self.asked: list[Asked] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fake.asked.append(Asked(self.command, self.path, dict(self.headers), body))
                status, answer, headers = fake.next_answer(self.command, self.path)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _handle  # noqa: N815

            def log_message(self, *_arguments: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def on(self, method: str, path: str, *answers: Any, status: int = 200) -> None:
        """Answer with these bodies (200) or full (status, body, headers) triples, in order."""
        made = [answer if isinstance(answer, tuple) else (status, answer, {}) for answer in answers]
        self.answers[method, path] = made

    def next_answer(self, method: str, path: str) -> Answer:
        """What the script says now."""
        answers = self.answers.get((method, path)) or self.answers.get((method, path.partition("?")[0]))
        if not answers:
            return 404, {"title": "Not found", "detail": f"there is no {path}"}, {}
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def testring(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``testring(*words)``: (exit code, stdout, stderr) of the command, run in this process."""
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("TESTRING_SERVER", "TESTRING_TOKEN", "TESTRING_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: str) -> Result:
        code = main(list(words))
        out, err = capfd.readouterr()
        return Result(CliRunner(), out.encode(), err.encode(), (out + err).encode(), None, code, None)

    return call


@pytest.fixture
def finished() -> dict[str, Any]:
    """A finished evaluation as the contract shows it."""
    return evaluation("finished")


def evaluation(state: str, **more: Any) -> dict[str, Any]:
    """An answer of ``GET /evaluation/7``."""
    tests = {"total": 3, "executed": 3, "running": 0, "pending": 0}
    numbers = {"passed": 66.67, "failed": 33.33, "grade": 13.33, "tests": tests}
    project = {"name": "ring[x]", "source": "upload", "state": state, **numbers, "modules": []}
    return {"id": 7, "state": state, "seconds": 1.5, **numbers, "projects": [project], **more}
