"""Sessions that are forks of a process with pytest imported: the same as new interpreters, or they are."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from node.runner.children import Warden
from proto.messages import Options
from tests.runner.harness import Runners, reference
from tests.runner.process_state import STATE, command, printed
from tests.runner.rich_suite import write
from tests.runner.test_same_as_pytest import difference


@pytest.fixture(scope="module")
def warden() -> Iterator[Warden]:
    warden = Warden.start()
    warden.attach()
    yield warden
    warden.stop()


@pytest.fixture
def python(pythons: dict[str, Path]) -> Path:
    """An environment with nothing but pytest."""
    return pythons["9"]


def zygotes(warden: Warden) -> list[int]:
    """Pids of the warden's zygotes (not of their forks)."""
    children = Path(f"/proc/{warden.pid}/task/{warden.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"zygote.py" in _command_line(pid)]


def _command_line(pid: str) -> bytes:
    """Empty if the process has ended since its pid was read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def eventually(holds: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    with gevent.Timeout(seconds, AssertionError(f"not within {seconds} s: {what}")):
        while not holds():
            gevent.sleep(0.01)


def test_a_fork_is_as_a_new_interpreter(runners: Runners, python: Path, tmp_path: Path) -> None:
    tree = write(tmp_path / "tree", {"test_state.py": STATE})
    new, forked = (
        json.loads(printed(runners, tree, "STATE", python=python, base=base)) for base in (False, True)
    )
    assert command(runners, tree, python=python, base=True) == "zygote"
    assert set(new["modules"]) ^ set(forked["modules"]) == set()
    assert {key: (new[key], forked[key]) for key in new if new[key] != forked[key]} == {}


def test_rich_suite(runners: Runners, python: Path, tmp_path: Path) -> None:
    tree = write(tmp_path / "tree")
    plain = reference(tree, "--maxfail=0", python=python, scratch=tmp_path)
    assert difference(plain, runners.lazy(tree, python=python, base=True, split=2)) == {}
    assert difference(plain, runners.whole(tree, python=python, base=True)) == {}


def test_forks_have_other_chances_and_nothing_of_each_other(
    runners: Runners, python: Path, tmp_path: Path
) -> None:
    tree = write(tmp_path / "tree", {"test_state.py": STATE})
    assert len({printed(runners, tree, "CHANCE", python=python, base=True) for _ in range(3)}) == 3
    text = """
        import pytest, os, sys
        def test_marks_its_process():
            assert not hasattr(pytest, "seen") and "SEEN" not in os.environ
            pytest.seen = os.environ["SEEN"] = "1"
            sys.setrecursionlimit(400)
    """
    other = write(tmp_path / "other", {"test_a.py": text})
    for _ in range(2):
        outcomes = runners.lazy(other, python=python, base=True)
        assert list(outcomes.values()) == ["passed"]


@pytest.mark.parametrize(
    "provided",
    ["pluggy.py", "iniconfig/__init__.py", "queue.py", "lib/iniconfig/__init__.py"],
)
def test_a_project_with_a_module_of_that_name_gets_an_interpreter(
    provided: str, runners: Runners, python: Path, tmp_path: Path
) -> None:
    """Its own ``queue`` is what plain pytest would import, and the zygote has the other one already."""
    where = tmp_path / "tree"
    name = Path(provided).parts[-1 if provided.endswith("e.py") or provided == "pluggy.py" else -2]
    name = name.removesuffix(".py")
    text = f"""
        from importlib.machinery import PathFinder
        def test_it():
            assert PathFinder.find_spec("{name}").origin == {str(where / provided)!r}
            print("COMMAND" + open("/proc/self/cmdline").read() + "END")
    """
    # Found, but not what is imported: these copies could not stand in for the real ones.
    real = f"import sys, importlib.util as u; p = [x for x in sys.path if {str(where)!r} not in x]\n"
    real += "from importlib.machinery import PathFinder\n"
    real += "spec = PathFinder.find_spec(__name__, p); module = u.module_from_spec(spec)\n"
    real += "sys.modules[__name__] = module; spec.loader.exec_module(module)\n"
    tree = write(where, {"test_a.py": text, provided: real})
    assert command(runners, tree, python=python, base=True, import_roots=(where / "lib",)) == "exec"


def test_variables_of_the_submission_are_read_by_a_new_interpreter(
    runners: Runners, python: Path, tmp_path: Path
) -> None:
    tree = write(tmp_path / "tree", {"test_state.py": STATE})
    options = Options(pytest_args=("-rA",), env={"PYTHONHASHSEED": "7"})
    assert command(runners, tree, python=python, base=True, options=options) == "exec"


def test_time_limits_and_crashes_are_told_as_ever(runners: Runners, python: Path, tmp_path: Path) -> None:
    text = "import threading\ndef test_hang():\n    threading.Event().wait(600)\n"
    tree = write(tmp_path / "tree", {"test_a.py": text, "test_b.py": "import os\ndef test(): os._exit(3)\n"})
    session = runners.open(tree, python=python, base=True, timeout_test=0.5)
    session.opened()
    session.run("test_a.py")
    session.close()
    assert session.ended().how != "closed"
    (verdict,) = session.verdicts
    assert verdict.outcome == "timeout"
    assert "test_a.py" in verdict.traceback
    session = runners.open(tree, python=python, base=True)
    session.opened()
    session.run("test_b.py")
    session.close()
    ended = session.ended()
    assert ended.how == "died"
    assert "3" in ended.message


def test_a_zygote_that_dies_costs_its_sessions_and_is_replaced(
    warden: Warden, runners: Runners, python: Path, tmp_path: Path
) -> None:
    tree = write(tmp_path / "tree", {"test_state.py": STATE})
    assert command(runners, tree, python=python, base=True) == "zygote"
    hang = write(tmp_path / "hang", {"test_a.py": "import time\ndef test(): time.sleep(600)\n"})
    session = runners.open(hang, python=python, base=True)
    session.opened()
    session.run("test_a.py")
    session.close()
    (pid,) = zygotes(warden)
    os.kill(pid, signal.SIGKILL)
    assert session.ended().how != "closed"
    eventually(lambda: zygotes(warden) == [], "the zygote is gone")
    assert command(runners, tree, python=python, base=True) == "zygote"
    assert zygotes(warden) not in ([], [pid])


def test_an_interpreter_that_makes_no_zygote_is_executed(
    warden: Warden, runners: Runners, python: Path, tmp_path: Path
) -> None:
    stub = tmp_path / "python"
    stub.write_text(f'#!/bin/sh\ncase "$1" in *zygote.py) exit 1;; esac\nexec {python} "$@"\n')
    stub.chmod(0o755)
    before = zygotes(warden)
    tree = write(tmp_path / "tree", {"test_state.py": STATE})
    for _ in range(2):
        assert command(runners, tree, python=stub, base=True) == "exec"
    assert zygotes(warden) == before


def test_nothing_is_left_when_the_warden_ends(python: Path, tmp_path: Path) -> None:
    warden = Warden.start()
    warden.attach()
    runners = Runners(warden, tmp_path / "homes")
    hang = write(tmp_path / "hang", {"test_a.py": "import time\ndef test(): time.sleep(600)\n"})
    session = runners.open(hang, python=python, base=True)
    session.opened()
    session.run("test_a.py")
    session.close()
    (pid,) = zygotes(warden)
    left = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    assert len(left) == 2
    warden.stop()
    eventually(lambda: not any(Path(f"/proc/{one}").exists() for one in left), "all are gone")
