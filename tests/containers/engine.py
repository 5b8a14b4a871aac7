"""The engine's command line, and one Testring installation in containers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import requests

from cli.client import Client
from cli.errors import CommandError
from cli.progress import FINAL_STATES
from tests.support.cluster import Result
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PROJECT = "testring-test"
COMMAND_SECONDS = 300.0


@cache
def missing() -> str:
    """Why there is no engine to test with, or nothing."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    done = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"docker does not answer: {done.stderr.strip()[-200:]}"


def docker(*arguments: str, check: bool = True) -> str:
    """Output of ``docker ARGUMENTS``.

    Raises:
        AssertionError: it failed; with what it said.
    """
    return run(["docker", *arguments], check=check)


def run(command: list[str], *, check: bool = True, environ: dict[str, str] | None = None) -> str:
    """Output of a command run in the repository's root."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=COMMAND_SECONDS,
        check=False,
    )
    said = f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0 or not check, said
    return done.stdout.strip()


class Stack:
    """``docker-compose.yml`` with the tests' overlay, under a project name and a port of its own."""

    def __init__(self, scratch: Path) -> None:
        self.port = free_port()
        self.environ = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE_FILE": "docker-compose.yml:tests/containers/overlay.yml",
            "TESTRING_PUBLISH": f"127.0.0.1:{self.port}",
            "TESTRING_TEST_SCRATCH": str(scratch),
        }
        self.client = Client(f"http://localhost:{self.port}", patience=60.0)

    # --- containers -------------------------------------------------------------------------

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Output of compose, whichever of the two there is."""
        return run([*_compose(), "--ansi", "never", *arguments], check=check, environ=self.environ)

    def script(self, *arguments: str) -> str:
        """Output of ``./start_containers.sh ARGUMENTS`` for this installation."""
        return run(["./start_containers.sh", *arguments], environ=self.environ)

    def containers(self, service: str, *, running: bool = True) -> list[str]:
        """Names of a service's containers, in order of their numbers."""
        filters = [
            f"label=com.docker.compose.project={PROJECT}",
            f"label=com.docker.compose.service={service}",
        ]
        chosen = [word for entry in filters for word in ("--filter", entry)]
        shown = docker("ps", *([] if running else ["--all"]), *chosen, "--format", "{{.Names}}")
        return sorted(shown.split())

    def container(self, service: str) -> str:
        """The name of the only, or the first, container of a service."""
        return self.containers(service)[0]

    def address(self, container: str) -> str:
        """A node's address on the nodes' network, as ``/network`` names it."""
        networks = inspect(container)["NetworkSettings"]["Networks"]
        return f"{networks[f'{PROJECT}_nodes']['IPAddress']}:7000"

    def scale(self, workers: int) -> None:
        """So many workers."""
        self.compose("up", "--detach", "--no-recreate", "--scale", f"worker={workers}")

    # --- the service ------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """``/health``, or nothing while it is not well."""
        try:
            answer = requests.get(f"{self.client.url}/health", timeout=5)
        except requests.RequestException:
            return {}
        return dict(answer.json()) if answer.status_code == 200 else {}

    def network(self) -> dict[str, list[str]]:
        """``/network``, or nothing while no master answers."""
        try:
            answer = requests.get(f"{self.client.url}/network", timeout=5)
        except requests.RequestException:
            return {}
        return dict(answer.json()) if answer.status_code == 200 else {}

    def wait_nodes(self, count: int, seconds: float = 60.0) -> None:
        """Until exactly so many nodes are in the cluster."""
        until(lambda: len(self.network()) == count, seconds, f"{count} nodes in /network")

    def submit(self, archive: Path, **options: Any) -> int:
        """Upload a zip; the evaluation's id."""
        return int(self.client.submit_archive(archive, options)["id"])

    def evaluation(self, evaluation: int) -> dict[str, Any]:
        """``GET /evaluation/<id>``, or nothing while it cannot be had."""
        try:
            return self.client.evaluation(evaluation)
        except CommandError:
            return {}

    def executed(self, evaluation: int) -> int:
        """Tests with a verdict so far."""
        return int(self.evaluation(evaluation).get("tests", {}).get("executed", 0))

    def wait(self, evaluation: int, seconds: float = 120.0) -> Result:
        """The result, once the evaluation has ended."""

        def ended() -> dict[str, Any] | None:
            answer = self.evaluation(evaluation)
            return answer if answer.get("state") in FINAL_STATES else None

        answer = until(ended, seconds, f"evaluation {evaluation} over")
        return Result(self.client, answer, list(self.client.verdicts(evaluation)))

    def down(self, *, volumes: bool = False) -> None:
        """Stop and remove everything."""
        self.compose("down", "--remove-orphans", *(["--volumes"] if volumes else []))


def inspect(container: str) -> dict[str, Any]:
    """What the engine knows of a container."""
    (found,) = json.loads(docker("inspect", container))
    return dict(found)


def execute(container: str, *command: str) -> str:
    """Output of a command run inside a container."""
    return docker("exec", container, *command)


@cache
def _compose() -> tuple[str, ...]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ("docker", "compose") if plugin.returncode == 0 else ("docker-compose",)


def free_port() -> int:
    """8080, as in the README, or a free one if another service has it."""
    for wanted in (8080, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("no free port")
