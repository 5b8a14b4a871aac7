"""What an archive or a clone may hold. Generous for real projects, fatal for bombs."""

from __future__ import annotations

import errno
from dataclasses import dataclass


class SourceError(Exception):
    """A project's files cannot be taken in; the message is one line for the person who sent them."""


class ArchiveError(SourceError):
    """An archive or a tree is refused. ``entry`` names the offending entry, or is empty."""

    def __init__(self, message: str, entry: str = "") -> None:
        shown = printable(entry)
        super().__init__(f"{shown}: {message}" if entry else message)
        self.entry = shown


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """Sizes are bytes. A real repository with vendored data fits; nothing may exceed the node's disk."""

    entries: int = 50_000
    """Files, folders and links together."""
    total: int = 1 << 30
    """Unpacked size of all files."""
    file: int = 256 << 20
    """Unpacked size of one file."""
    ratio: int = 200
    """Unpacked over packed size of one file, asked only of files larger than ``ratio_from``."""
    ratio_from: int = 1 << 20
    depth: int = 40
    """Path components of one entry."""
    name: int = 1024
    """UTF-8 bytes of one entry's whole path."""
    component: int = 200
    """UTF-8 bytes of one path component; file systems stop at 255."""
    link: int = 4096
    """Bytes of a symbolic link's target."""
    directory: int = 32 << 20
    """Bytes of a zip's central directory, which has to be held in memory."""


def printable(text: str) -> str:
    """``text`` made fit for a log line or an answer: no control characters, at most 200 characters."""
    clean = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:201])
    return clean if len(text) <= 200 else clean[:200] + "..."


def disk_error(error: OSError, doing: str) -> SourceError:
    """An ``OSError`` of the node's own disk as one clear line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SourceError(
            f"this node's disk is full ({doing}): free some space or set TESTRING_RUN_DIR elsewhere"
        )
    return SourceError(f"{doing}: {error.strerror or error}")
