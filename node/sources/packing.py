"""Packages: a project's tree as one zip whose bytes depend on nothing but the tree."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from node.sources.extract import extract
from node.sources.limits import ArchiveError, ArchiveLimits, disk_error

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time a zip can say; the tree's own times are not part of a package."""
CHUNK = 1 << 20
_UNIX = 3
_ANY_RATIO = 2000
"""More than deflate can reach."""


@dataclass(frozen=True)
class Package:
    """``size`` is bytes; ``path`` is a temporary file the caller moves to where it belongs."""

    sha256: str
    size: int
    path: Path


def pack(tree: Path, out_dir: Path) -> Package:
    """Write ``tree`` as a zip into ``out_dir``: sorted, times fixed, the owner's execute bit and links kept.

    Raises:
        ArchiveError: a name in the tree cannot travel (not UTF-8), or an entry is a special file.
        SourceError: this node's disk failed.
    """
    path = out_dir / f"tmp-{secrets.token_hex(8)}.zip"
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6, allowZip64=True) as archive:
            for name, entry in _entries(tree):
                _add(archive, name, entry)
        return Package(file_sha256(path), path.stat().st_size, path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise disk_error(error, "packing a project") from error
    except ArchiveError:
        path.unlink(missing_ok=True)
        raise


def unpack(package: Path, into: Path, limits: ArchiveLimits) -> int:
    """Unpack a package into the existing folder ``into``, trusting it no more than an upload.

    Returns the bytes of all files. An empty tree's package is legal and makes nothing.

    Raises:
        ArchiveError, SourceError: as ``extract``.
    """
    # A real file may be all zeros; the bound on the whole size stands.
    return extract(package, into, replace(limits, ratio=_ANY_RATIO), may_be_empty=True)


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entries(tree: Path) -> Iterator[tuple[str, Path]]:
    """(name inside the archive, path), parents before children, in an order the file system has no say in."""
    for folder, folders, files in os.walk(tree):
        folders.sort()
        here = Path(folder)
        above = here.relative_to(tree).as_posix()
        prefix = "" if above == "." else above + "/"
        for name in sorted((*folders, *files)):
            yield prefix + name, here / name
        # Links to folders are entries of their own; os.walk does not descend into them.


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ArchiveError("the file's name is not UTF-8", name) from None
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        archive.writestr(_info(name, stat.S_IFLNK | 0o777), os.fsencode(os.readlink(path)))
    elif stat.S_ISDIR(status.st_mode):
        archive.writestr(_info(name + "/", stat.S_IFDIR | 0o755), b"")
    elif stat.S_ISREG(status.st_mode):
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        info = _info(name, stat.S_IFREG | mode)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.file_size = status.st_size
        with path.open("rb") as source, archive.open(info, "w") as sink:
            shutil.copyfileobj(source, sink, CHUNK)
    else:
        raise ArchiveError("is neither a file nor a folder nor a link", name)


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system = _UNIX
    info.external_attr = mode << 16
    return info
