"""The project that is tested: 600 tests in 30 modules, of every ordinary outcome, all of them known."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from random import Random

MODULES = 30
TESTS = 20
TOTAL = MODULES * TESTS
FOLDER = "chaos"
"""The project's name: its folder at the top of the zip."""

Key = tuple[str, int]
"""(node id, occurrence)."""

_HEAD = """import threading

import pytest


def wait(seconds):
    threading.Event().wait(seconds)


@pytest.fixture
def broken():
    raise RuntimeError("broken on purpose")
"""

_BODIES = {
    "passed": ("", "", "wait({seconds})"),
    "failed": ("", "", 'wait({seconds})\n    assert {seconds} < 0, "fails on purpose"'),
    "error": ("", "broken", "wait({seconds})"),
    "skipped": ("", "", 'pytest.skip("skipped on purpose")'),
    "xfailed": ('@pytest.mark.xfail(reason="known")\n', "", "wait({seconds})\n    assert {seconds} < 0"),
    "xpassed": ('@pytest.mark.xfail(reason="gone")\n', "", "wait({seconds})"),
}
_WEIGHTS = {"passed": 86, "failed": 3, "error": 2, "skipped": 4, "xfailed": 3, "xpassed": 2}


def expected(seed: int) -> dict[Key, str]:
    """Outcome of every test of this seed's suite."""
    return {
        (f"{_path(module)}::{name}", 0): outcome
        for module, tests in enumerate(_plan(seed))
        for name, outcome, _ in tests
    }


def archive(seed: int, number: int) -> bytes:
    """A zip of the suite. ``number`` makes its content, and so its package, one of a kind."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr(f"{FOLDER}/number.txt", f"{number}\n")
        for module, tests in enumerate(_plan(seed)):
            text = _HEAD + "".join(_test(*test) for test in tests)
            zipped.writestr(f"{FOLDER}/{_path(module)}", text)
    return buffer.getvalue()


def _plan(seed: int) -> Iterator[list[tuple[str, str, float]]]:
    """Of each module the (name, outcome, seconds) of its tests."""
    random = Random(f"suite {seed}")
    outcomes, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    for _ in range(MODULES):
        yield [
            (f"test_{n:02}", random.choices(outcomes, weights)[0], round(random.uniform(0.002, 0.03), 4))
            for n in range(TESTS)
        ]


def _path(module: int) -> str:
    return f"tests/test_m{module:02}.py"


def _test(name: str, outcome: str, seconds: float) -> str:
    mark, fixture, body = _BODIES[outcome]
    return f"\n\n{mark}def {name}({fixture}):\n    {body.format(seconds=seconds)}\n"
