"""The service as it is run: a real gunicorn with gevent workers, real sockets, curl."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
from fakenode import FakeNode

from proto.messages import GetEvaluation, SubmitArchive, SubmitProjects

DEADLINE = 30.0
LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.process


class Service:
    """A running ``python -m api``."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env={**os.environ, "TESTRING_API_BIND": "127.0.0.1:0", **environment},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._drain = threading.Thread(target=self._read, daemon=True)
        self._drain.start()
        self.port = int(self.wait_for(LISTENING)[1])
        self.wait_for(re.compile("Booting worker"))
        self.url = f"http://127.0.0.1:{self.port}"

    def wait_for(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """The first match in the lines not looked at yet."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {pattern.pattern!r} in:\n{''.join(self.log)}") from None
            if found := pattern.search(line):
                return found

    def worker(self) -> psutil.Process:
        """gunicorn's one worker process."""
        [worker] = psutil.Process(self.process.pid).children()
        return worker

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()
            self._drain.join(DEADLINE)
            self.process.stderr.close()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(line)
            self._lines.put(line)


@pytest.fixture
def serve(socket_path: Path, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def start(**environment: str) -> Service:
        base = {"TESTRING_SOCKET": str(socket_path), "TESTRING_SPOOL": str(tmp_path)}
        running.append(Service(base | environment))
        return running[-1]

    yield start
    for service in running:
        service.stop()


def curl(*arguments: str) -> tuple[int, dict[str, object]]:
    """(status, JSON body)."""
    done = subprocess.run(
        ["curl", "-sS", "-m", "30", "-w", "\n%{http_code}", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_lines_of_the_contract(node: FakeNode, serve: Callable[..., Service], tmp_path: Path) -> None:
    url = serve().url + "/evaluation"
    archive = tmp_path / "all_projects.zip"
    archive.write_bytes(b"PK" + os.urandom(3 << 20))

    status, body = curl("-X", "POST", url, "-F", f"file=@{archive}")
    assert (status, body["id"]) == (202, 1)
    data = '{"auth_token": "t", "projects": ["https://github.com/user/repo"]}'
    status, body = curl("-X", "POST", url, "-H", "Content-Type: application/json", "-d", data)
    assert (status, body["id"]) == (202, 2)
    for how in ([], ["-H", "Content-Type: application/zip"], ["-H", "Transfer-Encoding: chunked"]):
        status, body = curl("-X", "POST", url, "--data-binary", f"@{archive}", *how)
        assert status == 202, body

    archives = [query for query in node.asked if isinstance(query, SubmitArchive)]
    assert {query.sha256 for query in archives} == {hashlib.sha256(archive.read_bytes()).hexdigest()}
    assert [query.projects for query in node.asked if isinstance(query, SubmitProjects)] == [
        ("https://github.com/user/repo",)
    ]


@pytest.mark.parametrize("way", ["form", "raw"])
def test_large_upload_in_bounded_memory(
    node: FakeNode, serve: Callable[..., Service], tmp_path: Path, way: str
) -> None:
    service = serve()
    assert requests.get(service.url + "/", timeout=DEADLINE).status_code == 200
    worker = service.worker()
    before = worker.memory_info().rss
    size = 64 << 20
    archive = tmp_path / "large.zip"
    with archive.open("wb") as file:
        file.write(b"PK")
        file.truncate(size)

    if way == "form":
        done, _ = curl("-X", "POST", service.url + "/evaluation", "-F", f"file=@{archive}")
    else:
        with archive.open("rb") as file:
            headers = {"Content-Type": "application/zip"}
            done = requests.post(
                service.url + "/evaluation", data=file, headers=headers, timeout=DEADLINE
            ).status_code

    assert done == 202
    assert list(node.stored.values()) == [size]
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker.pid}/status").read_text())[1]) << 10
    assert peak - before < 24 << 20
    assert [path for path in tmp_path.iterdir() if path != archive] == []


def test_too_large(node: FakeNode, serve: Callable[..., Service], tmp_path: Path) -> None:
    service = serve(TESTRING_MAX_UPLOAD="1M")
    archive = tmp_path / "large.zip"
    archive.write_bytes(b"PK" + bytes(3 << 20))
    url = service.url + "/evaluation"
    raw = ["--data-binary", f"@{archive}", "-H", "Content-Type: application/zip"]
    for how in (["-F", f"file=@{archive}"], raw, [*raw, "-H", "Transfer-Encoding: chunked"]):
        status, body = curl("-X", "POST", url, *how)
        assert (status, body["limit"]) == (413, 1 << 20)


@pytest.mark.parametrize("kind", ["application/json", "application/zip", "multipart/form-data; boundary=b"])
def test_slow_body(node: FakeNode, serve: Callable[..., Service], kind: str) -> None:
    service = serve(TESTRING_BODY_TIMEOUT="0.3")
    with socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE) as slow:
        head = f"POST /evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
        slow.sendall(
            head.encode() + b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nPK'
        )
        response = http.client.HTTPResponse(slow)
        response.begin()
        assert response.status == 408
        assert json.loads(response.read())["status"] == 408
        # Nothing of this connection is taken for another request.
        assert slow.recv(1) == b""
    assert node.asked == []


def test_client_that_goes_away(node: FakeNode, serve: Callable[..., Service], tmp_path: Path) -> None:
    service = serve(TESTRING_MAX_UPLOADS="1")
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE) as gone:
            gone.sendall(
                b"POST /evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\n"
                b"Content-Length: 1000\r\n\r\nPK"
            )
            gone.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(gone)
            response.begin()
            assert response.status == 400
    assert node.stored == {}
    assert list(tmp_path.iterdir()) == []


def test_many_readers_share_one_connection(node: FakeNode, serve: Callable[..., Service]) -> None:
    node.answer = lambda query: (200, {"id": query.evaluation})
    service = serve()

    def read(number: int) -> int:
        return requests.get(f"{service.url}/evaluation/{number}", timeout=DEADLINE).json()["id"]

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(read, range(300))) == list(range(300))
    assert node.connections == 1
    assert sorted(query.evaluation for query in node.asked) == list(range(300))


