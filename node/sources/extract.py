"""Our own extraction loop: every limit is checked before and while reading; nothing is trusted.

``zipfile`` is used for the directory and the decompression only. It would expand overlapping
entries, cut names at NUL, and turn links into files.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from node.sources.limits import ArchiveError, ArchiveLimits, disk_error
from node.sources.names import Kind, NameBook, Parts, check_links, entry_parts

CHUNK = 64 << 10
_END = b"PK\5\6"
_END64 = b"PK\6\6"
_ENCRYPTED = 0x1 | 0x40
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNIX = 3
_JUNK = ("__MACOSX", ".DS_Store")


def extract(archive: Path, into: Path, limits: ArchiveLimits, *, may_be_empty: bool = False) -> int:
    """Unpack ``archive`` into the existing folder ``into``; returns the bytes of all files.

    Files get mode 0644, or 0755 when the entry's owner may execute it; links are created last.

    Raises:
        ArchiveError: the archive is no zip, is damaged, or breaks a rule or a limit.
        SourceError: this node's disk failed.
    """
    try:
        with archive.open("rb") as raw:
            _check_directory(raw, limits)
            with zipfile.ZipFile(raw) as opened:
                if not opened.infolist() and not may_be_empty:
                    raise ArchiveError("the archive is empty")
                return _Extraction(opened, raw, into, limits).run()
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, ValueError) as error:
        raise ArchiveError(f"the file is not a zip archive, or it is damaged ({error})") from error
    except OSError as error:
        raise disk_error(error, "unpacking an archive") from error


class _Extraction:
    def __init__(self, opened: zipfile.ZipFile, raw: IO[bytes], into: Path, limits: ArchiveLimits) -> None:
        self._zip = opened
        self._raw = raw
        self._into = into
        self._limits = limits
        self._names = NameBook()
        self._links: dict[Parts, str] = {}
        self._total = 0

    def run(self) -> int:
        entries = self._zip.infolist()
        if len(entries) > self._limits.entries:
            raise ArchiveError(f"more than {self._limits.entries} entries")
        planned = list(self._checked(entries))
        self._check_overlaps(entries)
        for info, parts, kind in planned:
            if kind is Kind.FOLDER:
                self._into.joinpath(*parts).mkdir(parents=True, exist_ok=True)
            elif kind is Kind.LINK:
                self._links[parts] = self._target(info)
            else:
                self._write(info, parts)
        check_links(self._links, self._limits)
        for parts, target in self._links.items():
            path = self._into.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        return self._total

    def _checked(self, entries: list[zipfile.ZipInfo]) -> Iterator[tuple[zipfile.ZipInfo, Parts, Kind]]:
        total = 0
        for info in entries:
            name = info.orig_filename
            parts = entry_parts(name, self._limits)
            kind = _kind(info)
            if info.flag_bits & _ENCRYPTED:
                raise ArchiveError(
                    "encrypted entries cannot be read; send the archive without a password", name
                )
            if info.compress_type not in _METHODS:
                raise ArchiveError(
                    f"compression method {info.compress_type} is not taken, only deflate", name
                )
            if info.file_size > self._limits.file:
                raise ArchiveError(f"larger than {self._limits.file} bytes unpacked", name)
            if info.file_size > self._limits.ratio_from and (
                info.file_size > self._limits.ratio * info.compress_size
            ):
                raise ArchiveError(f"packed more than {self._limits.ratio} times smaller: a zip bomb", name)
            total += info.file_size
            if total > self._limits.total:
                raise ArchiveError(f"the archive unpacks to more than {self._limits.total} bytes")
            if not parts or parts[0] == _JUNK[0] or parts[-1] == _JUNK[1]:
                continue
            self._names.add(parts, kind)
            yield info, parts, kind

    def _check_overlaps(self, entries: list[zipfile.ZipInfo]) -> None:
        """Entries that share bytes are how a few kilobytes become gigabytes."""
        free_from = 0
        for info in sorted(entries, key=lambda info: info.header_offset):
            if info.header_offset < free_from:
                raise ArchiveError("overlaps another entry", info.orig_filename)
            self._raw.seek(info.header_offset)
            header = self._raw.read(30)
            if len(header) != 30 or header[:4] != b"PK\3\4":
                raise ArchiveError("has no header of its own", info.orig_filename)
            name_size, extra_size = struct.unpack("<HH", header[26:30])
            free_from = info.header_offset + 30 + name_size + extra_size + info.compress_size
            if free_from > self._zip.start_dir:
                raise ArchiveError("reaches beyond the archive's content", info.orig_filename)

    def _target(self, info: zipfile.ZipInfo) -> str:
        if info.file_size > self._limits.link:
            raise ArchiveError("the link's target is too long", info.orig_filename)
        try:
            return self._zip.read(info).decode()
        except UnicodeDecodeError:
            raise ArchiveError("the link's target is not UTF-8", info.orig_filename) from None

    def _write(self, info: zipfile.ZipInfo, parts: Parts) -> None:
        path = self._into.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o755 if info.create_system == _UNIX and (info.external_attr >> 16) & stat.S_IXUSR else 0o644
        # O_EXCL and O_NOFOLLOW: the folder is fresh and links come last, so nothing may be here yet.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        written = 0
        with os.fdopen(os.open(path, flags, 0o600), "wb") as out:
            try:
                with self._zip.open(info) as packed:
                    while data := packed.read(CHUNK):
                        written += len(data)
                        self._total += len(data)
                        if written > info.file_size or self._total > self._limits.total:
                            raise ArchiveError("holds more than it declares", info.orig_filename)
                        out.write(data)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise ArchiveError(f"damaged ({error})", info.orig_filename) from error
            if written != info.file_size:
                raise ArchiveError("holds less than it declares", info.orig_filename)
            os.fchmod(out.fileno(), mode)


def _kind(info: zipfile.ZipInfo) -> Kind:
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    folder = info.orig_filename.endswith("/")
    if stat.S_ISLNK(mode) and not folder:
        return Kind.LINK
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError("is neither a file nor a folder nor a link", info.orig_filename)
    if folder and info.file_size:
        raise ArchiveError("a folder with content of its own", info.orig_filename)
    return Kind.FOLDER if folder or stat.S_ISDIR(mode) else Kind.FILE


def _check_directory(raw: IO[bytes], limits: ArchiveLimits) -> None:
    """Refuse a central directory that would not fit in memory, before anything parses it."""
    size = raw.seek(0, os.SEEK_END)
    if size == 0:
        raise ArchiveError("the file is empty; send a zip archive")
    start = max(0, size - (1 << 16) - 22)
    raw.seek(start)
    tail = raw.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise ArchiveError("the file is not a zip archive, or it is cut short")
    entries, directory = struct.unpack("<HI", tail[at + 10 : at + 16])
    at64 = tail.rfind(_END64, 0, at)
    if at64 >= 0 and len(tail) - at64 >= 56:
        entries, directory = struct.unpack("<QQ", tail[at64 + 32 : at64 + 48])
    if entries > limits.entries:
        raise ArchiveError(f"more than {limits.entries} entries")
    if directory > limits.directory:
        raise ArchiveError(f"the archive's directory is larger than {limits.directory} bytes")
