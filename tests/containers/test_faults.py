"""Containers that come, go, die, freeze and lose their network while a run is under way."""

from __future__ import annotations

import time
from pathlib import Path

from tests.containers import suites
from tests.containers.engine import PROJECT, Stack, docker, execute, inspect
from tests.containers.table import within
from tests.support.cluster import Result
from tests.support.waiting import until

NETWORK = f"{PROJECT}_nodes"
BACK_SECONDS = 20.0
"""The service answers again so soon after the master is gone."""


def under_way(stack: Stack, folder: Path) -> tuple[int, suites.Outcomes]:
    """(id of an evaluation with some verdicts and more to come, what it must come to)."""
    archive, outcomes = suites.slow(folder)
    evaluation = stack.submit(archive, collection="lazy")
    until(lambda: stack.executed(evaluation) >= 3, 60, "some verdicts")
    return evaluation, outcomes


def whole(result: Result, outcomes: suites.Outcomes) -> str:
    """Every test has the verdict it must have, once."""
    assert result.answer["state"] == "finished", result.notes
    assert result.outcomes == outcomes
    assert result.answer["tests"]["total"] == len(outcomes)
    again = sum(len(line["attempts"]) > 1 for line in result.lines)
    return f"{len(outcomes)} verdicts as expected, {again} tests tried again"


def master_of(stack: Stack) -> str:
    """The node that the socket path leads to."""
    return execute(stack.container("api"), "readlink", "/run/testring/master.sock")


def container_of(stack: Stack, link: str) -> str:
    """The container whose node's socket this is."""
    node = link.removeprefix("node-").removesuffix(".sock")
    for service in ("master", "worker"):
        for container in stack.containers(service):
            if f"node {node} listening" in docker("logs", container):
                return container
    raise AssertionError(f"no container runs {node}")


def wait_other_master(stack: Stack, before: str) -> str:
    """Until another node has the socket path and the service answers; how long that took."""
    started = time.monotonic()
    until(lambda: master_of(stack) != before and stack.health(), BACK_SECONDS, "another master answers")
    return f"{time.monotonic() - started:.1f} s without a master"


def connect(container: str) -> None:
    """Back onto the nodes' network, under its service's name."""
    service = inspect(container)["Config"]["Labels"]["com.docker.compose.service"]
    docker("network", "connect", "--alias", service, NETWORK, container)


@within(90, "scale to 5 workers during a run and back to 2")
def test_scale(three: Stack, tmp_path: Path) -> str:
    evaluation, outcomes = under_way(three, tmp_path)
    three.scale(5)
    three.wait_nodes(6)
    three.scale(2)
    three.wait_nodes(3)
    return whole(three.wait(evaluation), outcomes)


@within(60, "docker stop of a worker during a run")
def test_stop_worker(three: Stack, tmp_path: Path) -> str:
    evaluation, outcomes = under_way(three, tmp_path)
    worker = three.containers("worker")[1]
    started = time.monotonic()
    docker("stop", worker)
    seconds = time.monotonic() - started
    assert inspect(worker)["State"]["ExitCode"] == 0
    grace = inspect(worker)["Config"]["StopTimeout"]
    assert seconds < grace, f"{seconds:.1f} s of {grace} s"
    return f"stopped in {seconds:.1f} s; {whole(three.wait(evaluation), outcomes)}"


@within(60, "docker kill of a worker during a run")
def test_kill_worker(three: Stack, tmp_path: Path) -> str:
    evaluation, outcomes = under_way(three, tmp_path)
    docker("kill", three.containers("worker")[0])
    return whole(three.wait(evaluation), outcomes)


@within(75, "docker pause of a worker during a run, unpause")
def test_pause_worker(three: Stack, tmp_path: Path) -> str:
    evaluation, outcomes = under_way(three, tmp_path)
    worker = three.containers("worker")[0]
    docker("pause", worker)
    three.wait_nodes(3)
    said = whole(three.wait(evaluation), outcomes)
    docker("unpause", worker)
    three.wait_nodes(4)
    return said


@within(75, "docker network disconnect of a worker, connect")
def test_disconnect_worker(three: Stack, tmp_path: Path) -> str:
    evaluation, outcomes = under_way(three, tmp_path)
    worker = three.containers("worker")[0]
    docker("network", "disconnect", NETWORK, worker)
    three.wait_nodes(3)
    said = whole(three.wait(evaluation), outcomes)
    connect(worker)
    three.wait_nodes(4)
    return said


@within(90, "docker kill of the master during a run")
def test_kill_master(three: Stack, tmp_path: Path) -> str:
    evaluation, outcomes = under_way(three, tmp_path)
    before = master_of(three)
    docker("kill", container_of(three, before))
    said = wait_other_master(three, before)
    return f"{said}; {whole(three.wait(evaluation), outcomes)}"


@within(100, "docker pause of the master during a run, unpause")
def test_pause_master(three: Stack, tmp_path: Path) -> str:
    evaluation, outcomes = under_way(three, tmp_path)
    before = master_of(three)
    container = container_of(three, before)
    docker("pause", container)
    said = wait_other_master(three, before)
    result = whole(three.wait(evaluation), outcomes)
    docker("unpause", container)
    three.wait_nodes(4)
    assert master_of(three) != before, "a returning master follows"
    return f"{said}; {result}"


@within(100, "docker network disconnect of the master, connect")
def test_disconnect_master(three: Stack, tmp_path: Path) -> str:
    evaluation, outcomes = under_way(three, tmp_path)
    before = master_of(three)
    container = container_of(three, before)
    docker("network", "disconnect", NETWORK, container)
    said = wait_other_master(three, before)
    result = whole(three.wait(evaluation), outcomes)
    connect(container)
    three.wait_nodes(4)
    return f"{said}; {result}"


@within(120, "down, up with fewer: evaluations are still there")
def test_down_and_up(three: Stack) -> str:
    before = three.client.get("/evaluation")["evaluations"]
    assert before
    last = before[0]["id"]
    verdicts = list(three.client.verdicts(last))
    started = time.monotonic()
    three.down()
    seconds = time.monotonic() - started
    # The two that come back must be the two that held the log last, whichever containers those were.
    three.script("--workers", "1", "--no-build")
    assert three.client.get("/evaluation")["evaluations"] == before
    assert list(three.client.verdicts(last)) == verdicts
    return f"{len(before)} evaluations; down took {seconds:.1f} s"


@within(60, "stop of everything is clean")
def test_clean_end(three: Stack) -> str:
    containers = [name for service in ("api", "worker", "master") for name in three.containers(service)]
    three.compose("stop")
    codes = {name: inspect(name)["State"]["ExitCode"] for name in containers}
    assert set(codes.values()) == {0}, codes
    three.down(volumes=True)
    return f"{len(codes)} containers, exit code 0"
