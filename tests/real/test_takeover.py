"""The master dies and the run goes on: real processes, killed without warning."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from cli.errors import CommandError
from tests.support.cluster import Cluster
from tests.support.waiting import until

pytestmark = pytest.mark.process

MODULES = 30
SLOW = """
import threading

def test_first(): threading.Event().wait(0.2)
def test_second(): threading.Event().wait(0.2)
def test_third(): assert False, "as it should"
"""
EXPECTED = {"passed": 2 * MODULES, "failed": MODULES}


@pytest.fixture
def slow_suite(project) -> Path:
    """30 modules of 0.4 s and more: long enough for several nodes to die in the middle."""
    return project({f"tests/test_m{n:02}.py": SLOW for n in range(MODULES)})


def voters(cluster: Cluster, count: int) -> None:
    """Until so many nodes hold the log."""

    def held() -> bool:
        health = cluster.client.get("/health")
        return len(health["voters"]) == count and health["durability"] == "replicated"

    until(held, 30.0, f"{count} voters")


def under_way(cluster: Cluster, evaluation: int, more: int = 2) -> int:
    """Until some (more) verdicts are there; how many."""

    def executed() -> int:
        count = cluster.evaluation(evaluation)["tests"]["executed"]
        return count if count >= more else 0

    return until(executed, 90.0, "the run under way")


def kill_master(cluster: Cluster) -> None:
    """Kill whoever is master now."""
    address = cluster.client.get("/health")["master"]
    (name,) = [name for name, at in cluster.embedded.addresses.items() if at == address]
    cluster.stop(cluster.embedded.child(name), signal.SIGKILL)


def alone(cluster: Cluster) -> bool:
    """Whether a node that is the only one left has taken over."""
    try:
        health = cluster.client.get("/health")
    except CommandError:
        return False  # nobody is master yet
    return health["durability"] == "local" and health["nodes"] == 1


def twice(cluster: Cluster, evaluation: int) -> list[str]:
    """Tests that began more often than their outcome needs (a failure under a split is confirmed)."""
    rows = [*cluster.client.tests(evaluation, "passed"), *cluster.client.tests(evaluation, "failed")]
    return [row["nodeid"] for row in rows if len(row["attempts"]) > 1 + (row["outcome"] == "failed")]


def test_a_backup_takes_over_and_nothing_runs_again(clusters, slow_suite):
    cluster = clusters(3)
    voters(cluster, 3)
    evaluation = cluster.submit(slow_suite, collection="lazy")
    under_way(cluster, evaluation)
    before = cluster.client.get("/health")
    kill_master(cluster)
    result = cluster.wait(evaluation)
    assert result.counts == EXPECTED
    # The founder ran no tests: whatever was under way went on where it was.
    assert twice(cluster, evaluation) == []
    after = cluster.client.get("/health")
    assert after["epoch"] > before["epoch"]
    assert after["master"] != before["master"]
    voters(cluster, 3)


def test_two_masters_in_a_row(clusters, slow_suite):
    cluster = clusters(4)
    voters(cluster, 3)
    evaluation = cluster.submit(slow_suite, collection="lazy")
    done = under_way(cluster, evaluation)
    kill_master(cluster)
    voters(cluster, 3)
    under_way(cluster, evaluation, done + 5)
    kill_master(cluster)
    assert cluster.wait(evaluation).counts == EXPECTED
    # The same key is the same submission, whoever is master.
    assert cluster.evaluation(evaluation)["id"] == evaluation


def test_a_whole_cluster_killed_resumes_from_its_disks(clusters, slow_suite):
    cluster = clusters(2)
    voters(cluster, 3)
    evaluation = cluster.submit(slow_suite, collection="lazy")
    done = under_way(cluster, evaluation)
    cluster.restart()
    assert cluster.evaluation(evaluation)["tests"]["executed"] >= done
    assert cluster.wait(evaluation).counts == EXPECTED


def test_one_node_becomes_two_and_the_first_may_die(clusters, project):
    # With two nodes a backup may take over only while it has heard the master a moment ago: on a busy
    # machine that moment must not be too short.
    cluster = clusters(0, slots=1, environment={"TESTRING_PROFILE": "lan"})
    first = cluster.run(project({"test_a.py": "def test_a(): pass\n"}))
    assert cluster.client.get("/health")["durability"] == "local"
    cluster.add_worker()
    voters(cluster, 2)
    kill_master(cluster)

    until(lambda: alone(cluster), 30.0, "the second node alone")
    assert cluster.evaluation(first.answer["id"])["state"] == "finished"
    again = cluster.run(project({"test_b.py": "def test_b(): pass\n"}))
    assert again.counts == {"passed": 2}
    # It went on without the other's vote: two histories could have met, so ids do not continue.
    assert again.answer["id"] == 1_000_000


def test_a_new_backup_gets_a_copy_of_a_long_history(clusters, project):
    cluster = clusters(0, slots=1, environment={"TESTRING_PROFILE": "lan"})
    many = "import pytest\n@pytest.mark.parametrize('n', range(6000))\ndef test_many(n): pass\n"
    first = cluster.run(project({"test_many.py": many}))
    # The log does not reach back to its beginning any more: only a copy of the tables will do.
    added = cluster.add_worker()
    voters(cluster, 2)
    kill_master(cluster)
    until(lambda: alone(cluster), 30.0, "the second node alone")
    assert cluster.client.get("/health")["master"] == cluster.address(added)
    assert cluster.evaluation(first.answer["id"]) == first.answer
    assert cluster.client.get("/stats")["all"] == {
        "failed": 0,
        "passed": 6000,
        "projects": 1,
        "evaluations": 1,
    }
