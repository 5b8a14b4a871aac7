"""An archive on its way in: spooled to an unnamed file in bounded memory, then handed to the node.

The whole archive is received before the node hears of it, so a slow client never holds a node's
connection, the hash is known beforehand, and the spool can be sent again if the node dies meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import tempfile
import time
from pathlib import Path

from api.client import BLOCK
from api.problems import Problem


class Spool:
    """One archive: written once, then read as often as needed. The file has no name and goes with it.

    Args:
        limit: bytes; writing more raises 413.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - it lives as long as the spool: ``close``
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


def too_large(limit: int) -> Problem:
    """413, with the limit in bytes."""
    return Problem(413, f"the upload is larger than the limit of {limit} bytes", limit=limit)
