"""Directories become one zip, each in a folder of its own at the top.

In a git work tree: what git tracks or would track. Elsewhere: all but version control, environments
and caches. Links that stay inside the tree are kept as links, the owner's execute bit is kept, and
timestamps before 1980 are no error.
"""

from __future__ import annotations

import os
import stat
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cli.errors import USAGE, CommandError

SKIPPED_DIRECTORIES = frozenset(
    {
        *(".git", ".hg", ".svn", ".bzr"),
        *(".venv", "venv", ".tox", ".nox", ".eggs", "node_modules"),
        *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"),
    }
)
GIT_SECONDS = 60.0


def pack(directories: Sequence[Path], archive: Path) -> list[str]:
    """Write ``archive``; the names of the projects in it, in order.

    Raises:
        CommandError: a directory cannot be read, is empty, or holds a link that leaves it.
    """
    names: list[str] = []
    with zipfile.ZipFile(
        archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False
    ) as written:
        for directory in directories:
            root = directory.resolve()
            name = _fresh_name(root.name or "project", names)
            names.append(name)
            count = 0
            for relative in files(root):
                _add(written, root, relative, f"{name}/{relative.as_posix()}")
                count += 1
            if not count:
                raise CommandError(f"{directory}: there is nothing to pack in it", USAGE)
    return names


def files(root: Path) -> Iterator[Path]:
    """Paths of files and links under ``root``, relative to it, sorted."""
    listed = _listed_by_git(root)
    if listed is None:
        yield from sorted(_walked(root))
        return
    for relative in sorted(set(listed)):
        path = root / relative
        # A submodule is listed as a directory, and a tracked file may be gone from the work tree.
        if path.is_symlink() or path.is_file():
            yield relative


def _listed_by_git(root: Path) -> list[Path] | None:
    """What git tracks or would track; None outside a work tree or without git."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, check=False)
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{root}: git took more than {GIT_SECONDS:.0f} s to list the files") from error
    if done.returncode != 0:
        return None
    return [Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name]


def _walked(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise CommandError(f"{error.filename}: {error.strerror}", USAGE)

    for folder, directories, names in os.walk(root, onerror=refuse):
        here = Path(folder)
        links = [name for name in directories if (here / name).is_symlink()]
        directories[:] = sorted(
            name
            for name in directories
            if name not in SKIPPED_DIRECTORIES
            and name not in links
            and not (here / name / "pyvenv.cfg").exists()
        )
        for name in (*names, *links):
            path = here / name
            if path.is_symlink() or stat.S_ISREG(path.lstat().st_mode):
                yield path.relative_to(root)


def _add(written: zipfile.ZipFile, root: Path, relative: Path, name: str) -> None:
    path = root / relative
    try:
        if path.is_symlink():
            target = path.readlink()
            inside = path.parent.joinpath(target).resolve().is_relative_to(root)
            if target.is_absolute() or not inside:
                raise CommandError(
                    f"{path} is a link to {target}, outside the project: remove it or add its target", USAGE
                )
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3  # Unix: the mode below is what says "link"
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            written.writestr(entry, os.fsencode(target))
        else:
            written.write(path, name)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", USAGE) from error


def _fresh_name(name: str, taken: list[str]) -> str:
    number = 1
    fresh = name
    while fresh in taken:
        number += 1
        fresh = f"{name}-{number}"
    return fresh
