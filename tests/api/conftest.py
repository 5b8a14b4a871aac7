from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakenode import FakeNode
from flask.testing import FlaskClient

from api.app import create_app
from api.client import NodeClient
from api.settings import Settings


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A short path: a Unix socket's name holds 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tr-") as directory:
        yield Path(directory) / "master.sock"


@pytest.fixture
def node(socket_path: Path) -> Iterator[FakeNode]:
    fake = FakeNode(socket_path)
    yield fake
    fake.close()


@pytest.fixture
def client(socket_path: Path) -> Iterator[NodeClient]:
    made = NodeClient(socket_path, timeout=10.0, connect_timeout=1.0)
    yield made
    made.close()


@pytest.fixture
def make_web(client: NodeClient, socket_path: Path, tmp_path: Path) -> Callable[..., FlaskClient]:
    """A test client of an application with the given settings."""

    def make(**settings: object) -> FlaskClient:
        values = {"socket": socket_path, "spool": tmp_path, **settings}
        return create_app(Settings(**values), client).test_client()

    return make


@pytest.fixture
def web(make_web: Callable[..., FlaskClient], node: FakeNode) -> FlaskClient:
    return make_web()
