"""What a project's own files say of it, read without running any of them."""

from __future__ import annotations

import ast
import configparser
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from node.environment import toolgroups
from node.environment.errors import BuildError
from node.environment.toolgroups import ToolGroup

MAX_FILE = 4 << 20
"""A larger settings file is not a settings file. Bytes."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """``name`` is canonical, or empty when only running the build would tell it."""

    name: str = ""
    pyproject: Mapping[str, Any] = field(default_factory=dict)
    has_pyproject: bool = False
    has_setup_py: bool = False
    has_setup_cfg: bool = False
    """A ``setup.cfg`` that names the project, not merely one with a tool's settings."""
    build_requires: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tools: tuple[ToolGroup, ...] = ()
    """Groups that tools keep in tables of their own."""
    extras: tuple[str, ...] = ()
    declares_dependencies: bool = False
    dynamic_version: bool = False
    build_text: str = ""
    """What could name a version tool: build requirements, ``setup.py`` and ``setup.cfg``."""


def read(tree: Path) -> Metadata:
    """Read ``pyproject.toml``, ``setup.cfg``, ``setup.py`` and ``PKG-INFO`` of a tree.

    Raises:
        BuildError: one of them cannot be parsed; the message says where.
    """
    pyproject = _toml(tree / "pyproject.toml")
    setup_cfg = _ini(tree / "setup.cfg")
    setup_py = _text(tree / "setup.py")
    project = _table(pyproject, "project")
    build = _table(pyproject, "build-system")
    optional = _table(project, "optional-dependencies", "project.")
    cfg_extras = setup_cfg.get("options.extras_require", {})
    header = HeaderParser().parsestr(_text(tree / "PKG-INFO"))
    extras = [
        *optional,
        *cfg_extras,
        *_literal_extras(setup_py),
        *toolgroups.extras(pyproject),
        *header.get_all("Provides-Extra", []),
    ]
    name = (
        project.get("name")
        or setup_cfg.get("metadata", {}).get("name")
        or toolgroups.project_name(pyproject)
        or header.get("Name")
        or ""
    )
    requires = _strings(build.get("requires", []), "build-system.requires")
    return Metadata(
        name=canonicalize_name(str(name)) if name else "",
        pyproject=pyproject,
        has_pyproject=(tree / "pyproject.toml").is_file(),
        has_setup_py=(tree / "setup.py").is_file(),
        has_setup_cfg="name" in setup_cfg.get("metadata", {}),
        build_requires=requires,
        groups=tuple(_table(pyproject, "dependency-groups")),
        tools=toolgroups.read(pyproject, _toml(tree / "hatch.toml")),
        extras=tuple(dict.fromkeys(extras)),
        declares_dependencies=bool(project.get("dependencies")),
        dynamic_version="version" in project.get("dynamic", []) or "project" not in pyproject,
        build_text="\n".join((*requires, setup_py, _text(tree / "setup.cfg"))),
    )


def _text(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > MAX_FILE:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BuildError(f"{path.name} is broken: {error}") from error


def _ini(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(_text(path), path.name)
    except configparser.Error as error:
        raise BuildError(f"{path.name} is broken: {' '.join(str(error).split())}") from error
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _table(parent: Mapping[str, Any], key: str, where: str = "") -> dict[str, Any]:
    value = parent.get(key, {})
    if not isinstance(value, dict):
        raise BuildError(f"pyproject.toml is broken: {where}{key} is not a table")
    return value


def _strings(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BuildError(f"pyproject.toml is broken: {where} is not a list of strings")
    return tuple(value)


def _literal_extras(setup_py: str) -> list[str]:
    """The keys of ``extras_require={...}`` in a ``setup.py``, when they are written out."""
    if not re.search(r"\bextras_require\b", setup_py):
        return []
    try:
        tree = ast.parse(setup_py)
    except (SyntaxError, ValueError, RecursionError):
        # The build will say it better than we could.
        return []
    values = [
        node.value
        for node in ast.walk(tree)
        if (isinstance(node, ast.keyword) and node.arg == "extras_require")
        or (isinstance(node, ast.Assign) and any(_is_name(t, "extras_require") for t in node.targets))
    ]
    return [
        key.value
        for value in values
        if isinstance(value, ast.Dict)
        for key in value.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    ]


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
