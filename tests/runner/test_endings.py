"""Every way a runner can end costs its suspect, says why, and leaves no process behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proto.messages import Collected, Done, HandedBack, Options, SessionOpened, Started, TestId
from tests.runner.harness import Runners, Session
from tests.runner.rich_suite import write

AROUND = """
    import os, signal, sys, time, ctypes, pytest
    def test_before(): pass
    def test_it(tmp_path):
        {body}
    def test_after(): pass
"""


def start(runners: Runners, tree: Path, body: str, **extra: object) -> Session:
    write(tree, {"test_x.py": AROUND.format(body=body)})
    session = runners.open(tree, **extra)
    session.opened()
    session.run("test_x.py")
    session.close()
    return session


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("os._exit(3)", "called os._exit(3)"),
        ("os._exit(0)", "called os._exit(0)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("ctypes.string_at(0)", "killed by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("pytest.exit('enough')", "stopped the session: Exit: enough"),
        ("raise KeyboardInterrupt", "stopped the session: KeyboardInterrupt"),
        ("os.closerange(3, 4096)", "a test closed or replaced the descriptors of its own runner"),
    ],
)
def test_death(body: str, message: str, runners: Runners, tree: Path) -> None:
    session = start(runners, tree, body)
    ended = session.ended()
    assert (ended.how, ended.message) == ("died", message)
    assert session.outcomes()["test_x.py::test_before", 0] == "passed"
    assert ("test_x.py::test_after", 0) not in session.outcomes()
    assert len(session.planned()) == 3
    if "descriptors" not in message:
        assert ended.suspect == TestId("test_x.py::test_it", 0)
        assert session.of(Started)[-1].test == ended.suspect


GARBAGE = """
        import socket
        for number in range(3, 1024):
            try:
                channel = socket.socket(fileno=os.dup(number))
                channel.getpeername()
                channel.sendall({data})
            except OSError:
                pass
        time.sleep(60)
