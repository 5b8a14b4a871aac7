"""The promise "same answer as pytest": every way to run a suite gives plain pytest's outcomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runner.harness import Runners, reference
from tests.runner.rich_suite import FILES, write

NOT_BROKEN = {name: text for name, text in FILES.items() if "broken" not in name}


def difference(wanted: dict, got: dict) -> dict:
    keys = wanted.keys() | got.keys()
    return {key: (wanted.get(key), got.get(key)) for key in keys if wanted.get(key) != got.get(key)}


@pytest.mark.parametrize("version", ["7.4", "8", "9"])
def test_rich_suite(version: str, pythons: dict[str, Path], runners: Runners, tmp_path: Path) -> None:
    # pytest 7 gives up the whole collection when a folder's conftest fails.
    tree = write(tmp_path / "tree", NOT_BROKEN if version == "7.4" else FILES)
    python = pythons[version]
    plain = reference(tree, "--maxfail=0", python=python, scratch=tmp_path)
    assert len(plain) > 350
    assert set(plain.values()) == {"passed", "failed", "error", "skipped", "xfailed", "xpassed"}
    assert difference(plain, runners.whole(tree, python=python)) == {}
    assert difference(plain, runners.lazy(tree, python=python)) == {}
    assert difference(plain, runners.lazy(tree, python=python, split=2)) == {}


@pytest.mark.parametrize(
    "args",
    [
        ("-k", "TestGroup or xfail"),
        ("pkg", "test_unit.py"),
        ("test_outcomes.py::test_fail", "test_outcomes.py::test_ids", "pkg/test_one.py"),
        ("--deselect=test_unit.py::Case", "-m", "not slow", "pkg", "test_unit.py"),
        ("test_many.py", "--ignore=pkg", "test_many.py"),
    ],
    ids=["keyword", "paths", "node-ids", "deselect", "twice"],
)
def test_arguments(args: tuple[str, ...], runners: Runners, tmp_path: Path) -> None:
    tree = write(tmp_path / "tree")
    plain = reference(tree, "--maxfail=0", *args, scratch=tmp_path)
    assert plain
    assert difference(plain, runners.lazy(tree, *args)) == {}
    assert difference(plain, runners.whole(tree, *args)) == {}


def test_order_is_pytests(runners: Runners, tmp_path: Path) -> None:
    tree = write(tmp_path / "tree", NOT_BROKEN)
    order = list(reference(tree, "--maxfail=0", "-q", scratch=tmp_path))
    assert list(runners.whole(tree)) == order


def test_plugins(pythons: dict[str, Path], runners: Runners, tmp_path: Path) -> None:
    """xdist in addopts is switched off, reruns count once, coverage and flaky do not disturb."""
    files = {
        "setup.cfg": "[tool:pytest]\naddopts = -n auto --dist loadgroup --cov=. --cov-report= -vx\n"
        "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n",
        "test_a.py": """
            import pytest
            from flaky import flaky
            tries = []
            @pytest.mark.flaky(reruns=2)
            def test_rerun():
                tries.append(1)
                assert len(tries) == 2
            more = []
            @flaky(max_runs=3)
            def test_flaky():
                more.append(1)
                assert len(more) == 3
            @pytest.mark.flaky(reruns=1)
            def test_never(): assert 0
            async def test_async(): pass
            @pytest.mark.xdist_group("g")
            def test_grouped(): pass
        """,
        "test_b.py": """
            def test_serial(request):
                assert not hasattr(request.config, "workerinput")
                assert request.config.getoption("numprocesses") in (None, 0)
        """,
    }
    tree = write(tmp_path / "tree", files)
    python = pythons["plugins"]
    args = ("-p", "no:rerunfailures")
    for arguments in ((), args):
        plain = reference(tree, "-n0", "--maxfail=0", *arguments, python=python, scratch=tmp_path)
        assert difference(plain, runners.whole(tree, *arguments, python=python)) == {}
