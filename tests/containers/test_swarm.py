"""The stack on Swarm: three workers, and their replacement one by one during a run."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.client import Client
from cli.errors import CommandError
from tests.containers import suites
from tests.containers.engine import COMMAND_SECONDS, ROOT, docker, free_port, run
from tests.containers.table import within
from tests.containers.test_faults import whole
from tests.support.cluster import Result
from tests.support.waiting import until

STACK = "testring-swarm-test"
WORKER = f"{STACK}_worker"
SECRETS = ROOT / "compose" / "secrets"


def secret(name: str, content: str) -> str:
    """The content of a secret's file, made if it is not there."""
    path = SECRETS / name
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(content, encoding="utf-8")
    return path.read_text(encoding="utf-8").split()[0]


@pytest.fixture(scope="module")
def swarm(built: None) -> Iterator[Client]:
    """A swarm of this engine alone, and a client of the stack's service; both gone in the end."""
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}") != "inactive":
        pytest.skip("this engine is part of a swarm already")
    secret("cluster", secrets.token_hex(32))
    token = secret("api_tokens", f"{secrets.token_hex(16)}:submit\n").rpartition(":")[0]
    docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    client = Client(f"http://localhost:{free_port()}", token, patience=60.0)
    try:
        docker("node", "update", "--label-add", "testring=front", docker("node", "ls", "--quiet"))
        yield client
    finally:
        client.close()
        docker("stack", "rm", STACK, check=False)
        until(lambda: not left("ps"), COMMAND_SECONDS, "no container of the stack left")
        docker("swarm", "leave", "--force")
        # The tasks' history: containers that ended and were kept.
        for container in left("ps", "--all"):
            docker("rm", "--force", container)
        for volume in left("volume", "ls"):
            docker("volume", "rm", volume)


def left(*listing: str) -> list[str]:
    """What is still there of the stack."""
    label = f"label=com.docker.stack.namespace={STACK}"
    return docker(*listing, "--quiet", "--filter", label).split()


def nodes(client: Client) -> int:
    """Nodes in the cluster; 0 while nobody answers."""
    try:
        return len(client.get("/network"))
    except CommandError:
        return 0


def wait(client: Client, evaluation: int, seconds: float) -> Result:
    """The result, once the evaluation has ended."""

    def over() -> bool:
        return client.evaluation(evaluation)["state"] in ("finished", "failed", "cancelled")

    until(over, seconds, f"evaluation {evaluation} over")
    return Result(client, client.evaluation(evaluation), list(client.verdicts(evaluation)))


@within(120, "Swarm: the stack is up with 3 workers")
def test_deploy(swarm: Client) -> str:
    started = time.monotonic()
    environ = {**os.environ, "TESTRING_PORT": swarm.url.rpartition(":")[2], "TESTRING_WORKERS": "3"}
    run(["docker", "stack", "deploy", "-c", "compose/stack.yml", STACK], environ=environ)
    until(lambda: nodes(swarm) == 4, 110, "4 nodes in /network")
    return f"4 nodes after {time.monotonic() - started:.0f} s"


@within(150, "Swarm: service update --force of the workers in a run")
def test_update(swarm: Client, tmp_path: Path) -> str:
    archive, outcomes = suites.slow(tmp_path, seconds=0.6)
    evaluation = int(swarm.submit_archive(archive, {"collection": "lazy"})["id"])
    until(lambda: swarm.evaluation(evaluation)["tests"]["executed"] >= 3, 60, "some verdicts")
    before = set(tasks())
    started = time.monotonic()
    docker("service", "update", "--force", "--detach", WORKER)
    said = whole(wait(swarm, evaluation, 120), outcomes)
    until(lambda: len(tasks()) == 3 and not before & set(tasks()), 100, "all workers replaced")
    seconds = time.monotonic() - started
    until(lambda: nodes(swarm) == 4, 60, "4 nodes in /network")
    return f"3 tasks replaced in {seconds:.0f} s; {said}"


def tasks() -> list[str]:
    """Ids of the workers' running tasks."""
    shown = docker("service", "ps", "--filter", "desired-state=running", "--format", "{{json .}}", WORKER)
    rows = [json.loads(line) for line in shown.splitlines()]
    return [row["ID"] for row in rows if row["CurrentState"].startswith("Running")]
