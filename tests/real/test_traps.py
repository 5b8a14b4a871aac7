"""Where other runners lose or change results: each trap as a small suite, split over three workers.

The reference is always plain serial pytest on the same tree, so a trap is passed when nothing differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.real.compare import differences
from tests.real.reference import Built, Reference, serial
from tests.support.cluster import Cluster, Result
from tests.support.waiting import until

pytestmark = pytest.mark.process


UNHURRIED = """
import pytest, threading

@pytest.fixture(scope="module", autouse=True)
def unhurried():
    threading.Event().wait(0.4)
"""
"""In a suite that is over at once the first slot does all, and nothing is split."""


def plain(cluster: Cluster, tree: Path, *arguments: str) -> Reference:
    """Plain serial pytest on a tree that needs nothing but pytest, in the cluster's base environment."""
    return serial(Built.base(cluster.top / "r", tree), arguments)


def assert_same(result: Result, reference: Reference) -> None:
    assert reference.outcomes, reference.tail
    assert result.answer["state"] == "finished", result.notes
    assert [str(entry) for entry in differences(reference.outcomes, result.outcomes)] == []


def split(cluster: Cluster, tree: Path, **options: Any) -> Result:
    """Run with every module collected alone, until more than one node had a share.

    A node's first session makes the base environment, and the others may have run all by then.
    """
    (tree / "tests" / "conftest.py").write_text(UNHURRIED, encoding="utf-8")

    def shared() -> Result | None:
        result = cluster.run(tree, collection="lazy", **options)
        return result if len(result.workers) > 1 else None

    return until(shared, 120, "run by more than one node")


def many(count: int, text: str) -> dict[str, str]:
    """``count`` modules of one text; ``{n}`` in it is the module's number."""
    return {f"tests/test_m{n}.py": text.replace("{n}", str(n)) for n in range(count)}


def test_repeated_ids_are_not_lost(cluster, project):
    """pytest keys nothing by id, so a custom collector may give two items the same one."""
    conftest = """
import pytest

class Item(pytest.Item):
    def runtest(self):
        assert self.number != 3

class Collector(pytest.Collector):
    def collect(self):
        for number in range(4):
            item = Item.from_parent(self, name="case")
            item.number = number
            yield item

def pytest_pycollect_makeitem(collector, name, obj):
    if name == "cases":
        return Collector.from_parent(collector, name=name)
"""
    tree = project({"conftest.py": conftest, **many(4, "cases = True\ndef test_one(): pass\n")})
    result = split(cluster, tree)
    reference = plain(cluster, tree)
    assert_same(result, reference)
    assert result.counts == {"passed": 16, "failed": 4}
    assert result.outcomes["tests/test_m0.py::cases::case", 3] == "failed"


def test_a_failure_that_only_a_split_makes_is_not_reported(cluster, project):
    """Modules that need what another one imports pass serially; alone they fail."""
    first = {"tests/test_a.py": "import registry\nregistry.ready = True\ndef test_a(): pass\n"}
    needy = "import registry\ndef test_needs_a(): assert registry.ready\n"
    tree = project({"conftest.py": "", "registry.py": "ready = False\n", **first, **many(6, needy)})
    result = split(cluster, tree)
    assert_same(result, plain(cluster, tree))
    assert result.counts == {"passed": 7}
    sensitive = [test for test in result.tests("passed") if test["split_sensitive"]]
    # On the slot that ran the first module, those that follow it pass at once.
    assert sensitive
    assert all(
        [attempt["outcome"] for attempt in test["attempts"]] == ["failed", "passed"] for test in sensitive
    )


def test_a_real_failure_is_confirmed(cluster, project):
    tree = project({**many(5, "def test_bad(): assert {n} != 2\n")})
    result = split(cluster, tree)
    assert_same(result, plain(cluster, tree))
    (failed,) = result.tests("failed")
    assert [attempt["outcome"] for attempt in failed["attempts"]] == ["failed", "failed"]
    assert not failed["unconfirmed"]


def test_ids_made_from_what_is_imported_are_audited(cluster, project):
    """Parameters from the subclasses imported so far: a module collected alone has fewer ids."""
    base = "class Base: pass\n"
    adds = "import base\nclass Kind{n}(base.Base): pass\ndef test_kind(): assert Kind{n}\n"
    walks = """
import base, pytest

@pytest.mark.parametrize("kind", sorted(c.__name__ for c in base.Base.__subclasses__()))
def test_every_kind(kind): assert kind
"""
    tree = project({"conftest.py": "", "base.py": base, **many(4, adds), "tests/test_z.py": walks})
    result = cluster.run(tree)
    reference = plain(cluster, tree)
    assert len(reference.outcomes) == 8
    assert_same(result, reference)


