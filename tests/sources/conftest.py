from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.runner.children import Warden
from node.sources.git import Cloner
from node.workspace import Workspace
from tests.support.gitserver import GitServer
from tests.support.rundirs import is_root, run_directory, running_warden


@pytest.fixture(scope="session")
def warden() -> Iterator[Warden]:
    with running_warden() as warden:
        yield warden


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    server = GitServer(tmp_path / "git")
    yield server
    server.close()


@pytest.fixture
def site() -> Iterator[Workspace]:
    with run_directory() as run_dir:
        site = Workspace(run_dir, "n1", is_root())
        site.prepare()
        yield site


@pytest.fixture
def cloner(warden: Warden, site: Workspace, server: GitServer) -> Cloner:
    return Cloner(warden=warden, scratch=site.clones, origins=[server.url], wall=30.0, uid=site.fetch_uid)
