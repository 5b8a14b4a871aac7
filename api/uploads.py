"""Request bodies that carry an archive: a form, or the zip itself, read within a time and a size."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from flask import Flask, Request
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import LimitedStream

from api.client import BLOCK
from api.problems import Problem
from api.spool import Spool, too_large

ZIP_START = b"PK"
FORM_OVERHEAD = 1 << 20
"""Bytes a form may have beside its file."""
MAX_PARTS = 16
"""Parts of one form; each file among them takes a descriptor."""


class UploadRequest(Request):
    """A Flask request that spools the files of a form into the configured directory."""

    spool_directory: Path
    spool_limit: int

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        # werkzeug only writes to it and seeks: a spool is no more of a file than that.
        return self.new_spool()  # type: ignore[return-value]

    def new_spool(self) -> Spool:
        """A spool that ``close_spools`` closes."""
        spool = Spool(self.spool_directory, self.spool_limit)
        self.__dict__.setdefault("spools", []).append(spool)
        return spool

    def close_spools(self) -> None:
        """Close every file of this request, also those of a form that could not be read to its end."""
        for spool in self.__dict__.get("spools", ()):
            spool.close()


def install(app: Flask, directory: Path, limit: int) -> None:
    """Make ``app`` spool uploads of at most ``limit`` bytes into ``directory``."""

    class Configured(UploadRequest):
        spool_directory = directory
        spool_limit = limit

    app.request_class = Configured
    app.config["MAX_CONTENT_LENGTH"] = limit + FORM_OVERHEAD
    app.config["MAX_FORM_PARTS"] = MAX_PARTS


def spool_body(request: UploadRequest) -> Spool:
    """The raw body, spooled.

    Raises:
        Problem: 400 if the body is empty or ends early, 413 beyond the limit.
    """
    announced = request.content_length
    if announced is not None and announced > request.spool_limit:
        raise too_large(request.spool_limit)
    spool = request.new_spool()
    while block := request.stream.read(BLOCK):
        spool.write(block)
    # Behind a server that ends the stream itself, a client that went away looks like the end.
    if announced is not None and spool.size < announced:
        raise ClientDisconnected
    if spool.size == 0:
        raise empty()
    return spool


def spool_form(request: UploadRequest) -> tuple[Spool, str, str]:
    """(archive, its file name, text of the ``options`` field) of a multipart form.

    Raises:
        Problem: 400 if the form has no usable ``file`` or is broken, 413 beyond the limit.
    """
    announced = request.content_length
    if announced is not None and announced > request.spool_limit + FORM_OVERHEAD:
        raise too_large(request.spool_limit)
    if not request.mimetype_params.get("boundary"):
        raise Problem(400, "the multipart body has no boundary in its Content-Type")
    uploads = request.files.getlist("file")
    if not uploads:
        hint = "; 'file' is a text field here, send it as a file (curl: -F file=@projects.zip)"
        raise Problem(
            400,
            "the form has no complete file in its field 'file'" + (hint if "file" in request.form else ""),
            field="file",
        )
    if len(uploads) > 1:
        raise Problem(400, "the form has several files in its field 'file': send one archive", field="file")
    # The stream is what ``_get_file_stream`` gave, whatever werkzeug's types say.
    spool: Spool = uploads[0].stream  # type: ignore[assignment]
    if spool.size == 0:
        raise empty()
    return spool, uploads[0].filename or "", request.form.get("options", "")


def empty() -> Problem:
    """400: nothing was sent."""
    return Problem(400, "the archive is empty: 0 bytes arrived", field="file")


def starts_like_zip(request: UploadRequest) -> bool:
    """Whether the body begins as a zip does; the body can still be read from its start afterwards."""
    start = request.stream.read(len(ZIP_START))
    request.__dict__["stream"] = _Replayed(start, request.stream)
    return start == ZIP_START


class _Replayed:
    """A stream whose first bytes were read already and come again."""

    def __init__(self, start: bytes, rest: IO[bytes] | LimitedStream) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        start, self._start = self._start, b""
        return start or self._rest.read(size)


@contextmanager
def body_deadline(request: Request, seconds: float) -> Iterator[None]:
    """Give the client ``seconds`` to send the body; then its sending side is cut off and the answer is 408.

    The server has no time limit of its own for bodies. Cutting the socket works with green and with
    real threads, and unlike an exception thrown into the reader it cannot strike anywhere else.
    """
    sock = request.environ.get("gunicorn.socket")
    if sock is None:
        yield
        return
    expired = threading.Event()
    timer = threading.Timer(seconds, _cut_off, (sock, expired))
    timer.daemon = True
    timer.start()
    try:
        yield
    except BaseException as error:
        if expired.is_set():
            raise _too_slow(seconds) from error
        raise
    finally:
        timer.cancel()
    if expired.is_set():
        raise _too_slow(seconds)


def _cut_off(sock: socket.socket, expired: threading.Event) -> None:
    expired.set()
    try:
        sock.shutdown(socket.SHUT_RD)
    except OSError:
        # The client is gone already; the reader noticed.
        return


def _too_slow(seconds: float) -> Problem:
    return Problem(408, f"the request body did not arrive within {seconds:g} s", limit=seconds)