@pytest.mark.parametrize("with_xdist", [False, True])
def test_addopts_that_ask_for_xdist(cluster, project, with_xdist):
    """``-n auto`` in addopts: without xdist plain pytest stops with a usage error; Testring runs it."""
    ini = "[pytest]\naddopts = -n auto --dist loadgroup -q\n"
    group = "import pytest\n@pytest.mark.xdist_group('g')\ndef test_g(): pass\ndef test_other(): pass\n"
    tree = project({"pytest.ini": ini, **many(5, group)})
    result = cluster.run(tree, **({"requirements": ["pytest-xdist>=3.6"]} if with_xdist else {}))
    assert result.answer["state"] == "finished", result.notes
    assert result.counts == {"passed": 10}
    assert "-n" not in result.answer["projects"][0]["command"]


def test_an_option_reaches_every_worker(cluster, project):
    """An ini value given with ``-o``: a worker without it would fail."""
    conftest = """
def pytest_addoption(parser):
    parser.addini("needed", "must be given with -o")

def pytest_configure(config):
    if config.getini("needed") != "here":
        raise RuntimeError("this process did not get -o needed=here")
"""
    tree = project({"conftest.py": conftest, **many(6, "def test_one(): pass\n")})
    arguments = ["-o", "needed=here"]
    result = split(cluster, tree, pytest_args=arguments)
    assert_same(result, plain(cluster, tree, *arguments))
    assert result.counts == {"passed": 6}


def test_deselected_tests_are_not_in_the_plan(cluster, project):
    ini = '[pytest]\naddopts = -m "not slow"\nmarkers = slow\n'
    text = """
import pytest

@pytest.mark.parametrize("x", range(20))
@pytest.mark.slow
def test_slow(x): raise AssertionError("deselected")

def test_fast(): pass
def test_named(): pass
"""
    tree = project({"pytest.ini": ini, **many(5, text)})
    arguments = ["-k", "not (named or nothing)"]
    result = split(cluster, tree, pytest_args=arguments)
    assert_same(result, plain(cluster, tree, *arguments))
    assert result.answer["tests"]["total"] == 5


def test_a_module_skipped_at_collection_counts_once(cluster, project):
    skipped = "import pytest\npytest.skip('not here', allow_module_level=True)\ndef test_x(): pass\n"
    tree = project({**many(5, "def test_one(): pass\n"), "tests/test_skipped.py": skipped})
    result = split(cluster, tree)
    assert_same(result, plain(cluster, tree))
    assert result.counts == {"passed": 5, "skipped": 1}


def test_a_module_that_cannot_be_imported_is_one_error(cluster, project):
    tree = project({**many(5, "def test_one(): pass\n"), "tests/test_broken.py": "import no_such_module\n"})
    result = split(cluster, tree)
    assert_same(result, plain(cluster, tree))
    (error,) = result.tests("error")
    assert "no_such_module" in error["traceback"] + error["message"]


def test_a_random_order_plugin_has_one_seed_everywhere(cluster, project):
    """Items shuffled by a seed drawn once per process: ids and outcomes must not depend on it."""
    conftest = """
import random

def pytest_collection_modifyitems(items):
    random.Random(hash("seed")).shuffle(items)
"""
    text = """
import pytest

@pytest.mark.parametrize("word", {"alpha", "beta", "gamma", "delta"})
def test_word(word): assert word != "beta"
"""
    tree = project({"conftest.py": conftest, **many(6, text)})
    result = split(cluster, tree)
    assert_same(result, plain(cluster, tree))
    assert result.counts == {"passed": 18, "failed": 6}


def test_pytest_randomly_with_a_seed(cluster, project):
    tree = project(many(6, "import random\nVALUE = random.random()\ndef test_one(): assert 0 <= VALUE < 1\n"))
    result = cluster.run(tree, requirements=["pytest-randomly"], pytest_args=["-p", "randomly"], slots=3)
    assert result.answer["state"] == "finished", result.notes
    assert result.counts == {"passed": 6}


def test_subtests_are_part_of_their_test(cluster, project):
    text = """
import unittest

class T(unittest.TestCase):
    def test_subtests(self):
        for n in range(3):
            with self.subTest(n=n):
                self.assertNotEqual(n, {n})

    def test_plain(self): pass
"""
    tree = project(many(5, text))
    result = split(cluster, tree)
    assert_same(result, plain(cluster, tree))
    assert result.counts == {"passed": 7, "failed": 3}


