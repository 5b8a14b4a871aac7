"""The run directory: where environments, work copies and clones live, and which uid owns what.

``RUN_DIR`` (0711) holds one folder per node (0711)::

    py/                 interpreters and tools copied where every uid can read them
    <node>/env/<key>/   built environments: venv and tree, owned by the node, readable by run uids
    <node>/s/<n>/       one session's work copy, HOME and TMPDIR (0700, owned by the slot's uid)
    <node>/git/         clones in progress (owned by the fetch uid)
    <node>/build/       what the build uid owns: its HOME, its TMPDIR, uv's cache
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import string
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from node import uids
from node.runner.children import Finished, Job
from node.sources.limits import SourceError, disk_error
from node.threads import in_bulk, in_pool
from node.treecopy import copy_tree

MAX_SLOTS = 62
"""The last two uids of a node's 64 fetch and build."""
SOCKET_ROOM = 50
"""A TMPDIR longer than this leaves tests too little of a Unix socket path's 108 bytes."""
SHARED_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")
"""Folders of the machine that every uid may write to."""
MAX_STRAYS = 2000
MIN_FREE = 64 << 20
"""Bytes that stay free on the node's disk; below, nothing new is started."""

_DIGITS = string.digits + string.ascii_letters

_REMOVE = 'chmod -R u+rwX "$@" 2>/dev/null; rm -rf -- "$@"'


class Runs(Protocol):
    """What runs children to their end: the warden."""

    def run(self, job: Job) -> Finished: ...


@dataclass(frozen=True)
class SessionDirs:
    """One session's folders. ``uid`` owns them; None when the node is not root."""

    top: Path
    tree: Path
    home: Path
    tmp: Path
    uid: int | None


