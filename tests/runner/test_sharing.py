"""What a runner gives back of a module that runs, and what it keeps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from proto.messages import AssignmentId, Done, HandedBack, Started, Verdicts
from tests.runner.harness import Runners, Session
from tests.runner.rich_suite import write
from tests.runner.test_inject import plugin

HEAD = """
import threading, pytest

def wait(seconds):
    threading.Event().wait(seconds)

many = pytest.mark.parametrize("n", range({count}))
"""
DEAR = """
@pytest.fixture(scope="{scope}", autouse=True)
def dear():
    wait(1.5)
"""
TESTS = """
@many
def test_one(n):
    wait({seconds})
"""
CLASSES = (
    """
class TestOne:
    @many
    def test_it(self, n): wait({seconds})
"""
    + """
class TestTwo:
    @many
    def test_it(self, n): wait({seconds})
"""
)


def begun(
    runners: Runners, tree: Path, text: str, *, seconds: float = 0.05, count: int = 30
) -> tuple[Session, AssignmentId]:
    """A session in which a module of this text runs, and its assignment."""
    text = (HEAD + text).replace("{seconds}", str(seconds)).replace("{count}", str(count))
    write(tree, {"pytest.ini": "[pytest]\nmarkers = xdist_group\n", "test_x.py": text})
    session = runners.open(tree)
    session.opened()
    assignment = session.run("test_x.py")
    # Of tests that are over at once only the verdicts are told.
    session.wait(lambda: session.of(Started) or session.of(Verdicts), "start")
    return session, assignment


def ask(runners: Runners, session: Session, assignment: AssignmentId) -> HandedBack:
    """Ask for the tail; the answer."""
    runners.supervisor.withdraw(session.id, assignment, tail=True)
    session.wait(lambda: session.of(HandedBack), "HandedBack")
    (handed,) = session.of(HandedBack)
    assert (handed.assignment, handed.why) == (assignment, "tail")
    return handed


def test_the_second_half_runs_elsewhere_and_every_test_once(runners: Runners, tree: Path) -> None:
    session, assignment = begun(runners, tree, TESTS)
    handed = ask(runners, session, assignment)
    names = [f"test_x.py::test_one[{n}]" for n in range(30)]
    given = [test.nodeid for test in handed.tests]
    assert 5 <= len(given) <= 15
    assert given == names[-len(given) :], "the end of the module, in its order"
    thief = runners.open(tree)
    thief.opened()
    thief.run("test_x.py", handed.tests)
    for one in (session, thief):
        one.close()
        assert one.ended().how == "closed"
    assert [verdict.test.nodeid for verdict in session.verdicts + thief.verdicts] == names
    assert [done.assignment for done in session.of(Done)] == [assignment]


@pytest.mark.parametrize("scope", ["module", "session"])
def test_dear_fixtures_are_not_set_up_twice(runners: Runners, tree: Path, scope: str) -> None:
    session, assignment = begun(runners, tree, DEAR.replace("{scope}", scope) + TESTS)
    assert ask(runners, session, assignment).tests == ()


def test_a_class_is_not_cut_if_its_own_fixture_is_dear(runners: Runners, tree: Path) -> None:
    session, assignment = begun(runners, tree, DEAR.replace("{scope}", "class") + CLASSES, count=15)
    given = ask(runners, session, assignment).tests
    assert [test.nodeid for test in given] == [f"test_x.py::TestTwo::test_it[{n}]" for n in range(15)]


def test_what_is_over_at_once_is_kept(runners: Runners, tree: Path) -> None:
    session, assignment = begun(runners, tree, TESTS, seconds=0.0)
    assert ask(runners, session, assignment).tests == ()


def test_what_has_begun_is_not_withdrawn(runners: Runners, tree: Path) -> None:
    session, assignment = begun(runners, tree, TESTS)
    runners.supervisor.withdraw(session.id, assignment)
    session.wait(lambda: session.of(HandedBack), "HandedBack")
    assert [(handed.tests, handed.why) for handed in session.of(HandedBack)] == [((), "kept")]


@pytest.mark.parametrize(
    ("classes", "cut", "inside"),
    [
        ("aaaa", 2, True),
        ("aabb", 2, False),
        ("aaabbbbb", 3, False),
        ("abbbbbbb", 4, True),
        ("aaaaabbbccc", 5, False),
        ("a", 0, False),
        ("ab", 1, False),
    ],
)
def test_the_cut_lies_between_classes_where_one_ends_near(classes: str, cut: int, inside: bool) -> None:
    parents = {name: object() for name in classes}
    tests = [SimpleNamespace(item=SimpleNamespace(parent=parents[name])) for name in classes]
    assert plugin.halve(tests) == (cut, inside)
