"""The node as the HTTP service and the command line see it: ask a query, store a file.

One control connection is shared by all requests of a process and opened again by path when it breaks,
so a master that restarts or moves costs a short wait and no error. Every query may be sent twice:
reads change nothing and submissions carry a request id.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from api.channel import Channel, ChannelClosed, Unsendable
from api.link import AnswerOverdue, Link, LinkBusy, LinkLost
from proto.connection import MessageReceived
from proto.messages import Abort, FileEnd, FileStored, Query, Request, Response, Store, decode, encode

Opened = TypeVar("Opened")

BLOCK = 1 << 20
"""Bytes read from a source at once."""
CHUNK = 256 * 1024
"""Bytes of one file chunk; the frame limit allows no more."""


class Readable(Protocol):
    """What a file offers."""

    def read(self, size: int = -1, /) -> bytes: ...


class NodeUnavailable(Exception):
    """No node answered in time; the message says what was tried. Asking later may help."""


class TransferRefused(Exception):
    """The node does not take the file. ``code`` is its reason in one word (``too-large``, ``disk``)."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason or code)
        self.code = code


class NodeClient:
    """Safe to share between threads or greenlets.

    Args:
        socket_path: the master's control socket; if nobody answers there, the ``node-*.sock`` beside
            it are tried, for each of them knows the way to the master.
        timeout: seconds a query may take unless ``ask`` is told otherwise.
        connect_timeout: seconds a node is looked for before ``NodeUnavailable``.
    """

    def __init__(self, socket_path: Path, *, timeout: float = 10.0, connect_timeout: float = 3.0) -> None:
        self.socket_path = Path(socket_path)
        self.timeout = timeout
        self.connect_timeout = connect_timeout
        self._link: Link | None = None
        self._target = ""
        """Which node the path led to when the connection was opened."""
        self._opening = threading.Lock()
        self._failures = 0
        self._failure = ""

    def ask(self, query: Query, *, timeout: float | None = None) -> Response:
        """The node's answer to ``query``: an HTTP status and a JSON body, ready to be passed on.

        Raises:
            NodeUnavailable: no answer within ``timeout`` seconds, or the connection broke twice.
            Unsendable: the query is larger than a frame may be, or a field does not fit the protocol.
        """
        _check(query)
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        for last in (False, True):
            link = self._live_link(end)
            try:
                return link.ask(query, end)
            except LinkLost as error:
                if last:
                    raise NodeUnavailable(f"the connection to the node broke: {error}") from error
            except (AnswerOverdue, LinkBusy) as error:
                raise NodeUnavailable(str(error)) from error
        raise AssertionError("the second try returns or raises")

    def store(
        self,
        source: Readable | Iterable[bytes],
        *,
        size: int | None = None,
        sha256: str | None = None,
        timeout: float = 600.0,
    ) -> FileStored:
        """Send file content over a connection of its own; its sha256 and size once it is on the node's disk.

        Args:
            source: an open binary file (read from where it stands) or blocks of bytes.
            size: bytes, if known; lets the node refuse before anything is sent.
            sha256: if known; it is not computed again, and the node checks against it.

        Raises:
            NodeUnavailable: no node, or the connection broke. The source is then partly consumed.
            TransferRefused: the node said no.
        """
        end = time.monotonic() + timeout
        # To the node that will be asked about it: the master's socket may lead to another one by now.
        link = self._link
        first = link.path if link is not None and not link.lost else None
        channel = self._open(lambda path, left: Channel.open(path, "stream", timeout=left), end, first)
        try:
            channel.send(Store(sha256=sha256, size=size))
            return _send_file(channel, _blocks(source), sha256, end)
        except ChannelClosed as error:
            raise NodeUnavailable(f"the connection to the node broke while storing: {error}") from error
        finally:
            channel.close()

    def close(self) -> None:
        """End the control connection. The client may be used again; it then opens another."""
        with self._opening:
            link, self._link = self._link, None
        if link is not None:
            link.close()

    def _live_link(self, end: float) -> Link:
        link = self._link
        if link is not None and not link.lost:
            if self._leads_to() in ("", self._target):
                return link
            # A master that lost its majority keeps its connections and answers nothing.
            link.close("the path leads to another node now")
        failures = self._failures
        # Whoever comes meanwhile waits here and shares what the first one found, good or bad.
        if not self._opening.acquire(timeout=max(0.0, end - time.monotonic())):
            raise NodeUnavailable("no node was reached in time")
        try:
            if self._link is None or self._link.lost:
                if self._failures != failures:
                    raise NodeUnavailable(self._failure)
                self._target = self._leads_to()
                self._link = self._open_link(end)
            return self._link
        finally:
            self._opening.release()

    def _open_link(self, end: float) -> Link:
        try:
            return self._open(lambda path, left: Link.open(_real(path), timeout=left), end)
        except NodeUnavailable as error:
            self._failures += 1
            self._failure = str(error)
            raise

    def _open(self, opener: Callable[[Path, float], Opened], end: float, first: Path | None = None) -> Opened:
        """``opener(path, seconds)`` for the first path that answers, tried for ``connect_timeout``."""
        end = min(end, time.monotonic() + self.connect_timeout)
        pause = 0.02
        while True:
            failure = ""
            for path in self._paths(first):
                try:
                    return opener(path, max(0.05, end - time.monotonic()))
                except ChannelClosed as error:
                    failure = failure or str(error)
            if time.monotonic() + pause >= end:
                raise NodeUnavailable(f"no master is reachable ({failure})")
            time.sleep(pause)
            pause = min(pause * 2, 0.25)

    def _leads_to(self) -> str:
        """The socket that the master's path is a link to; empty if it is none."""
        try:
            return os.readlink(self.socket_path)
        except OSError:
            return ""

    def _paths(self, first: Path | None) -> Iterator[Path]:
        if first is not None:
            yield first
        yield self.socket_path
        yield from sorted(self.socket_path.parent.glob("node-*.sock"))


