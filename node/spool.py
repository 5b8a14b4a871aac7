"""Uploads on their way in: spooled under their hash until the submissions that name them."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

KEEP_SECONDS = 3600.0
"""An upload nobody named in a submission for so long is dropped."""


class Spool:
    """Files in one directory, named by sha256. May be used from several threads at once.

    The same bytes may be uploaded more than once before the first submission of them is answered:
    each upload is one submission's, and the file stays until as many were answered.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._uploads: Counter[str] = Counter()
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for stale in directory.glob("tmp-*"):
            _remove(stale)

    def temporary(self) -> Path:
        """A path for an incoming file."""
        self.sweep()
        return self.directory / f"tmp-{secrets.token_hex(8)}"

    def adopt(self, temporary: Path, sha256: str) -> None:
        """Take a complete, verified file in."""
        with self._lock:
            temporary.replace(self.directory / sha256)
            self._uploads[sha256] += 1

    def find(self, sha256: str) -> Path | None:
        """The file with this hash, if it is here."""
        path = self.directory / sha256
        return path if path.is_file() else None

    def drop(self, sha256: str) -> None:
        """A submission that named it was answered."""
        with self._lock:
            self._uploads[sha256] -= 1
            if self._uploads[sha256] <= 0:
                del self._uploads[sha256]
                (self.directory / sha256).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Drop uploads that nobody asked for."""
        oldest = time.time() - KEEP_SECONDS
        for path in self.directory.iterdir():
            with self._lock:
                try:
                    old = path.stat().st_mtime < oldest
                except FileNotFoundError:
                    # Another greenlet dropped it meanwhile.
                    continue
                if old:
                    _remove(path)
                    self._uploads.pop(path.name, None)


def _remove(path: Path) -> None:
    """A file, or the folder something was unpacked in when its node died."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
