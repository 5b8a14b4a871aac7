"""File bytes: the credit window of both sides, and the check of a whole file.

A sender may have ``window`` bytes on the way that the receiver has not consumed. That bound, not
the separate connection, keeps heartbeats prompt while a large file streams.
"""

from __future__ import annotations

import hashlib

from proto.errors import LocalProtocolError, WindowExceeded
from proto.messages import FileEnd


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
            WindowExceeded: it grants more than was ever sent.
        """
        if self.available + count > self._size:
            raise WindowExceeded(f"credit for {count} bytes more than are on the way")
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
            LocalProtocolError: more than arrived.
        """
        if self._open + count > self._size:
            raise LocalProtocolError(f"{count} bytes granted that never arrived")
        self._open += count


class FileError(Exception):
    """A file cannot be taken; ``code`` is the one its ``Abort`` carries."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class FileReceiver:
    """Checks one incoming file: size as it grows, hash at its end.

    Args:
        sha256: the hash it must have, if known before.
        limit: bytes; more is refused while it arrives.
    """

    def __init__(self, *, sha256: str | None = None, limit: int) -> None:
        self._expected = sha256
        self._limit = limit
        self._digest = hashlib.sha256()
        self.size = 0

    def update(self, data: bytes) -> None:
        """Count and hash bytes, held ones first (may run in a threadpool).

        Raises:
            FileError: ``too-large``.
        """
        self.size += len(data)
        if self.size > self._limit:
            raise FileError("too-large", f"the file is too large: at most {self._limit} bytes are taken")
        self._digest.update(data)

    def finish(self, end: FileEnd) -> str:
        """The verified sha256.

        Raises:
            FileError: ``damaged``: size or hash differ from what was announced.
        """
        digest = self._digest.hexdigest()
        if self.size != end.size or digest != end.sha256:
            raise FileError("damaged", "the file arrived damaged: its size or hash is not the announced one")
        if self._expected not in (None, digest):
            raise FileError("damaged", f"the content is {digest}, not {self._expected}")
        return digest
