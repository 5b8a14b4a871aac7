"""Uploads on their way in: spooled under their hash until the submission that names them."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

KEEP_SECONDS = 3600.0
"""An upload nobody named in a submission for so long is dropped."""


class Spool:
    """Files in one directory, named by sha256."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for stale in directory.glob("tmp-*"):
            _remove(stale)

    def temporary(self) -> Path:
        """A path for an incoming file."""
        self.sweep()
        return self.directory / f"tmp-{secrets.token_hex(8)}"

    def adopt(self, temporary: Path, sha256: str) -> None:
        """Take a complete, verified file in."""
        temporary.replace(self.directory / sha256)

    def find(self, sha256: str) -> Path | None:
        """The file with this hash, if it is here."""
        path = self.directory / sha256
        return path if path.is_file() else None

    def drop(self, sha256: str) -> None:
        """The submission that named it was answered."""
        (self.directory / sha256).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Drop uploads that nobody asked for."""
        oldest = time.time() - KEEP_SECONDS
        for path in self.directory.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    _remove(path)
            except FileNotFoundError:
                # Another greenlet dropped it meanwhile.
                continue


def _remove(path: Path) -> None:
    """An upload, half of one, or the folder an archive was being unpacked in when the node was killed."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
