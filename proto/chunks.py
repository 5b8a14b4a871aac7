"""File bytes: the credit window of both sides, and the check of a whole file.

A sender may have ``window`` bytes on the way that the receiver has not consumed. That bound, not
the separate connection, keeps heartbeats prompt while a large file streams.
"""

from __future__ import annotations

import hashlib

from proto.errors import LocalProtocolError, WindowExceeded
from proto.messages import FileEnd, FileStart


class SendWindow:
    """The sender's side: how many bytes may go out now."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.available = size

    def take(self, count: int) -> None:
        """Spend credit.

        Raises:
            LocalProtocolError: there is not enough.
        """
        if count > self.available:
            raise LocalProtocolError(f"{count} bytes to send but credit for {self.available}")
        self.available -= count

    def add(self, count: int) -> None:
        """The peer consumed ``count`` bytes.

        Raises:
            WindowExceeded: nothing, or more than is on the way.
        """
        on_the_way = self._size - self.available
        if not 0 < count <= on_the_way:
            raise WindowExceeded(f"credit for {count} bytes where {on_the_way} are on the way")
        self.available += count


class ReceiveWindow:
    """The receiver's side: how many bytes may still arrive."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._open = size

    def arrived(self, count: int) -> None:
        """A chunk came in.

        Raises:
            WindowExceeded: the peer had no credit for it.
        """
        if count > self._open:
            raise WindowExceeded(f"a chunk of {count} bytes but credit for {self._open}")
        self._open -= count

    def grant(self, count: int) -> None:
        """The application consumed ``count`` bytes.

        Raises:
            LocalProtocolError: nothing, or more than arrived.
        """
        held = self._size - self._open
        if not 0 < count <= held:
            raise LocalProtocolError(f"{count} bytes granted where {held} arrived")
        self._open += count


class FileError(Exception):
    """A file cannot be taken; ``code`` is the one its ``Abort`` carries."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class FileReceiver:
    """Checks one incoming file: size as it grows, hash at its end.

    To resume at ``offset``, feed the bytes that are already held to ``rehash`` first. ``update``,
    ``rehash`` and ``finish`` touch nothing but this object, so they may run in a threadpool.

    Args:
        sha256: the hash it must have, if known before.
        size: bytes it must have in all, if known before.
        offset: bytes already held.
        limit: bytes; more is refused while it arrives.

    Raises:
        FileError: ``too-large``: ``size`` or ``offset`` is above ``limit``.
    """

    def __init__(
        self, *, sha256: str | None = None, size: int | None = None, offset: int = 0, limit: int
    ) -> None:
        self._expected = sha256
        self._announced = size
        self._offset = offset
        self._limit = limit
        self._digest = hashlib.sha256()
        self.size = 0
        self._check_size(max(size or 0, offset))

    def start(self, start: FileStart) -> None:
        """Take the sender's announcement, before the first byte.

        Raises:
            FileError: ``damaged``: another offset than asked for; ``too-large``.
        """
        if start.offset != self._offset:
            raise FileError("damaged", f"the sender starts at {start.offset}, not at {self._offset}")
        if start.size is not None:
            if self._announced not in (None, start.size):
                raise FileError("damaged", f"the sender has {start.size} bytes, not {self._announced}")
            self._check_size(start.size)
            self._announced = start.size

    def rehash(self, data: bytes) -> None:
        """Hash the next of the bytes that are already held.

        Raises:
            LocalProtocolError: more than ``offset`` bytes.
        """
        if self.size + len(data) > self._offset:
            raise LocalProtocolError(f"more than the {self._offset} bytes held were hashed again")
        self.size += len(data)
        self._digest.update(data)

    def update(self, data: bytes) -> None:
        """Count and hash bytes that arrived.

        Raises:
            FileError: ``too-large``; ``damaged``: more than was announced.
            LocalProtocolError: not all bytes held were hashed before.
        """
        self._check_complete()
        size = self.size + len(data)
        self._check_size(size)
        if self._announced is not None and size > self._announced:
            raise FileError("damaged", f"more than the {self._announced} bytes announced arrived")
        self.size = size
        self._digest.update(data)

    def finish(self, end: FileEnd) -> str:
        """The verified sha256.

        Raises:
            FileError: ``damaged``: size or hash differ from what was announced.
            LocalProtocolError: not all bytes held were hashed before.
        """
        self._check_complete()
        digest = self._digest.hexdigest()
        if self.size != end.size or digest != end.sha256 or self._announced not in (None, self.size):
            raise FileError("damaged", "the file arrived damaged: its size or hash is not the announced one")
        if self._expected not in (None, digest):
            raise FileError("damaged", f"the content is {digest}, not {self._expected}")
        return digest

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise FileError("too-large", f"the file is too large: at most {self._limit} bytes are taken")

    def _check_complete(self) -> None:
        if self.size < self._offset:
            raise LocalProtocolError(f"{self.size} of the {self._offset} bytes held were hashed again")
