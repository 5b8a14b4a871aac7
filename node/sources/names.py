"""The rules for entry names and symbolic links, one place for zip, git and packages."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import deque
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from node.sources.limits import ArchiveError, ArchiveLimits

Parts = tuple[str, ...]
MAX_HOPS = 40
"""Links followed while resolving one path; the kernel gives up at 40 as well."""

_DRIVE = re.compile(r"^[A-Za-z]:")


class Kind(Enum):
    """What an entry is on disk."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


def entry_parts(name: str, limits: ArchiveLimits) -> Parts:
    """The path components of an entry's name; empty for the root itself.

    Raises:
        ArchiveError: the name is absolute, climbs, is too long or deep, or holds what no path should.
    """
    if "\0" in name:
        raise ArchiveError("the name holds a NUL byte", name)
    if "\\" in name:
        raise ArchiveError("the name holds a backslash; use / between folders", name)
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise ArchiveError("the name holds a control character", name)
    if name.startswith("/") or _DRIVE.match(name):
        raise ArchiveError("the name is absolute", name)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ArchiveError("the name is not UTF-8", name) from None
    if size > limits.name:
        raise ArchiveError(f"the name is longer than {limits.name} bytes", name)
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise ArchiveError("the name climbs out with '..'", name)
    if len(parts) > limits.depth:
        raise ArchiveError(f"more than {limits.depth} folders deep", name)
    if any(len(part.encode()) > limits.component for part in parts):
        raise ArchiveError(f"a part of the name is longer than {limits.component} bytes", name)
    return parts


class NameBook:
    """The names taken so far, compared as a case-insensitive, normalising file system would."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[Parts, Kind]] = {}

    def add(self, parts: Parts, kind: Kind) -> None:
        """Take a name and, implicitly, the folders above it.

        Raises:
            ArchiveError: the name is taken, or something above it is not a folder.
        """
        for depth in range(1, len(parts)):
            self._take(parts[:depth], Kind.FOLDER, parts)
        self._take(parts, kind, parts)

    def _take(self, parts: Parts, kind: Kind, entry: Parts) -> None:
        key = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        known = self._taken.setdefault(key, (parts, kind))
        if known == (parts, kind) and (kind is Kind.FOLDER or known[0] is parts):
            return
        other = "/".join(known[0])
        if known[1] is not kind and known[0] == parts:
            raise ArchiveError(f"{other} is there already as a {known[1].value}", "/".join(entry))
        raise ArchiveError(f"the same name as {other} (case and accents aside)", "/".join(entry))


def link_stays_inside(parts: Parts, target: str, links: Mapping[Parts, str]) -> bool:
    """Whether following the link at ``parts`` never leaves the root.

    ``links`` are all links of the tree with their targets, so that a link through a link is followed
    as the kernel would. A target that does not exist is inside if its path is.
    """
    if not target or "\0" in target or target.startswith("/"):
        return False
    stack = list(parts[:-1])
    pending = deque(target.split("/"))
    hops = 0
    while pending:
        part = pending.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            if not stack:
                return False
            stack.pop()
            continue
        stack.append(part)
        further = links.get(tuple(stack))
        if further is not None:
            hops += 1
            if hops > MAX_HOPS or further.startswith("/"):
                return False
            stack.pop()
            pending.extendleft(reversed(further.split("/")))
    return True


def check_links(links: Mapping[Parts, str], limits: ArchiveLimits) -> None:
    """
    Raises:
        ArchiveError: a link is absolute, leaves the tree, is too long, or turns in a circle.
    """
    for parts, target in links.items():
        if len(os.fsencode(target)) > limits.link:
            raise ArchiveError(f"the link's target is longer than {limits.link} bytes", "/".join(parts))
        if not link_stays_inside(parts, target, links):
            raise ArchiveError(f"a symbolic link that leaves the project (to {target!r})", "/".join(parts))


def tree_links(root: Path) -> dict[Parts, str]:
    """All symbolic links below ``root``, not followed: path components -> target."""
    links: dict[Parts, str] = {}
    for folder, folders, files in os.walk(root):
        above = Path(folder).relative_to(root).parts
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                links[(*above, name)] = os.readlink(path)
    return links
