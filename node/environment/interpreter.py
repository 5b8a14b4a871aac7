"""A Python that the users tests run under can execute, as near as possible to the node's own."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node.environment.errors import InterpreterError
from node.runner.children import Job
from node.threads import in_bulk
from node.workspace import Runs, Workspace

SUPPORTED = ("3.11", "3.12", "3.13")
_PROBE = "import sys, platform; print(platform.python_version(), sys.base_prefix, sep='\\n')"
_KNOWN_PLACES = ("/usr/local/bin", "/usr/bin", "/opt/python/bin")
_LEFT_OUT = ("test", "tests", "idlelib", "turtledemo", "site-packages", "dist-packages")


@dataclass(frozen=True)
class Interpreter:
    """``path`` is executable by every uid of the node; ``version`` is like ``3.11.7``."""

    path: Path
    version: str
    prefix: Path


class Interpreters:
    """Finds interpreters and, where their place shuts other uids out, copies them to the run directory."""

    def __init__(self, warden: Runs, site: Workspace) -> None:
        self._warden = warden
        self._site = site
        self._found: dict[str, Interpreter] = {}

    def default(self) -> Interpreter:
        """The node's own interpreter, or a copy of it, or another supported one that can be read.

        Call it in a greenlet, as ``usable``.

        Raises:
            InterpreterError: there is none; tests are never run as root instead.
        """
        own = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
        try:
            return self.usable(own)
        except InterpreterError:
            for candidate in _others():
                found = self._probe(candidate)
                if found is not None:
                    self._found[str(own.resolve())] = found
                    return found
            raise

    def usable(self, path: Path) -> Interpreter:
        """The interpreter at ``path`` itself, or its copy, as the run uid can execute it.

        Raises:
            InterpreterError: neither works.
        """
        real = path.resolve()
        known = self._found.get(str(real))
        if known is not None:
            return known
        found = self._probe(real) or self._copied(real)
        self._found[str(real)] = found
        return found

    def _probe(self, path: Path) -> Interpreter | None:
        finished = self._warden.run(
            Job(
                argv=[str(path), "-I", "-S", "-c", _PROBE],
                cwd="/",
                env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
                uid=self._site.uid(0),
                gid=self._site.uid(0),
                wall=60.0,
                name="probe an interpreter",
            )
        )
        version, _, prefix = finished.output.strip().partition("\n")
        if not finished.ok or not version.startswith("3."):
            return None
        return Interpreter(path, version, Path(prefix))

    def _copied(self, path: Path) -> Interpreter:
        remedy = (
            "install a Python that every user can read (for example in /usr/local), "
            "or start the node as another user than root"
        )
        prefix = path.parent.parent
        if not self._site.root:
            raise InterpreterError(f"the interpreter {path} does not run; {remedy}")
        try:
            copy = in_bulk(copy_interpreter, path, self._site.shared)
        except OSError as error:
            raise InterpreterError(
                f"the users that tests run under cannot execute {path}, and copying {prefix} failed "
                f"({error.strerror or error}); {remedy}"
            ) from error
        found = self._probe(copy)
        if found is None:
            raise InterpreterError(
                f"the users that tests run under can execute neither {path} nor a copy of it; {remedy}"
            )
        return found


def copy_interpreter(path: Path, shared: Path) -> Path:
    """Copy the installation that ``path`` (``PREFIX/bin/pythonX.Y``) belongs to into ``shared``.

    Left out are installed packages and tests; compiled modules come along, for no run uid could
    write them later. Several nodes may ask at once: one copies, the others wait for it.

    Returns the copy's executable.

    Raises:
        OSError: the disk failed, or ``path`` is in no such installation.
    """
    prefix = path.parent.parent
    target = shared / f"{path.name.removeprefix('python')}-{zlib.crc32(os.fsencode(prefix)):08x}"
    copy = target / "bin" / path.name
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if copy.exists() and copy.stat().st_mtime_ns == path.stat().st_mtime_ns:
            return copy
        partial = shared / "partial"
        for stale in (partial, target):
            shutil.rmtree(stale, ignore_errors=True)
        _copy_prefix(path, prefix, partial)
        _relink(partial / "bin" / path.name, prefix, target)
        shutil.copystat(path, partial / "bin" / path.name)
        partial.rename(target)
    return copy


def _copy_prefix(path: Path, prefix: Path, target: Path) -> None:
    library = prefix / "lib" / path.name
    (target / "bin").mkdir(parents=True, mode=0o755)
    shutil.copy2(path, target / "bin")
    (target / "bin" / "python3").symlink_to(path.name)
    shutil.copytree(library, target / "lib" / path.name, symlinks=True, ignore=_ignore)
    (target / "lib" / path.name / "site-packages").mkdir(exist_ok=True)
    for shared_library in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy2(shared_library, target / "lib", follow_symlinks=False)
    headers = prefix / "include" / path.name
    if headers.is_dir():
        shutil.copytree(headers, target / "include" / path.name, symlinks=True)
    for folder, _, _ in os.walk(target):
        os.chmod(folder, 0o755)


def _ignore(_: str, names: list[str]) -> list[str]:
    return [
        name
        for name in names
        if name in _LEFT_OUT
        or name.startswith("config-")
        or name.endswith((".opt-1.pyc", ".opt-2.pyc", ".a"))
    ]


def _relink(executable: Path, prefix: Path, target: Path) -> None:
    """Point the copy's library search path at the copy.

    A shared build names ``PREFIX/lib`` in the executable; the run uid cannot read that. The string
    may be overwritten in place by one that is not longer.
    """
    data = executable.read_bytes()
    old = os.fsencode(prefix / "lib")
    new = os.fsencode(target / "lib")
    if len(new) > len(old):
        # Needs /proc when the program starts, so it is the second choice.
        new = b"$ORIGIN/../lib"
    if len(new) <= len(old):
        data = data.replace(b"\0" + old + b"\0", b"\0" + new.ljust(len(old), b"\0") + b"\0")
        executable.write_bytes(data)


def _others() -> Iterator[Path]:
    own = ".".join(platform.python_version_tuple()[:2])
    for version in (own, *(v for v in reversed(SUPPORTED) if v != own)):
        for place in _KNOWN_PLACES:
            path = Path(place, f"python{version}")
            if path.exists():
                yield path.resolve()
