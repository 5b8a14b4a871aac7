"""Which of a project's groups, extras and requirement files its tests need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from node.environment.errors import BuildError
from node.environment.metadata import Metadata
from node.environment.toolgroups import ToolGroup
from proto.messages import Options

TEST_NAMES = ("test", "tests", "testing")
LAST_RESORT = "dev"
TOOL_TEST_NAMES = (*TEST_NAMES, "hatch-test")
TOOL_LAST_RESORTS = (LAST_RESORT, "default")
TEST_FILES = (
    *("requirements-test.txt", "requirements-tests.txt", "requirements-testing.txt"),
    *("requirements_test.txt", "requirements_tests.txt", "test-requirements.txt", "test_requirements.txt"),
    *(f"requirements/{name}.{kind}" for name in (*TEST_NAMES, "pytest") for kind in ("txt", "in")),
    "tests/requirements.txt",
    "test/requirements.txt",
)
DEV_FILES = (
    *("requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt"),
    *("requirements/dev.txt", "requirements/dev.in"),
)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Names of groups and extras as the project writes them; ``files`` are relative to the tree."""

    groups: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    tools: tuple[ToolGroup, ...] = ()
    files: tuple[str, ...] = ()


def choose(tree: Path, found: Metadata, options: Options) -> Chosen:
    """The first of each kind that is named for tests, unless the submission names others.

    What is named for development is used only where nothing is named for tests; the tools' own
    groups only where neither a dependency group nor an extra is.

    Raises:
        BuildError: the submission names a group or extra that is not there.
    """
    groups, tools = _asked_groups(found, options.groups)
    extras = _asked(found.extras, options.extras, "extras", "extra")
    groups = groups if options.groups else _first(found.groups)
    extras = extras if options.extras else _first(found.extras)
    names = {canonicalize_name(name) for name in (*groups, *extras, *(tool.name for tool in tools))}
    for_tests = not names <= {LAST_RESORT}
    if not for_tests and not options.groups:
        tools = _first_tool(found.tools, TOOL_TEST_NAMES)
    files = _files(tree, for_tests or bool(tools))
    said = bool(tools) or any(name in TEST_FILES for name in files)
    if not for_tests and said:
        # The project has said elsewhere what its tests need.
        groups, extras = (groups if options.groups else ()), (extras if options.extras else ())
    elif not names and not options.groups:
        tools = _first_tool(found.tools, TOOL_LAST_RESORTS)
    return Chosen(
        groups=_with(groups, (name for tool in tools for name in tool.groups if name in found.groups)),
        extras=_with(extras, (name for tool in tools for name in tool.extras if name in found.extras)),
        tools=tools,
        files=files,
    )


def _with(names: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*names, *more)))


def _asked(declared: Sequence[str], asked: Sequence[str], option: str, word: str) -> tuple[str, ...]:
    names = {canonicalize_name(name): name for name in declared}
    for name in asked:
        if canonicalize_name(name) not in names:
            there = ", ".join(declared) or "none"
            raise BuildError(f"option {option}: the project has no {word} {name!r}; it declares: {there}")
    return tuple(names[canonicalize_name(name)] for name in asked)


def _asked_groups(found: Metadata, asked: Sequence[str]) -> tuple[tuple[str, ...], tuple[ToolGroup, ...]]:
    """Dependency groups by these names, and the tools' groups where there is none."""
    declared = _with(found.groups, (tool.name for tool in found.tools))
    chosen = _asked(declared, asked, "groups", "dependency group")
    tools = {tool.name: tool for tool in reversed(found.tools)}
    groups = tuple(name for name in chosen if name in found.groups)
    return groups, tuple(tools[name] for name in chosen if name not in found.groups)


def _first(declared: Sequence[str]) -> tuple[str, ...]:
    names = {canonicalize_name(name): name for name in declared}
    return next(((names[name],) for name in (*TEST_NAMES, LAST_RESORT) if name in names), ())


def _first_tool(declared: Sequence[ToolGroup], wanted: Sequence[str]) -> tuple[ToolGroup, ...]:
    names = {canonicalize_name(tool.name): tool for tool in reversed(declared)}
    return next(((names[name],) for name in wanted if name in names), ())


def _files(tree: Path, for_tests: bool) -> tuple[str, ...]:
    files = ["requirements.txt"] if (tree / "requirements.txt").is_file() else []
    names = TEST_FILES if for_tests else (*TEST_FILES, *DEV_FILES)
    found = next((name for name in names if (tree / name).is_file()), None)
    return tuple(files + ([found] if found else []))
