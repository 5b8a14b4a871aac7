"""A node that is not one: CDProto over a Unix socket, canned answers, uploads kept in memory by hash.

It runs on plain threads and the real ``proto`` package, so that what crosses the socket is real.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from proto.connection import (
    ChunkReceived,
    Closed,
    Connection,
    Event,
    HandshakeDone,
    Identity,
    MessageReceived,
)
from proto.messages import (
    Abort,
    AnyMessage,
    FileEnd,
    FileStored,
    Query,
    Request,
    Response,
    Store,
    SubmitArchive,
    SubmitProjects,
)

Answer = tuple[int, object] | Response | None


class FakeNode:
    """Listens as soon as it is made.

    Attributes:
        asked: every query received, in order.
        stored: sha256 -> size of every upload.
        answer: called with each query; ``None`` means "no answer". Replace it in a test.
        refuse: an ``Abort`` to answer uploads with, or None.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[Query] = []
        self.stored: dict[str, int] = {}
        self.answer: Callable[[Query], Answer] = self.accept
        self.refuse: Abort | None = None
        self.connections = 0
        self.ids: dict[str, int] = {}
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(128)
        self._start(self._serve)

    def accept(self, query: Query) -> Answer:
        """Give every new request name the next id; 404 for the rest."""
        if isinstance(query, SubmitArchive | SubmitProjects):
            if isinstance(query, SubmitArchive) and query.sha256 not in self.stored:
                return problem(400, "Unknown upload")
            with self._lock:
                number = self.ids.setdefault(query.request, len(self.ids) + 1)
            return 202, {"id": number, "state": "queued"}
        return problem(404, "Not found")

    def close(self) -> None:
        """Drop every connection and the socket; wait for the threads. Idempotent."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink(missing_ok=True)
        self.drop()
        for thread in self._threads:
            thread.join(10)

    def drop(self) -> None:
        """Cut every connection that is open now."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.append(sock)
                self.connections += 1
            self._start(self._converse, sock)

    def _converse(self, sock: socket.socket) -> None:
        connection = Connection(
            initiator=False,
            local=Identity(role="control", node="fake"),
            secret=b"",
            nonce=os.urandom(32),
            now=time.monotonic(),
        )
        upload = _Upload(self)
        with sock:
            try:
                while True:
                    for data in connection.data_to_send():
                        sock.sendall(data)
                    data = sock.recv(1 << 18)
                    if not data:
                        return
                    connection.receive_data(data, time.monotonic())
                    for event in connection.events_received():
                        if isinstance(event, Closed):
                            return
                        self._take(connection, upload, event)
            except OSError:
                return

    def _take(self, connection: Connection, upload: _Upload, event: Event) -> None:
        if isinstance(event, ChunkReceived):
            upload.data(event.data)
            connection.grant(len(event.data))
        elif isinstance(event, MessageReceived):
            for answer in self._replies(upload, event.message):
                connection.send(answer)
        else:
            assert isinstance(event, HandshakeDone) or event

    def _replies(self, upload: _Upload, message: AnyMessage) -> list[AnyMessage]:
        if isinstance(message, Store):
            return [self.refuse] if self.refuse else []
        if isinstance(message, FileEnd):
            return [] if self.refuse else [upload.end(message)]
        assert isinstance(message, Request)
        with self._lock:
            self.asked.append(message.query)
        answer = self.answer(message.query)
        if answer is None:
            return []
        if isinstance(answer, Response):
            return [msgspec.structs.replace(answer, id=message.id)]
        status, body = answer
        return [Response(id=message.id, status=status, body=msgspec.json.encode(body))]


class _Upload:
    def __init__(self, node: FakeNode) -> None:
        self._node = node
        self._digest = hashlib.sha256()
        self._size = 0

    def data(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)

    def end(self, end: FileEnd) -> AnyMessage:
        digest = self._digest.hexdigest()
        if (digest, self._size) != (end.sha256, end.size):
            return Abort(code="failed", reason="another hash")
        self._node.stored[digest] = self._size
        return FileStored(sha256=digest, size=self._size)


def problem(status: int, title: str, **members: object) -> tuple[int, object]:
    """A node's error answer."""
    return status, {"type": "about:blank", "title": title, "status": status, "detail": title, **members}
