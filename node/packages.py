"""The node's cache of packages: files named by their sha256, the least recently used go first."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")


class PackageCache:
    """Content-addressed files below ``directory``, at most ``max_bytes`` unless more is pinned.

    All methods touch the disk: call them from the threadpool. They may be called from several
    threads at once.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._pins: Counter[str] = Counter()
        self._needed: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for stale in directory.glob("tmp-*"):
            stale.unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the package is or would be.

        Raises:
            ValueError: not a sha256.
        """
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256[:80]!r} is not a sha256")
        return self.directory / sha256

    def has(self, sha256: str) -> bool:
        """Whether the package is here."""
        return self.path(sha256).is_file()

    def find(self, sha256: str) -> Path | None:
        """The package's file, marked as used just now, or None."""
        path = self.path(sha256)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def add(self, temporary: Path, sha256: str) -> Path:
        """Take a complete, verified file in (it is moved) and make room for it; returns its new path.

        Raises:
            OSError: the file cannot be moved to the cache.
        """
        path = self.path(sha256)
        with self._lock:
            temporary.replace(path)
            os.utime(path)
            self._evict(keep=sha256)
        return path

    def need(self, packages: frozenset[str]) -> None:
        """Keep these whatever the limit says, until others are named."""
        with self._lock:
            self._needed = packages

    def pin(self, sha256: str) -> None:
        """Keep the package whatever the limit says, until ``unpin`` was called as often."""
        with self._lock:
            self._pins[sha256] += 1

    def unpin(self, sha256: str) -> None:
        """Undo one ``pin``."""
        with self._lock:
            self._pins[sha256] -= 1
            if self._pins[sha256] <= 0:
                del self._pins[sha256]
            self._evict(keep="")

    @contextmanager
    def pinned(self, sha256: str) -> Iterator[Path]:
        """``pin`` for the length of a ``with`` block; gives the path."""
        self.pin(sha256)
        try:
            yield self.path(sha256)
        finally:
            self.unpin(sha256)

    def bytes(self) -> int:
        """Bytes held now."""
        return sum(size for _, size, _ in self._held())

    def _held(self) -> list[tuple[float, int, str]]:
        held = []
        for entry in os.scandir(self.directory):
            if _SHA256.fullmatch(entry.name):
                status = entry.stat()
                held.append((status.st_mtime, status.st_size, entry.name))
        return sorted(held)

    def _evict(self, keep: str) -> None:
        held = self._held()
        total = sum(size for _, size, _ in held)
        for _, size, sha256 in held:
            if total <= self._max_bytes:
                return
            if sha256 == keep or sha256 in self._needed or self._pins[sha256] > 0:
                continue
            self.path(sha256).unlink(missing_ok=True)
            total -= size
