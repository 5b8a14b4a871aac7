"""A warden for all runner tests, and environments with other pytests, made by uv."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.runner.children import Warden
from tests.runner.harness import Runners
from tests.support import tools

PYTESTS = {
    "7.4": ["pytest==7.4.4", "pytest-subtests==0.13.1"],
    "8": ["pytest==8.4.2", "pytest-subtests==0.14.2"],
    "9": ["pytest>=9.2,<10"],
    "plugins": [
        "pytest>=9.2,<10",
        "pytest-xdist",
        "pytest-rerunfailures",
        "flaky",
        "pytest-cov",
        "pytest-asyncio",
    ],
}


@pytest.fixture(scope="session")
def warden() -> Iterator[Warden]:
    warden = Warden.start()
    warden.attach()
    yield warden
    warden.stop()


@pytest.fixture
def runners(warden: Warden, tmp_path: Path) -> Iterator[Runners]:
    runners = Runners(warden, tmp_path / "homes")
    yield runners
    runners.supervisor.close()
    assert not runners.supervisor.sessions


@pytest.fixture(scope="session")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Interpreter of an environment for each line of ``PYTESTS``."""
    root = tmp_path_factory.mktemp("environments")
    found = {}
    uv = tools.uv()
    for name, requirements in PYTESTS.items():
        python = root / name / "bin" / "python"
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(root / name)], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(python), *requirements], check=True)
        found[name] = python
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    return folder
