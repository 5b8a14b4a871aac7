"""Copying, owning and measuring whole trees. Never hard links: a write in place would reach both."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from pathlib import Path

_FICLONE = 0x40049409
_MODE = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO


def copy_tree(source: Path, target: Path, uid: int | None = None) -> None:
    """Copy ``source`` to the new folder ``target``: modes, times and links kept, data shared where the
    file system can (reflink), owned by ``uid`` if given. Special files are left out.

    Raises:
        OSError: the disk is full, or ``target`` exists.
    """
    target.mkdir(mode=0o755)
    for folder, folders, files in os.walk(source):
        here = target / Path(folder).relative_to(source)
        for name in folders:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                _copy_link(path, here / name, uid)
            else:
                (here / name).mkdir(mode=0o755)
        for name in files:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                _copy_link(path, here / name, uid)
            elif stat.S_ISREG(mode):
                _copy_file(path, here / name, uid)
        if uid is not None:
            os.chown(here, uid, uid)


def give_tree(root: Path, uid: int) -> None:
    """Make ``uid`` the owner of everything below and of ``root`` itself; set-id bits are dropped.

    Links are not followed. No process that can write here may be alive.
    """
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISLNK(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                # Whoever lacks CAP_FOWNER changes the mode only of what it owns.
                os.lchown(path, os.geteuid(), os.getegid())
                os.chmod(path, mode & _MODE)
            os.lchown(path, uid, uid)
    os.lchown(root, uid, uid)


def tree_bytes(root: Path) -> int:
    """Bytes of disk that the files below ``root`` take."""
    total = 0
    for folder, _, files in os.walk(root):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                continue  # a living process removed it meanwhile
    return total


def _copy_link(source: str, target: Path, uid: int | None) -> None:
    os.symlink(os.readlink(source), target)
    if uid is not None:
        os.lchown(target, uid, uid)


def _copy_file(source: str, target: Path, uid: int | None) -> None:
    # Unbuffered: a write at closing time would set the file's time anew.
    with open(source, "rb") as reader, open(target, "xb", buffering=0) as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError:
            # Most file systems cannot share data between files.
            shutil.copyfileobj(reader, writer, 1 << 20)
        status = os.fstat(reader.fileno())
        os.fchmod(writer.fileno(), status.st_mode & _MODE)
        os.utime(writer.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        if uid is not None:
            os.fchown(writer.fileno(), uid, uid)