class Workspace:
    """One node's part of the run directory.

    ``root`` says that the node may change uids; then sessions, builds and clones get uids of their
    own, else everything is the node's own uid.
    """

    def __init__(self, run_dir: Path, node_id: str, root: bool) -> None:
        self.run_dir = run_dir
        self.node_id = node_id
        self.root = root
        self.top = run_dir / node_id
        self.shared = run_dir / "py"
        self.environments = self.top / "env"
        self.sessions = self.top / "s"
        self.clones = self.top / "git"
        self.build = self.top / "build"
        self._numbers = itertools.count()
        self._first_uid = uids.claim(node_id) if root else uids.preferred(node_id)

    def uid(self, slot: int) -> int | None:
        """The uid tests of this slot run under; None when the node is not root.

        Raises:
            ValueError: a node has no so many slots.
        """
        if not 0 <= slot < MAX_SLOTS:
            raise ValueError(f"slot {slot}: a node has at most {MAX_SLOTS} slots")
        return self._first_uid + slot if self.root else None

    @property
    def fetch_uid(self) -> int | None:
        """The uid git runs under: no project's code ever does, because git holds the token."""
        return self._first_uid + MAX_SLOTS if self.root else None

    @property
    def build_uid(self) -> int | None:
        """The uid environments are built under."""
        return self._first_uid + MAX_SLOTS + 1 if self.root else None

    def prepare(self) -> None:
        """Make the folders and sweep what an earlier life left; call it once, before any session.

        Raises:
            SourceError: the run directory cannot be used; the message says what to do.
        """
        try:
            self._reachable(self.run_dir)
            for folder in (self.top, self.shared, self.environments, self.sessions, self.clones):
                folder.mkdir(mode=0o711, parents=True, exist_ok=True)
                # Clones belong to another uid since the last life, and a container's root may have
                # no right to change the mode of what it does not own.
                self._own(folder, 0 if self.root else None)
                folder.chmod(0o711)
            self._own(self.clones, self.fetch_uid)
            self.build.mkdir(mode=0o700, exist_ok=True)
            self._own(self.build, self.build_uid)
            stale = self.build.glob("tmp-*")
            for left in (*self.sessions.iterdir(), *self.clones.iterdir(), *stale, *self._short_tmps()):
                shutil.rmtree(left, ignore_errors=True)
        except OSError as error:
            raise SourceError(
                f"the run directory {self.run_dir} cannot be used: {error.strerror or error}; "
                "give another with --run-dir (TESTRING_RUN_DIR)"
            ) from error

    def check_space(self, needed: int = 0) -> None:
        """
        Raises:
            SourceError: fewer than ``needed`` bytes (and a reserve) are free on the run directory's disk.
        """
        status = os.statvfs(self.run_dir)
        free = status.f_bavail * status.f_frsize
        if free < needed + MIN_FREE:
            raise SourceError(
                f"this node's disk is full: {free >> 20} MiB free at {self.run_dir}, "
                f"{(needed + MIN_FREE) >> 20} MiB needed; free some space or set TESTRING_RUN_DIR elsewhere"
            )

    def session_tree(self, built: Path, name: str, slot: int) -> SessionDirs:
        """A fresh copy of a built tree in a folder named after the project, with HOME and TMPDIR.

        Blocks on the disk: call it from the threadpool.

        Raises:
            SourceError: this node's disk failed or is full.
        """
        uid = self.uid(slot)
        top = self.sessions / session_folder(slot, next(self._numbers))
        folder = folder_name(name)
        tree, home = top / folder, top / ("h" if folder != "h" else "h_")
        try:
            self.check_space()
            top.mkdir(mode=0o700)
            copy_tree(built, tree, uid)
            home.mkdir(mode=0o700)
            tmp = self._temporary(top, folder)
            for path in (home, tmp, top):
                self._own(path, uid)
        except OSError as error:
            shutil.rmtree(top, ignore_errors=True)
            raise disk_error(error, "copying the project's tree") from error
        return SessionDirs(top, tree, home, tmp, uid)

    def remove_session(self, dirs: SessionDirs, warden: Runs) -> None:
        """Remove a session's folders, whatever its tests made of them; call it in a greenlet.

        No process of the session may be alive. The run uid removes first: it can unlock its own
        folders, and ``rm`` has no limit of depth; the node removes what is then left. What a uid of
        its own has left in the machine's shared temporary folders goes too: a suite with a fixed path
        there must find it as free under the next uid.
        """
        doomed = [str(dirs.top), str(dirs.tmp), *in_pool(strays, dirs.uid)]
        warden.run(
            Job(
                argv=["/bin/sh", "-c", _REMOVE, "sh", *doomed],
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                uid=dirs.uid,
                gid=dirs.uid,
                wall=120.0,
                output_limit=64 << 20,
                name="remove a work copy",
            )
        )
        for path in (dirs.top, dirs.tmp):
            in_bulk(shutil.rmtree, path, True)

    def _temporary(self, top: Path, folder: str) -> Path:
        inside = top / ("t" if folder != "t" else "t_")
        if len(os.fsencode(inside)) <= SOCKET_ROOM:
            inside.mkdir(mode=0o700)
            return inside
        return Path(tempfile.mkdtemp(prefix=f"tr-{self.node_id[:12]}-", dir="/tmp"))

    def _short_tmps(self) -> list[Path]:
        return [path for path in Path("/tmp").glob(f"tr-{self.node_id[:12]}-*") if not path.is_symlink()]

    def _own(self, path: Path, uid: int | None) -> None:
        if uid is not None:
            os.chown(path, uid, uid)

    def _reachable(self, run_dir: Path) -> None:
        """Make the run directory; when other uids must reach it, say which folder above shuts them out."""
        if not run_dir.exists():
            run_dir.mkdir(parents=True, exist_ok=True)
            run_dir.chmod(0o711)
        if not self.root:
            return
        run_dir.chmod(run_dir.stat().st_mode & 0o7777 | 0o011)
        for folder in run_dir.resolve().parents:
            if not folder.stat().st_mode & 0o001:
                raise SourceError(
                    f"the run directory {run_dir} lies below {folder}, which other users may not enter: "
                    "tests run under users of their own; give another with --run-dir (TESTRING_RUN_DIR)"
                )


def session_folder(slot: int, number: int) -> str:
    """A session's folder: always six characters, for pytest writes parameters of more than 100 otherwise
    in its ids, and a parameter may be a path below the tree."""
    digits = ""
    for _ in range(5):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return _DIGITS[slot] + digits


def strays(uid: int | None) -> list[str]:
    """What belongs to ``uid`` directly in the shared temporary folders; nothing without a uid."""
    found: list[str] = []
    for folder in SHARED_TEMPORARY if uid is not None else ():
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_uid == uid:
                        found.append(entry.path)
    return found[:MAX_STRAYS]


def folder_name(name: str) -> str:
    """A project's name made fit for one folder's name, at most 60 characters."""
    clean = "".join(c if c.isalnum() or c in "._-+" else "_" for c in name)[:60].lstrip(".-")
    return clean if clean.isascii() and clean else "project"