def test_every_kind_of_outcome(cluster, project):
    text = """
import pytest

@pytest.fixture
def broken(): raise RuntimeError("setup")

@pytest.fixture
def leaky():
    yield
    raise RuntimeError("teardown")

def test_pass(): pass
def test_fail(): assert 0
def test_setup_error(broken): pass
def test_teardown_error(leaky): pass
def test_both(leaky): assert 0
def test_skip(): pytest.skip("no")
@pytest.mark.xfail
def test_xfail(): assert 0
@pytest.mark.xfail
def test_xpass(): pass
@pytest.mark.xfail(strict=True)
def test_strict(): pass
"""
    tree = project(many(4, text))
    assert_same(split(cluster, tree), plain(cluster, tree))


def test_a_suite_that_writes_into_its_tree(cluster, project):
    """Each slot has a copy of its own: modules that write one file do not meet."""
    text = """
from pathlib import Path

def test_write():
    path = Path("state.txt")
    old = path.read_text() if path.exists() else ""
    path.write_text(old + "{n}")
    assert path.read_text().endswith("{n}")
"""
    tree = project(many(8, text))
    assert_same(split(cluster, tree), plain(cluster, tree))
    assert not (tree / "state.txt").exists()


def test_ids_that_hold_the_trees_path(cluster, project):
    """Every session has its own copy of the tree, and must speak of the same tests nevertheless."""
    text = """
import pathlib, pytest

HERE = pathlib.Path(__file__).parent

@pytest.mark.parametrize("path", [str(HERE / "data"), HERE.as_uri()])
def test_path(path):
    assert {n} != 1

@pytest.mark.parametrize("text", ["x" * n + str(HERE) for n in range(0, 100)])
def test_long(text):
    pass
"""
    tree = project(many(3, text))
    result = split(cluster, tree)
    assert_same(result, plain(cluster, tree))
    assert result.counts == {"passed": 304, "failed": 2}
    assert result.outcomes["tests/test_m1.py::test_path[file://<root>/tests]", 0] == "failed"
    assert "differ" not in result.notes


def test_one_module_name_in_two_folders(cluster, project):
    """In one process the second cannot be imported; alone each can, and that is not pytest's answer."""
    tree = project(
        {f"tests/{name}/test_same.py": f"def test_{name}(): pass\n" for name in "abc"}
        | many(3, "def test_it(): pass\n")
    )
    result = split(cluster, tree)
    assert_same(result, plain(cluster, tree))
    assert result.counts == {"passed": 4, "error": 2}


def test_a_hook_that_chooses_among_all_tests(cluster, project):
    """With one test in focus nothing else is run; a module collected alone knows nothing of it."""
    tree = project(
        {
            "conftest.py": """
def pytest_collection_modifyitems(config, items):
    chosen = [item for item in items if "focus" in item.name]
    if chosen:
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
""",
            **many(4, "def test_it(): pass\n"),
            "tests/test_z.py": "def test_focus(): pass\ndef test_other(): assert 0\n",
        }
    )
    for _ in range(2):  # the second time it is known that the modules depend on each other
        result = cluster.run(tree, collection="lazy")
        assert_same(result, plain(cluster, tree))
        assert result.counts == {"passed": 1}


def test_a_fixed_port_for_the_whole_session(cluster, project):
    """Slots on one machine meet there; who finds it taken is confirmed alone."""
    text = """
def test_port(listener):
    assert listener.getsockname()[1] == 18499
"""
    tree = project(
        {
            "conftest.py": """
import pytest, socket

@pytest.fixture(scope="session")
def listener():
    with socket.create_server(("127.0.0.1", 18499)) as made:
        yield made
""",
            **many(6, text),
        }
    )
    result = split(cluster, tree)
    assert_same(result, plain(cluster, tree))
    assert result.counts == {"passed": 6}


def test_a_module_that_is_cut_depends_on_its_order(cluster, project):
    """Its tail runs elsewhere, where the first test never ran: confirmed with those before it."""
    tree = project(
        {
            "tests/test_long.py": """
import threading, pytest

seen = []

def test_first(): seen.append(1)

@pytest.mark.parametrize("number", range(40))
def test_slow(number): threading.Event().wait(0.15)

def test_last(): assert seen
""",
            **many(2, "def test_it(): pass\n"),
        }
    )
    result = split(cluster, tree)
    assert_same(result, plain(cluster, tree))
    assert result.counts == {"passed": 44}
    (last,) = [test for test in result.tests("passed") if test["nodeid"].endswith("test_last")]
    assert last["split_sensitive"], "it was seen to fail where the module had been cut"