"""


@pytest.mark.parametrize(
    "data",
    [r'b"hello\n"', r'b"x" * 5_000_000', r"""b'["done",77]\n'""", r'b"\xff[]\n"'],
)
def test_garbage_on_the_channel(data: str, runners: Runners, tree: Path) -> None:
    ended = start(runners, tree, GARBAGE.format(data=data).strip()).ended()
    assert ended.how == "died"
    assert ended.message.startswith("channel corrupted")
    assert ended.suspect == TestId("test_x.py::test_it", 0)


def test_time_limit_shows_the_stack(runners: Runners, tree: Path) -> None:
    session = start(runners, tree, "time.sleep(600)", timeout_test=1.0)
    ended = session.ended()
    assert (ended.how, ended.message) == ("timeout", "time limit of 1 s")
    verdict = session.verdicts[-1]
    assert (verdict.test.nodeid, verdict.outcome) == ("test_x.py::test_it", "timeout")
    assert "in test_it" in verdict.traceback
    assert 1.0 <= verdict.seconds < 5


def test_time_limit_of_a_test_that_ignores_everything(runners: Runners, tree: Path) -> None:
    every = "set(range(1, 65)) - {9, 19, 32, 33}"
    body = f"[signal.signal(n, signal.SIG_IGN) for n in {every}]; time.sleep(600)"
    session = start(runners, tree, body, options=Options(timeout_test=0.5))
    assert session.ended().how == "timeout"
    assert session.verdicts[-1].outcome == "timeout"


def test_time_limit_of_a_collection(runners: Runners, tree: Path) -> None:
    write(tree, {"test_x.py": "import time; time.sleep(600)"})
    session = runners.open(tree, timeout_test=1.0)
    session.opened()
    assignment = session.run("test_x.py")
    ended = session.ended()
    assert (ended.how, ended.message) == ("timeout", "collection exceeded the limit of 1 s")
    assert (ended.collecting, ended.assignment) == ("test_x.py", assignment)
    assert "time.sleep" in ended.log or "test_x.py" in ended.log


def test_death_in_a_collection(runners: Runners, tree: Path) -> None:
    write(tree, {"test_x.py": "import os; os._exit(5)"})
    session = runners.open(tree)
    session.opened()
    session.run("test_x.py")
    ended = session.ended()
    assert (ended.how, ended.message, ended.collecting) == ("died", "called os._exit(5)", "test_x.py")
    assert ended.suspect is None


def test_start_limit(runners: Runners, tree: Path) -> None:
    write(tree, {"conftest.py": "import time; time.sleep(600)", "test_x.py": ""})
    ended = runners.open(tree, timeout_open=1.0).ended()
    assert (ended.how, ended.message) == ("unusable", "pytest did not start within 1 s")
    assert "conftest.py" in ended.log


@pytest.mark.parametrize(
    ("files", "args", "message"),
    [
        (
            {"pytest.ini": "[pytest]\naddopts = --no-such-option\n"},
            (),
            "unrecognized arguments: --no-such-option",
        ),
        ({"conftest.py": "import nowhere_to_be_found"}, (), "ModuleNotFoundError: No module named 'nowhere"),
        ({"test_x.py": ""}, ("-k", "and and"), "Wrong expression passed to '-k'"),
        ({"test_x.py": ""}, ("nothing_here.py",), "file or directory not found: nothing_here.py"),
        ({"conftest.py": "def pytest_configure(): 1 / 0"}, (), "ZeroDivisionError"),
    ],
)
def test_unusable(
    files: dict[str, str], args: tuple[str, ...], message: str, runners: Runners, tree: Path
) -> None:
    ended = runners.open(write(tree, files), *args).ended()
    assert ended.how == "unusable"
    assert message in ended.message
    assert ended.log


def test_interpreter_missing(runners: Runners, tree: Path) -> None:
    ended = runners.open(tree, python=tree / "python").ended()
    assert ended.how == "unusable"
    assert "No such file" in ended.message


def test_output_flood(runners: Runners, tree: Path) -> None:
    body = "[os.write(sys.__stderr__.fileno(), b'x' * 65536) for _ in range(1000)]; time.sleep(60)"
    session = start(runners, tree, body, options=Options(pytest_args=("-s",)))
    ended = session.ended()
    assert ended.how == "output"
    assert ended.suspect == TestId("test_x.py::test_it", 0)
    assert len(ended.log) <= 65_536


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_daemon_left_behind_is_gone(runners: Runners, tree: Path) -> None:
    body = """
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                open("pid.tmp", "w").write(str(os.getpid()))
                os.rename("pid.tmp", "pid")
                time.sleep(600)
            os._exit(0)
        while not os.path.exists("pid"):
            time.sleep(0.01)
    """.strip()
    session = start(runners, tree, body)
    assert session.ended().how == "closed"
    assert set(session.outcomes().values()) == {"passed"}
    assert not alive(int((tree / "pid").read_text()))


def test_forked_child_that_returns_into_pytest(runners: Runners, tree: Path) -> None:
    body = """
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
    """.strip()
    session = start(runners, tree, body)
    assert session.ended().how == "closed"
    assert list(session.outcomes().values()) == ["passed"] * 3


def test_kill_in_the_middle(runners: Runners, tree: Path) -> None:
    session = start(runners, tree, "open('here', 'w').close(); time.sleep(600)")
    session.wait(
        lambda: any(s.test.nodeid.endswith("test_it") for s in session.of(Started)), "start of test_it"
    )
    runners.supervisor.end(session.id, kill=True, why="cancelled")
    ended = session.ended()
    assert (ended.how, ended.message) == ("killed", "cancelled")
    assert session.outcomes() == {("test_x.py::test_before", 0): "passed"}


def test_suite_that_stops_itself(runners: Runners, tree: Path) -> None:
    files = {
        "conftest.py": """
            def pytest_runtest_teardown(item):
                if item.name == "test_b":
                    item.session.shouldstop = "seen enough"
        """,
        "test_x.py": "def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass\n",
    }
    session = runners.open(write(tree, files))
    session.opened()
    session.run("test_x.py")
    session.close()
    ended = session.ended()
    assert (ended.how, ended.message) == ("closed", "Interrupted: seen enough")
    assert list(session.outcomes().values()) == ["passed", "passed", "notrun"]


TWO = {"test_a.py": "def test_1(): pass\ndef test_2(): pass\n", "test_b.py": "def test_3(): pass\n"}


def test_withdraw_what_has_not_begun(runners: Runners, tree: Path) -> None:
    files = {
        **TWO,
        "test_0.py": "import os, time\ndef test_wait():\n while not os.path.exists('go'): time.sleep(0.01)",
    }
    session = runners.open(write(tree, files))
    session.opened()
    busy, first, second = (session.run(name) for name in ("test_0.py", "test_a.py", "test_b.py"))
    session.wait(lambda: session.of(Started), "start")
    runners.supervisor.withdraw(session.id, second)
    (tree / "go").touch()
    session.wait(lambda: session.of(HandedBack), "HandedBack")
    assert [(h.assignment, h.tests) for h in session.of(HandedBack)] == [(second, ())]
    session.close()
    assert session.ended().how == "closed"
    assert {done.assignment for done in session.of(Done)} == {busy, first}


def test_last_item_waits_for_what_comes_next(runners: Runners, tree: Path) -> None:
    """A session fixture lives across assignments that were not known when the first began."""
    files = {
        "conftest.py": "import pytest\n@pytest.fixture(scope='session', autouse=True)\n"
        "def up():\n open('ups', 'a').write('u')\n yield\n open('ups', 'a').write('d')\n",
        **TWO,
    }
    session = runners.open(write(tree, files))
    session.opened()
    session.run("test_a.py")
    session.wait(lambda: len(session.verdicts) == 1, "first verdict")
    assert (tree / "ups").read_text() == "u"
    session.run("test_b.py")
    session.close()
    session.ended()
    assert len(session.verdicts) == 3
    assert (tree / "ups").read_text() == "ud"


def test_selected_and_unknown_tests(runners: Runners, tree: Path) -> None:
    session = runners.open(write(tree, TWO))
    session.opened()
    unknown = TestId("test_a.py::test_9", 0)
    some = session.run("test_a.py", [unknown, TestId("test_a.py::test_2", 0)])
    again = session.run("test_a.py", [TestId("test_a.py::test_2", 0)])
    stranger = session.run("test_z.py")
    session.close()
    session.ended()
    assert [v.test.nodeid for v in session.verdicts] == ["test_a.py::test_2"] * 2
    handed = {h.assignment: (h.tests, h.why) for h in session.of(HandedBack)}
    assert handed == {stranger: ((), "unknown"), some: ((unknown,), "unknown")}
    assert {done.assignment for done in session.of(Done)} == {some, again, stranger}


def test_groups_are_held_back(runners: Runners, tree: Path) -> None:
    files = {
        "pytest.ini": "[pytest]\nmarkers = xdist_group\n",
        "test_x.py": """
            import pytest
            def test_free(): pass
            @pytest.mark.xdist_group("one")
            def test_one(): pass
            @pytest.mark.xdist_group(name="two")
            @pytest.mark.xdist_group("one")
            def test_both(): pass
        """,
    }
    session = runners.open(write(tree, files))
    session.opened()
    session.run("test_x.py")
    session.wait(lambda: session.planned(), "Collected")

    groups = session.of(Collected)[0].groups
    assert groups == {
        "one": (TestId("test_x.py::test_one", 0),),
        "one_two": (TestId("test_x.py::test_both", 0),),
    }
    for tests in groups.values():
        session.run("test_x.py", tests)
    session.close()
    session.ended()
    assert [v.test.nodeid[11:] for v in session.verdicts] == ["test_free", "test_one", "test_both"]


def test_what_opened_says(runners: Runners, tree: Path) -> None:
    files = {"setup.cfg": "[tool:pytest]\naddopts = -n auto --junitxml=x.xml -qx\n", **TWO}
    session = runners.open(write(tree, files), "--maxfail", "1")
    opened: SessionOpened = session.opened()
    assert opened.modules == ("test_a.py", "test_b.py")
    assert opened.command[1:4] == ("-m", "pytest", "-q")
    assert opened.notes == ("left out inside a runner: -n auto --junitxml=x.xml -x --maxfail 1",)
    assert {"python", "pytest"} <= opened.versions.keys()
    session.close()
    assert session.ended().how == "closed"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_another_user(runners: Runners, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skipped without root: only root may change uid. The system's interpreter has no pytest; it says so."""
    import shutil
    import tempfile

    place = Path(tempfile.mkdtemp(prefix="testring-"))
    try:
        place.chmod(0o711)
        uid = 47_123
        tree, home = write(place / "tree", TWO), place / "home"
        os.chown(tree, uid, uid)
        session = runners.open(tree, uid=uid, home=home, python=Path("/usr/bin/python3"))
        ended = session.ended()
        assert ended.how == "unusable"
        assert "No module named 'pytest'" in ended.message
        assert home.stat().st_uid == uid
    finally:
        shutil.rmtree(place)
