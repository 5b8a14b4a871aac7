"""Poetry's dependencies as PEP 508 requirements: carets, tildes, alternatives, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.version import InvalidVersion, Version

_SPLIT = re.compile(r"\s*,\s*|(?<=[\w*])\s+(?=[<>=!~^\d])")
_TERM = re.compile(r"(\^|~=|~|===?|!=|<=|>=|<|>|=)?\s*v?([^\s]+)$")


class NotARequirement(ValueError):
    """The entry has no form that an installer takes; the message says which it is."""


def requirements(name: str, value: object) -> Iterator[str]:
    """The requirement lines of one entry: a version, a table, or a list of tables for other Pythons.

    Raises:
        NotARequirement: it comes from a path, an address or a repository, or its version is none.
    """
    if isinstance(value, list):
        for one in value:
            yield from requirements(name, one)
        return
    table: Mapping[str, Any] = value if isinstance(value, dict) else {"version": value}
    for source in ("git", "path", "url", "file"):
        if source in table:
            raise NotARequirement(f"{name} (from a {source})")
    version = table.get("version", "*")
    extras = table.get("extras", [])
    if not isinstance(version, str) or not isinstance(extras, list):
        raise NotARequirement(name)
    # One requirement cannot say "or"; the last alternative is the newest.
    specifier = ",".join(_terms(name, re.split(r"\|\|?", version)[-1]))
    named = f"{name}[{','.join(map(str, extras))}]" if extras else name
    markers = [*_markers(name, table)]
    yield f"{named}{specifier}" + (f" ; {' and '.join(markers)}" if markers else "")


def _markers(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    if python := table.get("python"):
        ways = [
            " and ".join(_python(term) for term in _terms(name, way))
            for way in re.split(r"\|\|?", str(python))
        ]
        # Any Python will do: no marker.
        if all(ways):
            yield f"({' or '.join(ways)})"
    if platform := table.get("platform"):
        yield f'sys_platform == "{platform}"'
    if markers := table.get("markers"):
        yield f"({markers})"


def _python(term: str) -> str:
    version = term.lstrip("<>=!~")
    return f'python_full_version {term.removesuffix(version)} "{version}"'


def _terms(name: str, constraint: str) -> Iterator[str]:
    """PEP 440 specifiers of one alternative, such as ``>=1.2`` and ``<2``."""
    for word in _SPLIT.split(re.sub(r"([<>=!~^])\s+", r"\1", constraint.strip())):
        if word in ("", "*"):
            continue
        found = _TERM.match(word)
        if found is None:
            raise NotARequirement(f"{name} {constraint}")
        operator, version = found[1] or "==", found[2]
        if operator not in ("^", "~"):
            yield f"{'==' if operator == '=' else operator}{version}"
            continue
        try:
            release = Version(version.removesuffix(".*")).release
        except InvalidVersion as error:
            raise NotARequirement(f"{name} {constraint}") from error
        yield f">={version.removesuffix('.*')}"
        yield f"<{_above(release, operator)}"


def _above(release: tuple[int, ...], operator: str) -> str:
    """The first version that ``^`` or ``~`` shuts out."""
    if operator == "~":
        place = min(1, len(release) - 1)
    else:
        place = next((index for index, part in enumerate(release) if part), len(release) - 1)
    return ".".join(map(str, (*release[:place], release[place] + 1)))
