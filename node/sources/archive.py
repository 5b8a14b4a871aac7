"""Uploaded zips: unpacked by our own loop, then one project or several are recognised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from node.sources.extract import extract
from node.sources.limits import ArchiveError, ArchiveLimits, SourceError, printable
from node.sources.names import check_links, entry_parts, tree_links

__all__ = ["ArchiveError", "ArchiveLimits", "ProjectTree", "SourceError", "open_archive", "subdirectory"]

_PROJECT_FILES = frozenset(
    (
        *("pyproject.toml", "setup.py", "setup.cfg", "uv.lock", "Pipfile"),
        *("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "conftest.py"),
    )
)
_REQUIREMENTS = re.compile(r"requirements.*\.(txt|in)$", re.IGNORECASE)
_TEST_FOLDERS = frozenset(("test", "tests", "testing"))


@dataclass(frozen=True)
class ProjectTree:
    """One project of an archive: its name, its root folder, and what a person should know of it."""

    name: str
    path: Path
    notes: tuple[str, ...] = ()


def open_archive(zip_path: Path, into: Path, limits: ArchiveLimits) -> list[ProjectTree]:
    """Unpack an uploaded zip into the existing, empty folder ``into`` and say what projects it holds.

    A root that holds a project's files is one project; a single folder at the root is looked into
    (archives of forges are made like this); otherwise each folder at the root is a project. The name
    of a project that is the whole archive is empty: the submission's name is to be used.

    Raises:
        ArchiveError: the archive is empty, damaged, or breaks a rule; ``entry`` names the culprit.
        SourceError: this node's disk failed.
    """
    extract(zip_path, into, limits)
    if not any(path for path in into.iterdir() if not _ignored(path)):
        raise ArchiveError("the archive holds no project: it is empty but for hidden files")
    trees = _recognise(into)
    for tree in trees:
        if tree.path != into:
            # Each project travels alone, so a link into a neighbour would dangle or leave it.
            check_links(tree_links(tree.path), limits)
    return trees


def subdirectory(tree: Path, name: str) -> Path:
    """The folder ``name`` inside a project's tree; the tree itself when ``name`` is empty.

    Raises:
        ArchiveError: there is no such folder, or it lies outside.
    """
    parts = entry_parts(name, ArchiveLimits())
    path = tree.joinpath(*parts)
    if not path.is_dir():
        raise ArchiveError("there is no such folder in the project (option subdirectory)", name)
    if not path.resolve().is_relative_to(tree.resolve()):
        raise ArchiveError("the folder lies outside the project (option subdirectory)", name)
    if parts:
        check_links(tree_links(path), ArchiveLimits())
    return path


def is_project(folder: Path) -> bool:
    """Whether the files right in ``folder`` make it a project: settings, requirements or any Python."""
    return any(
        path.name in _PROJECT_FILES or path.suffix == ".py" or _REQUIREMENTS.search(path.name)
        for path in folder.iterdir()
        if path.is_file()
    )


def _recognise(root: Path) -> list[ProjectTree]:
    if is_project(root):
        return [ProjectTree("", root)]
    folders = sorted((path for path in root.iterdir() if _is_folder(path) and not _ignored(path)), key=str)
    if any(path.name in _TEST_FOLDERS for path in folders):
        return [ProjectTree("", root)]
    if not folders:
        return [ProjectTree("", root)]
    if len(folders) > 1:
        loose = [path.name for path in root.iterdir() if not path.is_dir() and not _ignored(path)]
        note = ("ignored beside the projects' folders: " + ", ".join(map(printable, sorted(loose)[:20])),)
        return [ProjectTree(path.name, path, note if loose else ()) for path in folders]
    inner = folders[0]
    if is_project(inner):
        return [ProjectTree(inner.name, inner)]
    trees = _recognise(inner)
    if len(trees) == 1 and not trees[0].name:
        return [ProjectTree(inner.name, inner)]
    # One wrapping folder around several projects, as when a folder of projects was zipped. But a
    # folder whose subfolders hold no project files is a plain tree of one project.
    if any(is_project(tree.path) or _has_tests(tree.path) for tree in trees):
        return trees
    return [ProjectTree(inner.name, inner)]


def _has_tests(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in _TEST_FOLDERS)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _ignored(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"
