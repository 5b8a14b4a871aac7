"""Nodes that come and go while a run is under way, and strangers at their doors: real processes."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from cli.children import Child
from cli.embedded import NODE_READY
from tests.support.cluster import Cluster
from tests.support.waiting import until

pytestmark = pytest.mark.process

MODULES = 40
SLOW = """
import threading

def test_first(): threading.Event().wait(0.3)
def test_second(): threading.Event().wait(0.3)
"""


@pytest.fixture
def slow_suite(project) -> Path:
    """40 modules of 0.6 s: long enough for a node to build its environment and take part."""
    return project({f"tests/test_m{n:02}.py": SLOW for n in range(MODULES)})


def under_way(cluster: Cluster, evaluation: int) -> None:
    """Until some verdicts are there, and more are to come."""

    def begun() -> bool:
        tests = cluster.evaluation(evaluation)["tests"]
        return 2 <= tests["executed"] < 2 * MODULES - 6

    until(begun, 60.0, "the run under way")


def test_a_worker_added_in_the_middle_takes_part(clusters, slow_suite):
    cluster = clusters(1)
    evaluation = cluster.submit(slow_suite, collection="lazy")
    under_way(cluster, evaluation)
    added = cluster.add_worker()
    result = cluster.wait(evaluation)
    assert result.counts == {"passed": 2 * MODULES}
    assert cluster.address(added) in result.workers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_leaves_in_the_middle_loses_nothing(clusters, slow_suite, number):
    cluster = clusters(2)
    evaluation = cluster.submit(slow_suite, collection="lazy")
    under_way(cluster, evaluation)
    leaver = cluster.embedded.child("worker 2")
    code = cluster.stop(leaver, number)
    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    result = cluster.wait(evaluation)
    assert result.counts == {"passed": 2 * MODULES}
    cluster.wait_listed(cluster.address(leaver), listed=False)
    if number == signal.SIGTERM:
        twice = [test["nodeid"] for test in result.tests("passed") if len(test["attempts"]) > 1]
        assert twice == [], "what was started was finished, what was not was handed back"


def test_a_drained_worker_hands_back_and_leaves(clusters, slow_suite):
    cluster = clusters(2)
    evaluation = cluster.submit(slow_suite, collection="lazy")
    under_way(cluster, evaluation)
    leaver = cluster.embedded.child("worker 1")
    cluster.client.drain(cluster.address(leaver))
    assert leaver.wait(30.0), "it ends by itself"
    assert leaver.process.returncode == 0
    cluster.embedded.forget(leaver)
    result = cluster.wait(evaluation)
    assert result.counts == {"passed": 2 * MODULES}


def test_every_node_is_in_network_and_stats(cluster, project):
    cluster.run(project({f"test_{n}.py": "def test_a(): pass\n" for n in range(6)}))
    network, stats = cluster.client.get("/network"), cluster.client.get("/stats")
    addresses = set(cluster.embedded.addresses.values())
    assert set(network) == addresses
    assert all(set(neighbours) < addresses for neighbours in network.values())
    assert network[cluster.embedded.master_address], "the master is connected to its workers"
    assert set(stats) == {"all", "nodes"}
    assert set(stats["all"]) == {"failed", "passed", "projects", "evaluations"}
    assert {node["address"] for node in stats["nodes"]} == addresses
    keys = {"address", "failed", "passed", "projects", "modules", "evaluations"}
    assert all(set(node) == keys for node in stats["nodes"])
    assert sum(node["passed"] for node in stats["nodes"]) == stats["all"]["passed"] >= 6


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(range(256)) * 64])
def test_a_stranger_at_the_port_harms_nobody(cluster, project, words):
    host, _, port = cluster.embedded.master_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10.0) as sock:
        sock.sendall(words)
        try:
            while sock.recv(65_536):
                continue
        except ConnectionResetError:
            pass  # closed with our words unread: also an end
    result = cluster.run(project({"test_a.py": "def test_a(): pass\n"}))
    assert result.counts == {"passed": 1}


def test_a_second_master_on_one_address_is_refused(cluster, tmp_path):
    arguments = [
        "--master",
        "--listen",
        cluster.embedded.master_address,
        "--run-dir",
        str(cluster.top / "r2"),
    ]
    places = ["--data", str(tmp_path / "d"), "--socket-dir", str(tmp_path / "s")]
    second = Child("second", "node", [*arguments, *places], ready=NODE_READY)
    assert second.wait(30.0)
    assert second.process.returncode == 2
    assert second.last_words().startswith("testring node:")
    assert cluster.embedded.master_address in second.last_words()
