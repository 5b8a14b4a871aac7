"""Dependency groups that Poetry, PDM, hatch and uv keep in tables of their own.

They are read, never run, and are used where a project has no dependency group or extra (PEP 735,
PEP 621) of a name that says tests. What cannot be written as a requirement is left out and named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from node.environment import poetry


@dataclass(frozen=True, kw_only=True)
class ToolGroup:
    """``label`` is for people; ``extras`` and ``groups`` are the project's, which it includes."""

    name: str
    label: str
    requirements: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def read(pyproject: Mapping[str, Any], hatch_toml: Mapping[str, Any]) -> tuple[ToolGroup, ...]:
    """All groups that the tools' tables hold; a table of another shape holds none."""
    tool = _table(pyproject, "tool")
    hatch = {**_table(_table(tool, "hatch"), "envs"), **_table(hatch_toml, "envs")}
    return (
        *_poetry(_table(tool, "poetry")),
        *_pdm(_table(tool, "pdm")),
        *_uv(_table(tool, "uv")),
        *_hatch(hatch),
    )


def extras(pyproject: Mapping[str, Any]) -> list[str]:
    """Extras that build backends take from tables of their own: Poetry, flit, setuptools' dynamic ones."""
    tool = _table(pyproject, "tool")
    return [
        *_table(_table(tool, "poetry"), "extras"),
        *_table(_table(_table(tool, "flit"), "metadata"), "requires-extra"),
        *_table(_table(_table(tool, "setuptools"), "dynamic"), "optional-dependencies"),
    ]


def project_name(pyproject: Mapping[str, Any]) -> str:
    """What Poetry or flit calls the project, or nothing."""
    tool = _table(pyproject, "tool")
    flit = _table(_table(tool, "flit"), "metadata")
    name = _table(tool, "poetry").get("name") or flit.get("dist-name") or flit.get("module") or ""
    return name if isinstance(name, str) else ""


def _poetry(table: Mapping[str, Any]) -> Iterator[ToolGroup]:
    groups = {name: group for name, group in _table(table, "group").items() if isinstance(group, dict)}
    if old := _table(table, "dev-dependencies"):
        entries = {**old, **_table(_table(groups, "dev"), "dependencies")}
        groups["dev"] = {**_table(groups, "dev"), "dependencies": entries}
    for name in groups:
        lines: list[str] = []
        left_out: list[str] = []
        for entry, value in _poetry_entries(groups, name, set()):
            try:
                lines += poetry.requirements(entry, value)
            except poetry.NotARequirement as error:
                left_out.append(str(error))
        yield _group(name, f"Poetry group {name}", lines, left_out=left_out)


def _poetry_entries(
    groups: Mapping[str, Mapping[str, Any]], name: str, seen: set[str]
) -> Iterator[tuple[str, object]]:
    """A group's entries, those of the groups it includes first."""
    if name in seen or name not in groups:
        return
    seen.add(name)
    for included in _list(groups[name], "include-groups"):
        yield from _poetry_entries(groups, included, seen)
    for entry, value in _table(groups[name], "dependencies").items():
        if entry.lower() != "python":
            yield entry, value


def _pdm(table: Mapping[str, Any]) -> Iterator[ToolGroup]:
    for name, lines in _table(table, "dev-dependencies").items():
        if isinstance(lines, list):
            yield _group(name, f"PDM group {name}", map(str, lines))


def _uv(table: Mapping[str, Any]) -> Iterator[ToolGroup]:
    if lines := _list(table, "dev-dependencies"):
        yield _group("dev", "uv's dev-dependencies", lines)


def _hatch(envs: Mapping[str, Any]) -> Iterator[ToolGroup]:
    for name in envs:
        env = _inherited(envs, name)
        lines = [*_list(env, "dependencies"), *_list(env, "extra-dependencies")]
        group = _group(
            name,
            f"hatch environment {name}",
            lines,
            extras=_list(env, "features"),
            groups=_list(env, "dependency-groups"),
        )
        if group.requirements or group.extras or group.groups:
            yield group


def _inherited(envs: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An environment's own keys over those of its template, which is ``default`` unless it says so."""
    chain: list[Mapping[str, Any]] = []
    while name not in ("", *(str(env.get("name")) for env in chain)):
        env = {**_table(envs, name), "name": name}
        chain.append(env)
        template = "" if env.get("detached") else str(env.get("template", "default"))
        name = "" if template == name else template
    return {key: value for env in reversed(chain) for key, value in env.items()}


def _group(
    name: str,
    label: str,
    lines: Iterable[str],
    *,
    extras: Iterable[str] = (),
    groups: Iterable[str] = (),
    left_out: Iterable[str] = (),
) -> ToolGroup:
    good, bad = [], list(left_out)
    for line in lines:
        try:
            taken = Requirement(line).url is None
        except InvalidRequirement:
            taken = False
        (good if taken else bad).append(line)
    return ToolGroup(
        name=name,
        label=label,
        requirements=tuple(good),
        extras=tuple(extras),
        groups=tuple(groups),
        left_out=tuple(bad),
    )


def _table(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _list(parent: Mapping[str, Any], key: str) -> list[str]:
    value = parent.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
