"""The arrows between the rooms, and what the sans-IO rooms may not touch (``docs/design.md``, section 5)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("proto", "node", "api", "cli")

ARROWS = {
    "proto": ("proto",),
    "node/core": ("node.core", "proto.messages", "proto.voting"),
    "node/runner/inject": (),
    "node/net": ("node.net", "node.core", "node.config", "node.threads", "proto"),
    "node/store": ("node.store", "node.core", "proto"),
    "node/sources": ("node.sources", "node.runner", "node.threads", "proto"),
    "node": ("node", "proto"),
    "api": ("api", "proto"),
    "cli": ("cli", "api.schemas", "proto"),
}
"""Folder -> the modules of ours that it may import. The longest matching folder counts."""

OUTSIDE = {
    "proto": ("msgspec",),
    "node/core": ("msgspec",),
    "node/runner/inject": ("pytest", "_pytest", "doctest"),
    # These run as scripts beside each other, in an interpreter without the project's packages.
    "node/runner/warden.py": ("caretaker", "foreman", "processes", "zygotes"),
    "node/runner/zygotes.py": ("processes",),
    "node/runner/zygote.py": ("caretaker", "foreman", "processes", "pytest", "_pytest"),
    "node/runner/foreman.py": ("caretaker", "processes"),
    "node/runner/caretaker.py": ("memory", "processes"),
    "node/runner/memory.py": (),
    "node/runner/processes.py": (),
    "cli": ("click", "requests", "rich", "msgspec"),
}
"""Folder or file -> the packages from outside the standard library that it may import."""

NO_IO = frozenset(
    {
        *("asyncio", "gevent", "http", "select", "selectors", "socket", "ssl", "urllib"),
        *("multiprocessing", "os", "signal", "subprocess", "threading"),
        *("pathlib", "shutil", "sqlite3", "tempfile", "logging"),
        *("random", "secrets", "time"),
    }
)
"""Not in the sans-IO rooms: neither IO nor clocks nor chance."""

MAX_LINES = 300
LONGER = (
    "proto/messages.py",  # the vocabulary: data alone, to be read in one piece
    "node/runner/inject/_testring_session.py",  # one file, because it runs in someone else's interpreter
)


def modules() -> list[str]:
    """Paths of all modules, relative to the root."""
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [path.relative_to(ROOT).as_posix() for path in paths]


def imports(path: str) -> Iterator[tuple[int, str]]:
    """(line, absolute module name) of every import, also those inside functions."""
    package = path.removesuffix(".py").split("/")[:-1]
    for item in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"), path)):
        if isinstance(item, ast.Import):
            yield from ((item.lineno, alias.name) for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            base = package[: len(package) - item.level + 1] if item.level else []
            name = ".".join([*base, *([item.module] if item.module else [])])
            # ``from node import views`` imports the module node.views; a class is below its module.
            yield from ((item.lineno, f"{name}.{alias.name}") for alias in item.names)


def rule(table: dict[str, tuple[str, ...]], path: str) -> tuple[str, ...] | None:
    """The entry for the longest folder that holds ``path``."""
    fitting = [place for place in table if path == place or path.startswith(place + "/")]
    return table[max(fitting, key=len)] if fitting else None


def allowed(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def only_for_types(path: str) -> set[int]:
    """Lines inside ``if TYPE_CHECKING``: no import happens there."""
    lines: set[int] = set()
    for item in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(item, ast.If) and ast.unparse(item.test).endswith("TYPE_CHECKING"):
            lines.update(range(item.lineno, (item.end_lineno or item.lineno) + 1))
    return lines


@pytest.mark.parametrize("path", modules())
def test_imports_follow_the_arrows(path):
    ours = rule(ARROWS, path)
    assert ours is not None, f"{path}: say in ARROWS what this room may import"
    outside = rule(OUTSIDE, path)
    typing_only = only_for_types(path)
    wrong = []
    for line, name in imports(path):
        top = name.partition(".")[0]
        if line in typing_only:
            continue
        if top in ROOMS:
            if not allowed(name, ours):
                wrong.append(f"{path}:{line} imports {name}")
        elif (
            outside is not None and top not in (*outside, "__future__") and top not in sys.stdlib_module_names
        ):
            wrong.append(f"{path}:{line} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("path", [path for path in modules() if path.startswith(("proto/", "node/core/"))])
def test_the_cores_do_no_io(path):
    wrong = [
        f"{path}:{line} imports {name}" for line, name in imports(path) if name.partition(".")[0] in NO_IO
    ]
    assert wrong == []


@pytest.mark.parametrize("path", modules())
def test_the_node_is_not_monkey_patched(path):
    assert [name for _, name in imports(path) if name.startswith("gevent.monkey")] == []


@pytest.mark.parametrize("path", [path for path in modules() if path not in LONGER])
def test_modules_are_short(path):
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{path} has {lines} lines: does it own one thing?"
