"""Fixtures of tests that start real processes (marker ``process``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Clusters


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three workers of one slot each, shared by all tests that leave the nodes alone."""
    cluster = Cluster(3)
    yield cluster
    cluster.close()


@pytest.fixture
def clusters() -> Iterator[Clusters]:
    """``clusters(workers, ...)`` starts one for this test alone."""
    started: list[Cluster] = []

    def start(workers: int, **settings: Any) -> Cluster:
        started.append(Cluster(workers, **settings))
        return started[-1]

    yield start
    for cluster in started:
        cluster.close()


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """``project({"test_a.py": "..."})`` writes a tree and gives its path."""

    def write(files: dict[str, str], name: str = "project") -> Path:
        root = tmp_path / name
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        return root

    return write