def test_node_dies_and_returns(node: FakeNode, serve: Callable[..., Service], socket_path: Path) -> None:
    service = serve(TESTRING_CONNECT_TIMEOUT="0.5")
    url = f"{service.url}/evaluation/7"
    assert requests.get(url, timeout=DEADLINE).status_code == 404
    node.close()
    down = requests.get(url, timeout=DEADLINE)
    assert (down.status_code, down.headers["Content-Type"]) == (503, "application/problem+json")
    assert down.headers["Retry-After"]
    again = FakeNode(socket_path)
    try:
        again.answer = lambda query: (200, {"id": query.evaluation})
        assert requests.get(url, timeout=DEADLINE).json() == {"id": 7}
        assert again.asked == [GetEvaluation(evaluation=7)]
    finally:
        again.close()


def test_report_that_breaks_off_is_cut(node: FakeNode, serve: Callable[..., Service]) -> None:
    tests = [
        {"project": "p", "module": "m", "nodeid": f"m::{n}", "outcome": "passed", "message": "x" * 100}
        for n in range(1024)
    ]
    node.answer = lambda query: (
        (200, {"tests": tests, "page": 1, "next": 2}) if query.page == 1 else (404, {})
    )
    service = serve()
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(f"{service.url}/evaluation/1/report.jsonl", timeout=DEADLINE)


def test_no_control_socket_is_left(serve: Callable[..., Service], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    service = serve(HOME=str(home), XDG_RUNTIME_DIR=str(home))
    assert requests.get(service.url + "/", timeout=DEADLINE).status_code == 200
    assert list(home.rglob("*")) == []
