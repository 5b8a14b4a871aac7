"""A kill for memory is told from any other SIGKILL, by real kills of the kernel in a group of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.runner import memory
from node.runner.children import Finished, Warden
from node.runner.ending import death
from tests.runner.harness import Runners
from tests.runner.rich_suite import write
from tests.support import waiting

LIMIT = 192 << 20
GREEDY = """
    import os, signal
    def test_before(): pass
    def test_greedy():
        kept = []
        while True:
            kept.append(b"x" * (8 << 20))
    def test_after(): pass
"""


@contextmanager
def limited_group() -> Iterator[Path]:
    """A control group with a limit of memory; skips where none can be made."""
    one = Path("/sys/fs/cgroup/memory")
    top, limits = (one, ["memory.limit_in_bytes"]) if one.is_dir() else (one.parent, ["memory.max"])
    group = top / f"testring-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        for name in limits:
            if not (group / name).exists():
                pytest.skip("the memory controller is not for us here")
            (group / name).write_text(str(LIMIT))
        if (group / "memory.swap.max").exists():
            (group / "memory.swap.max").write_text("0")
        yield group
    finally:
        waiting.until(lambda: not (group / "cgroup.procs").read_text(), 30.0, "the group is empty")
        group.rmdir()


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[Warden]:
    """A warden whose jobs have little memory."""
    with limited_group() as group:
        warden = Warden.start()
        (group / "cgroup.procs").write_text(str(warden.pid))
        warden.attach()
        yield warden
        warden.stop()


def test_a_test_that_takes_all_memory(cramped: Warden, tmp_path: Path, tree: Path) -> None:
    write(tree, {"test_x.py": GREEDY})
    runners = Runners(cramped, tmp_path / "homes")
    session = runners.open(tree)
    session.opened()
    session.run("test_x.py")
    session.close()
    ended = session.ended()
    assert ended.message == "killed by SIGKILL: out of memory, by the kernel's count of such kills"
    assert ended.suspect is not None
    assert ended.suspect.nodeid == "test_x.py::test_greedy"
    assert session.outcomes()["test_x.py::test_before", 0] == "passed"
    runners.supervisor.close()


def test_any_other_kill_is_not_laid_to_memory(cramped: Warden, tmp_path: Path, tree: Path) -> None:
    write(tree, {"test_x.py": "import os\ndef test_it(): os.kill(os.getpid(), 9)\n"})
    runners = Runners(cramped, tmp_path / "homes")
    session = runners.open(tree)
    session.opened()
    session.run("test_x.py")
    session.close()
    assert session.ended().message == "killed by SIGKILL"
    runners.supervisor.close()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\noom 4\noom_kill 3\n", 3),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7),
        ("oom_kill_disable 0\n", None),
        ("", None),
    ],
)
def test_both_versions_of_the_count_are_read(text: str, count: int | None, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text(text)
    assert memory._read(str(path)) == count
    assert memory._read(str(tmp_path / "missing")) is None


def test_a_kill_is_this_jobs_only_if_it_is_recent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events"
    path.write_text("oom_kill 1\n")
    now = [100.0]
    monkeypatch.setattr(memory, "_counter", lambda: str(path))
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    kills = memory.KillCount()
    assert kills.risen() is False
    path.write_text("oom_kill 2\n")
    now[0] += kills.refresh()
    kills.refresh()
    assert kills.risen() is True  # counted, and read, a moment before the process was gone
    now[0] += kills.refresh()
    kills.refresh()
    assert kills.risen() is False
    path.unlink()
    assert kills.risen() is None


def test_what_cannot_be_read_is_worded_as_a_guess() -> None:
    unknown = Finished(why="exit", signal="SIGKILL", out_of_memory=None)
    assert "perhaps" in death(unknown)
