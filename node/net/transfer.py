"""Files over stream connections: a connection and a greenlet of its own for each.

Reading, writing and hashing go to the threadpool in blocks of the credit window, so that a large
package delays a heartbeat by no more than one chunk.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import gevent

from node.net.wire import Wire, WireClosed
from node.threads import in_bulk, in_pool
from proto.connection import ChunkReceived, MessageReceived
from proto.errors import ProtocolError
from proto.messages import Abort, Fetch, FetchState, FileEnd, FileStart, FileStored, Store

BLOCK = 1 << 20
CHUNK = 256 * 1024


class TransferError(Exception):
    """A transfer did not complete; one line says why."""


def _write(file: BinaryIO, digest: hashlib._Hash, data: bytes) -> None:
    file.write(data)
    digest.update(data)


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def serve(
    wire: Wire,
    find: Callable[[str], Path | None],
    spool: Callable[[], Path],
    adopt: Callable[[Path, str], None],
    limit: int,
    state: Callable[[], AbstractContextManager[tuple[Path, str]]],
) -> None:
    """Serve one stream connection until the peer closes it.

    Args:
        find: the file that holds a hash, if this node has it.
        spool: a new temporary path for an incoming file.
        adopt: moves a complete temporary file to its place under its hash.
        limit: bytes; a larger file is refused with ``Abort("too-large")``.
        state: makes a copy of what the log adds up to; gives its path and sha256 while it is needed.
    """
    while True:
        try:
            message = wire.next_message()
        except WireClosed:
            return
        if isinstance(message, Fetch):
            path = find(message.sha256)
            if path is None:
                wire.send(Abort(code="unknown-file", reason=f"no file {message.sha256} here"))
            else:
                send_file(wire, path, message.sha256, message.offset)
        elif isinstance(message, FetchState):
            with state() as (path, digest):
                send_file(wire, path, digest, 0)
        elif isinstance(message, Store):
            if message.size is not None and message.size > limit:
                wire.send(Abort(code="too-large", reason=f"at most {limit} bytes are taken"))
                continue
            temporary = in_pool(spool)
            try:
                digest, size = receive_file(wire, temporary, limit=limit)
                if message.sha256 not in (None, digest):
                    raise TransferError(f"the content is {digest}, not {message.sha256}")
                in_pool(adopt, temporary, digest)
                wire.send(FileStored(sha256=digest, size=size))
            except TransferError as error:
                wire.send(Abort(code="too-large" if "at most" in str(error) else "failed", reason=str(error)))
                wire.connection.close()
                wire.flush()
                return
            except OSError as error:
                wire.send(Abort(code="disk", reason=f"storing failed: {error.strerror or error}"))
                return
            finally:
                in_bulk(_discard, temporary)
        elif not isinstance(message, Abort):
            raise ProtocolError(f"{type(message).__name__} is not for a stream connection")


def send_file(wire: Wire, path: Path, sha256: str, offset: int) -> None:
    """Send ``path`` from ``offset`` on: ``FileStart``, chunks within the peer's credit, ``FileEnd``."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(offset)
        wire.send(FileStart(size=size, offset=offset))
        _send_rest(wire, file, sha256, size)


def _send_rest(wire: Wire, file: BinaryIO, sha256: str, size: int) -> None:
    while block := in_pool(file.read, BLOCK):
        for start in range(0, len(block), CHUNK):
            wire.send_chunk(block[start : start + CHUNK])
    wire.send(FileEnd(sha256=sha256, size=size))


def receive_file(wire: Wire, temporary: Path, *, limit: int, offset: int = 0) -> tuple[str, int]:
    """Chunks up to ``FileEnd`` into ``temporary``; (sha256, size) of the whole, verified and on disk.

    Raises:
        TransferError: larger than ``limit``, another hash than announced, or aborted by the sender.
    """
    digest = hashlib.sha256()
    with temporary.open("r+b" if offset else "wb") as file:
        if offset:
            in_pool(_rehash, file, digest, offset)
        size = offset
        pending: list[bytes] = []
        while True:
            event = wire.next_event()
            if isinstance(event, ChunkReceived):
                size += len(event.data)
                if size > limit:
                    raise TransferError(f"the file is too large: at most {limit} bytes are taken")
                pending.append(bytes(event.data))
                if sum(map(len, pending)) >= BLOCK // 2:
                    _drain(wire, file, digest, pending)
                continue
            _drain(wire, file, digest, pending)
            message = event.message if isinstance(event, MessageReceived) else None
            if isinstance(message, FileEnd):
                if message.sha256 != digest.hexdigest() or message.size != size:
                    raise TransferError("the file arrived damaged: its hash differs from the announced one")
                in_bulk(_sync, file)
                return digest.hexdigest(), size
            if isinstance(message, Abort):
                raise TransferError(message.reason or message.code)


def _rehash(file: BinaryIO, digest: hashlib._Hash, length: int) -> None:
    while length and (block := file.read(min(BLOCK, length))):
        digest.update(block)
        length -= len(block)


def _drain(wire: Wire, file: BinaryIO, digest: hashlib._Hash, pending: list[bytes]) -> None:
    if not pending:
        return
    data = b"".join(pending)
    pending.clear()
    in_pool(_write, file, digest, data)
    wire.connection.grant(len(data))
    wire.flush()


def fetch(dial: Callable[[], Wire], sha256: str, temporary: Path, *, limit: int, seconds: float) -> int:
    """Bring content ``sha256`` into ``temporary``, resuming where a broken connection left off.

    Args:
        dial: opens an authenticated stream connection to a node that has it.
        seconds: keep trying for so long.

    Returns:
        The size in bytes.

    Raises:
        TransferError: it could not be had in time.
    """
    deadline = time.monotonic() + seconds
    pause = 0.05
    while True:
        offset = temporary.stat().st_size if temporary.exists() else 0
        try:
            with dial() as wire:
                wire.send(Fetch(sha256=sha256, offset=offset))
                start = wire.next_message()
                if isinstance(start, Abort):
                    raise TransferError(start.reason or start.code)
                if not isinstance(start, FileStart) or start.offset != offset:
                    raise ProtocolError(f"{type(start).__name__} came where a file was to start")
                digest, size = receive_file(wire, temporary, limit=limit, offset=offset)
                if digest != sha256:
                    in_bulk(_discard, temporary)
                    raise TransferError(f"the file arrived as {digest}")
                return size
        except (OSError, ProtocolError) as error:
            if time.monotonic() > deadline:
                raise TransferError(f"the package could not be fetched: {error}") from error
            gevent.sleep(pause)
            pause = min(pause * 2, 2.0)


def fetch_state(wire: Wire, upto: int, temporary: Path, *, limit: int) -> None:
    """Bring a copy of what the other node's log adds up to into ``temporary``.

    Raises:
        TransferError: it could not be had, or is larger than ``limit`` bytes.
    """
    wire.send(FetchState(upto=upto))
    start = wire.next_message()
    if not isinstance(start, FileStart):
        raise TransferError(
            start.reason if isinstance(start, Abort) else f"unexpected {type(start).__name__}"
        )
    receive_file(wire, temporary, limit=limit)


def push(wire: Wire, path: Path, sha256: str) -> None:
    """Store a local file at the other end.

    Raises:
        TransferError: the receiver refused it.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        wire.send(Store(sha256=sha256, size=size))
        _send_rest(wire, file, sha256, size)
    answer = wire.next_message()
    if not isinstance(answer, FileStored):
        raise TransferError(
            answer.reason if isinstance(answer, Abort) else f"unexpected {type(answer).__name__}"
        )
