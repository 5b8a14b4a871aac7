from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.environment.environments import Environments
from node.environment.interpreter import Interpreters
from node.environment.kept import Environment
from node.environment.uv import Uv
from node.runner.children import Warden
from node.sources.packing import pack
from node.workspace import Workspace
from proto.messages import Options
from tests.support.rundirs import is_root, run_directory, running_warden

Build = Callable[..., Environment]


@pytest.fixture(scope="session")
def warden() -> Iterator[Warden]:
    with running_warden() as warden:
        yield warden


@pytest.fixture(scope="session")
def site() -> Iterator[Workspace]:
    with run_directory() as run_dir:
        site = Workspace(run_dir, "n1", is_root())
        site.prepare()
        yield site


@pytest.fixture(scope="session")
def environments(warden: Warden, site: Workspace) -> Environments:
    """Shared by all tests, so that what they install is fetched once."""
    return Environments(
        uv=Uv(warden=warden, site=site, wall=300.0), site=site, interpreters=Interpreters(warden, site)
    )


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """``tree({"path": "text"})`` writes a project's files and gives its root."""

    def write(files: dict[str, str]) -> Path:
        root = tmp_path / "project"
        root.mkdir()
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    return write


@pytest.fixture
def build(
    environments: Environments, tree: Callable[[dict[str, str]], Path], tmp_path: Path
) -> Iterator[Build]:
    """``build(files, **options)``: the environment of a project made of these files."""
    got: list[Environment] = []

    def make(files: dict[str, str], **options: object) -> Environment:
        package = pack(tree(files), tmp_path)
        got.append(environments.get(package.path, package.sha256, Options(**options)))
        return got[-1]

    yield make
    for environment in got:
        environments.release(environment)
