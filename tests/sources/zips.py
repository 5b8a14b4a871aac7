"""Zips that no well-behaved tool would write."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path


def write_zip(path: Path, entries: dict[str, str | bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A plain zip: name -> content; names ending in ``/`` are folders."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def info(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    """An entry as Unix tools write it."""
    made = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
    made.create_system = 3
    made.external_attr = mode << 16
    return made


def write_entries(path: Path, entries: list[tuple[zipfile.ZipInfo, bytes]]) -> Path:
    """A zip of these entries, duplicates included."""
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return path


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    """A symbolic link entry."""
    return info(name, stat.S_IFLNK | 0o777), target.encode()


def patch(path: Path, old: bytes, new: bytes) -> Path:
    """Replace bytes in the file, in headers and directory alike."""
    assert len(old) == len(new)
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


def set_central(path: Path, name: str, offset: int, form: str, value: int) -> Path:
    """Overwrite one field of an entry's record in the central directory (a ``struct`` form at an offset)."""
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\1\2", 0, data.rfind(name.encode()))
    struct.pack_into(form, data, at + offset, value)
    path.write_bytes(bytes(data))
    return path