def _real(path: Path) -> Path:
    """Where a link leads now: the master's is moved to another node at a takeover."""
    return Path(os.path.realpath(path))


def _check(query: Query) -> None:
    """Refuse here what the node's decoder would refuse: it would close the connection that all share."""
    try:
        decode(encode(Request(id=0, query=query)))
    except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        raise Unsendable(str(error)) from error


def _blocks(source: Readable | Iterable[bytes]) -> Iterator[bytes]:
    # A file is an iterable too, but of lines.
    read = getattr(source, "read", None)
    if read is None:
        assert isinstance(source, Iterable)
        yield from source
        return
    while block := read(BLOCK):
        yield block


def _send_file(channel: Channel, blocks: Iterable[bytes], sha256: str | None, end: float) -> FileStored:
    digest = hashlib.sha256()
    size = 0
    for block in blocks:
        if sha256 is None:
            digest.update(block)
        size += len(block)
        view = memoryview(block)
        while view:
            stored = _wait(channel, end, for_credit=True)
            if stored is not None:
                return stored
            count = min(channel.window, CHUNK, len(view))
            channel.send_chunk(bytes(view[:count]))
            view = view[count:]
            channel.flush(timeout=max(0.01, end - time.monotonic()))
    channel.send(FileEnd(sha256=sha256 or digest.hexdigest(), size=size))
    channel.flush(timeout=max(0.01, end - time.monotonic()))
    stored = _wait(channel, end, for_credit=False)
    if stored is None:
        raise ChannelClosed("the node did not confirm the file")
    return stored


def _wait(channel: Channel, end: float, *, for_credit: bool) -> FileStored | None:
    """Take events until the node stored the file, or (``for_credit``) until it takes more bytes."""
    while not (for_credit and channel.window > 0):
        if time.monotonic() >= end:
            raise ChannelClosed("the node took too long")
        for event in channel.receive():
            message = event.message if isinstance(event, MessageReceived) else None
            if isinstance(message, FileStored):
                return message
            if isinstance(message, Abort):
                raise TransferRefused(message.code, message.reason)
        channel.flush()
    return None
