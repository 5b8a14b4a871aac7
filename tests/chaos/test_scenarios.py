"""Single stories with real processes, each told once: what the agent's random strikes may not meet."""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.chaos import suite
from tests.chaos.checks import Tally
from tests.chaos.http import Http, Refused
from tests.chaos.network import Loopback, Namespaces, Network, NetworkError
from tests.chaos.nodes import DRAIN_SECONDS, Fleet, Node
from tests.support.waiting import until

pytestmark = pytest.mark.chaos

SEED = 1
SECONDS = 60.0


class Stage:
    """A fleet and one client; ``close`` fails if a node ended by itself."""

    def __init__(self, workers: int, network: Network) -> None:
        self.fleet = Fleet(network, workers=workers)
        self.fleet.start()
        self.http = Http(self.fleet.url, Counter())
        self.submitted = itertools.count(1)

    def health(self) -> dict:
        """``/health``, or nothing while nobody answers."""
        try:
            return dict(self.http.once("/health"))
        except Refused:
            return {}

    def settled(self, voters: int) -> None:
        """Until so many nodes hold the log and every node that runs is listed."""
        up = {node.address for node in self.fleet.nodes if node.state == "up"}

        def all_there() -> bool:
            try:
                listed = set(self.http.once("/network"))
            except Refused:
                return False
            return len(self.health().get("voters", ())) == voters and listed == up

        until(all_there, SECONDS, f"{voters} voters, and {sorted(up)} in /network")

    def master(self) -> Node:
        """The node that is master now."""
        address = until(lambda: self.health().get("master"), SECONDS, "a master")
        return next(node for node in self.fleet.nodes if node.address == address)

    def backups(self) -> list[Node]:
        """The other voters."""
        health = self.health()
        return [
            node
            for node in self.fleet.nodes
            if node.address in health["voters"] and node.address != health["master"]
        ]

    def submit(self) -> int:
        """Submit the suite and wait until some of it was executed."""
        number = next(self.submitted)
        evaluation = self.http.submit(suite.archive(SEED, number), f"story-{number}", {})
        self.executed(evaluation, 50)
        return evaluation

    def executed(self, evaluation: int, least: int) -> None:
        """Until so many verdicts are there."""

        def enough() -> bool:
            return self.http.get(f"/evaluation/{evaluation}")["tests"]["executed"] >= least

        until(enough, SECONDS, f"{least} verdicts")

    def restart(self, *nodes: Node) -> None:
        """Start them in this order and wait until all listen."""
        for node in nodes:
            self.fleet.start_node(node)
        for node in nodes:
            until(lambda node=node: self.fleet.ready(node), SECONDS, f"{node.name} listening")

    def right(self, evaluation: int) -> None:
        """The evaluation ends with the one right report."""
        path = f"/evaluation/{evaluation}"
        until(lambda: self.http.get(path)["state"] in ("finished", "failed"), SECONDS, f"{path} over")
        tally = Tally()
        lines = self.http.lines(f"{path}/report.jsonl")
        tally.add(evaluation, suite.expected(SEED), self.http.get(path), lines)
        assert tally.findings == []

    def close(self) -> None:
        """Stop everything."""
        died = self.fleet.died()
        self.http.close()
        stubborn = self.fleet.close(keep=False)
        assert died == []
        assert stubborn == []


@pytest.fixture
def stages() -> Iterator[Callable[..., Stage]]:
    started: list[Stage] = []

    def start(workers: int, network: Network | None = None) -> Stage:
        started.append(Stage(workers, network or Loopback(workers + 1)))
        return started[-1]

    yield start
    for stage in started:
        stage.close()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)], ids=str)
def test_a_cluster_that_was_killed_whole_goes_on_from_its_disks(stages, order):
    stage = stages(3)
    stage.settled(3)
    evaluation = stage.submit()
    for node in stage.fleet.nodes:
        stage.fleet.kill(node)
    stage.restart(*(stage.fleet.nodes[number] for number in order))
    stage.right(evaluation)
    stage.right(stage.submit())


