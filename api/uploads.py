"""Archives on their way in: spooled to an unnamed file in bounded memory, then handed to the node.

The whole archive is received before the node hears of it, so a slow client never holds a node's
connection, the hash is known beforehand, and the spool can be sent again if the node dies meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from flask import Flask, Request
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import LimitedStream

from api.client import BLOCK
from api.problems import Problem

ZIP_START = b"PK"
FORM_OVERHEAD = 1 << 20
"""Bytes a form may have beside its file."""
MAX_PARTS = 16
"""Parts of one form; each file among them takes a descriptor."""


class Spool:
    """One archive: written once, then read as often as needed. The file has no name and goes with it.

    Args:
        limit: bytes; writing more raises 413.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 (closed by ``close``)
        self._digest = hashlib.sha256()
        self._limit = limit
        self._unyielded = 0
        self.size = 0

    @property
    def sha256(self) -> str:
        """Hash of what was written."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        """Append ``data``.

        Raises:
            Problem: 413 beyond the limit, 507 if the disk is full.
        """
        self.size += len(data)
        if self.size > self._limit:
            raise too_large(self._limit)
        try:
            self._file.write(data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Problem(
                    507, "the disk that uploads are spooled to is full; see TESTRING_SPOOL"
                ) from error
            raise
        self._digest.update(data)
        self._unyielded += len(data)
        if self._unyielded >= BLOCK:
            # A fast client's socket always has data: without this, nobody else would be served.
            self._unyielded = 0
            time.sleep(0)
        return len(data)

    def seek(self, offset: int) -> int:
        """Go to ``offset`` for reading."""
        return self._file.seek(offset)

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes from where it stands."""
        return self._file.read(size)

    def close(self) -> None:
        """Give the disk space back; idempotent."""
        self._file.close()


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


def too_large(limit: int) -> Problem:
    """413; the connection is closed, for the rest of the body is not worth reading."""
    return Problem(
        413,
        f"the upload is larger than the limit of {limit} bytes",
        headers={"Connection": "close"},
        limit=limit,
    )


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


def _cut_off(sock, expired: threading.Event) -> None:  # type: ignore[no-untyped-def]
    expired.set()
    try:
        sock.shutdown(0)
    except OSError:
        # The client is gone already; the reader noticed.
        return


def _too_slow(seconds: float) -> Problem:
    return Problem(
        408,
        f"the request body did not arrive within {seconds:g} s",
        headers={"Connection": "close"},
        limit=seconds,
    )
