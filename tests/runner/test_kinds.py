"""Kinds of suites: lazily in one session, split over two, and as a whole, all as plain pytest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runner.harness import Runners, reference
from tests.runner.kinds import KINDS
from tests.runner.rich_suite import write
from tests.runner.test_same_as_pytest import difference

ONE_PROCESS = {"one name in two folders", "modules that leave for other folders"}
"""Here plain pytest fails because all modules share a process: a split is set right by the audit."""


@pytest.mark.parametrize("kind", KINDS)
def test_kind(kind: str, pythons: dict[str, Path], runners: Runners, tmp_path: Path) -> None:
    files, args = KINDS[kind]
    python = pythons["9"]
    plain = reference(write(tmp_path / "plain", files), *args, python=python, scratch=tmp_path)
    assert plain
    tree = write(tmp_path / "tree", files)
    assert difference(plain, runners.whole(tree, *args, python=python)) == {}
    assert difference(plain, runners.lazy(tree, *args, python=python)) == {}
    if kind not in ONE_PROCESS:
        assert difference(plain, runners.lazy(tree, *args, python=python, split=2)) == {}