def test_two_takeovers_in_a_row(stages):
    stage = stages(4)
    stage.settled(3)
    evaluation = stage.submit()
    for _ in range(2):
        before = stage.master()
        stage.fleet.kill(before)
        until(lambda before=before: stage.master() is not before, SECONDS, "another master")
        # A worker takes the dead one's seat: until then a second death would be one too many.
        stage.settled(3)
    stage.right(evaluation)


def test_the_heir_dies_before_it_reigns(stages):
    stage = stages(4)
    stage.settled(3)
    evaluation = stage.submit()
    heir = stage.backups()[0]
    master = stage.master()
    stage.fleet.kill(master)
    stage.fleet.kill(heir)
    stage.restart(heir)
    stage.right(evaluation)


def test_the_backup_of_two_takes_over_and_the_master_comes_back(stages):
    stage = stages(1)
    stage.settled(2)
    evaluation = stage.submit()
    first = stage.master()
    stage.fleet.kill(first)
    until(lambda: stage.master() is not first, SECONDS, "another master")
    assert stage.health()["durability"] == "local"
    stage.restart(first)
    stage.settled(2)
    stage.right(evaluation)


def test_the_master_of_two_goes_on_without_its_backup(stages):
    stage = stages(1)
    stage.settled(2)
    (backup,) = stage.backups()
    stage.fleet.kill(backup)
    until(lambda: stage.health().get("durability") == "local", SECONDS, "the master alone")
    stage.restart(backup)
    stage.settled(2)
    stage.right(stage.submit())


def test_two_nodes_that_do_not_hear_each_other_have_one_master(stages):
    try:
        network = Namespaces(2)
    except NetworkError as error:
        pytest.skip(str(error))
    stage = stages(1, network)
    stage.settled(2)
    evaluation = stage.submit()
    master = stage.master()
    (backup,) = stage.backups()
    stage.fleet.cut(backup)
    until(lambda: stage.health().get("durability") == "local", SECONDS, "the master alone")
    assert stage.master() is master
    stage.fleet.heal(backup)
    stage.settled(2)
    stage.right(evaluation)


def test_a_backup_that_was_paused_while_the_master_was_killed_loses_nothing(stages):
    stage = stages(3)
    stage.settled(3)
    evaluation = stage.submit()
    paused = stage.backups()[0]
    master = stage.master()
    stage.fleet.stop(paused)
    stage.executed(evaluation, 150)
    stage.fleet.kill(master)
    stage.fleet.resume(paused)
    stage.right(evaluation)


@pytest.mark.parametrize("who", ["master", "backup", "other"])
def test_a_node_that_is_asked_to_leave_hands_over(stages, who):
    stage = stages(4)
    stage.settled(3)
    evaluation = stage.submit()
    master, backups = stage.master(), stage.backups()
    other = next(node for node in stage.fleet.nodes if node not in (master, *backups))
    node = {"master": master, "backup": backups[0], "other": other}[who]
    assert node.child is not None
    node.child.send(signal.SIGTERM)
    assert node.child.wait(30.0), "it leaves by itself"
    assert node.child.process.returncode == 0
    node.state = "killed"
    stage.settled(3)
    stage.right(evaluation)
    health = stage.health()
    assert node.address not in health["voters"]


def test_a_cluster_that_is_asked_to_stop_does_so_as_a_whole(stages):
    """Nobody waits for voters to be replaced by nodes that leave as well; its disks resume the run."""
    stage = stages(4)
    stage.settled(3)
    evaluation = stage.submit()
    stage.executed(evaluation, 50)
    began = time.monotonic()
    for node in stage.fleet.nodes:
        assert node.child is not None
        node.child.send(signal.SIGTERM)
    for node in stage.fleet.nodes:
        assert node.child is not None
        assert node.child.wait(30.0), f"{node.name} leaves by itself"
        assert node.child.process.returncode == 0
        node.state = "killed"
    seconds = time.monotonic() - began
    assert seconds < DRAIN_SECONDS, "waiting for each other would take the drain's limit at least"
    stage.restart(*reversed(stage.fleet.nodes))
    stage.right(evaluation)
