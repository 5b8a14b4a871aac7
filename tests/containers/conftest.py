"""One installation for all steps, brought back to health before each; the table at the end."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import engine, table
from tests.containers.engine import Stack, inspect

LOG_LINES = "40"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.containers)


@pytest.fixture(scope="session")
def built() -> None:
    """An engine answers; without one there is nothing to test."""
    if engine.missing():
        pytest.skip(engine.missing())


@pytest.fixture(scope="session")
def stack(built: None) -> Iterator[Stack]:
    """Nothing runs yet; at the end everything is removed, whatever happened."""
    # Bind mounts are read by users of their own in the containers.
    scratch = Path(tempfile.mkdtemp(prefix="tr-containers-"))
    scratch.chmod(0o755)
    certificate(scratch)
    made = Stack(scratch)
    yield made
    made.down(volumes=True)
    made.client.close()
    subprocess.run(["rm", "-rf", str(scratch)], check=True)


@pytest.fixture
def three(stack: Stack) -> Stack:
    """A master and three workers, all well, whatever the step before left."""
    for service in ("master", "worker", "api"):
        for container in stack.containers(service, running=False):
            state = inspect(container)
            if state["State"]["Paused"]:
                engine.docker("unpause", container)
            network = f"{engine.PROJECT}_{'front' if service == 'api' else 'nodes'}"
            if network not in state["NetworkSettings"]["Networks"]:
                engine.docker("network", "connect", "--alias", service, network, container)
    if not stack.containers("git"):
        stack.script("--workers", "3")
    stack.scale(3)
    stack.wait_nodes(4)
    return stack


def certificate(scratch: Path) -> None:
    """A certificate for the git server, which is its own authority."""
    (scratch / "ca").mkdir()
    key, ca = scratch / "key.pem", scratch / "ca" / "ca.pem"
    engine.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=git"),
            *("-addext", "subjectAltName=DNS:git", "-keyout", str(key), "-out", str(ca)),
        ]
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack") or getattr(item, "funcargs", {}).get("three")
    if report.when == "call" and report.failed and stack is not None:
        report.sections.append(
            (
                "containers",
                stack.compose("ps", check=False) + "\n" + stack.compose("logs", "--tail", LOG_LINES),
            )
        )
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if table.ROWS:
        terminalreporter.section("containers")
        for line in table.lines():
            terminalreporter.write_line(line)
