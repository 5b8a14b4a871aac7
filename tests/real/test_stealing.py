"""One module that takes long, on several workers: who runs what, and the same outcome as plain pytest."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from tests.real.test_traps import assert_same, plain
from tests.support.cluster import Cluster, Result

pytestmark = pytest.mark.process

COUNT = 60
SLOW = f"""
import pytest, threading

@pytest.mark.parametrize("n", range({COUNT}))
def test_slow(n):
    threading.Event().wait(0.1)
    assert n != 40
"""
DEAR = """
import pytest, threading

@pytest.fixture(scope="module", autouse=True)
def dear(): threading.Event().wait(4.0)
"""
GROUPED = """
import pytest, threading

@pytest.mark.parametrize("n", range(30))
@pytest.mark.xdist_group("g")
def test_grouped(n): threading.Event().wait(0.05)
"""


def shares(result: Result) -> dict[str, list[int]]:
    """Worker -> numbers of the slow tests it ran, in pytest's order."""
    found: dict[str, list[int]] = defaultdict(list)
    for line in result.lines:
        if "::test_slow[" in line["nodeid"]:
            found[line["worker"]].append(int(line["nodeid"].partition("[")[2].rstrip("]")))
    return found


def run(cluster: Cluster, tree: Path, **options: object) -> Result:
    result = cluster.run(tree, collection="lazy", **options)
    assert_same(result, plain(cluster, tree))
    return result


def test_a_long_module_is_shared(cluster: Cluster, project) -> None:
    result = run(cluster, project({"tests/test_long.py": SLOW}))
    took = shares(result)
    assert len(took) > 1
    assert max(map(len, took.values())) <= 0.8 * COUNT
    again = [test for test in result.tests("passed") if len(test["attempts"]) > 1]
    assert again == [], "nothing that passed ran twice"


def test_in_order_leaves_it_where_it_is(cluster: Cluster, project) -> None:
    result = run(cluster, project({"tests/test_long.py": SLOW}), strategy="in-order")
    # The failure is confirmed elsewhere.
    assert sorted(len(numbers) for numbers in shares(result).values())[-1] >= COUNT - 1


def test_a_module_with_a_dear_fixture_stays_whole(cluster: Cluster, project) -> None:
    result = run(
        cluster, project({"tests/test_long.py": SLOW + DEAR.replace("import pytest, threading", "")})
    )
    assert sorted(len(numbers) for numbers in shares(result).values())[-1] >= COUNT - 1


def test_a_group_stays_on_one_worker(cluster: Cluster, project) -> None:
    ini = "[pytest]\nmarkers = xdist_group\n"
    files = {
        "pytest.ini": ini,
        "tests/test_a.py": GROUPED,
        "tests/test_b.py": GROUPED,
        "tests/test_c.py": SLOW,
    }
    result = run(cluster, project(files))
    assert len({line["worker"] for line in result.lines if "::test_grouped[" in line["nodeid"]}) == 1
